"""Reads what the Rust side wrote, and writes what it reads; see readers.rs."""

import sys
from decimal import Decimal

VALOR = [Decimal("1472040000000.0001"), Decimal("0.0000"), None]
ITENS = [[{"n": 1, "v": Decimal("0.0951")}, {"n": 2, "v": None}], [], None]
IDS = ["A", "B", "Ç\r\n"]


def same(found, expected, who):
    assert found == expected, f"{who}: {found!r} is not {expected!r}"


def read(root):
    import duckdb
    import pandas
    import polars
    import pyarrow as pa
    import pyarrow.dataset as ds

    days = f"{root}/pncp/year=2025/month=10"

    table = ds.dataset(f"{root}/pncp", format="parquet", partitioning="hive").to_table(
        filter=ds.field("day") == 22
    )
    same(table.num_rows, 3, "pyarrow")
    same(table.schema.field("valor").type, pa.decimal128(38, 4), "pyarrow")
    same(table.column("valor").to_pylist(), VALOR, "pyarrow")
    same(table.column("itens").to_pylist(), ITENS, "pyarrow")
    same(table.column("id").to_pylist(), IDS, "pyarrow")
    same(table.column("orgao").to_pylist()[1], None, "pyarrow")
    same(set(table.column("year").to_pylist()), {2025}, "pyarrow")

    frame = pandas.read_parquet(f"{days}/day=22")
    same(list(frame["id"]), IDS, "pandas")
    same(frame["valor"].iloc[0], VALOR[0], "pandas")
    same(list(frame["itens"].iloc[0])[0]["v"], Decimal("0.0951"), "pandas")

    glob = f"{root}/pncp/**/*.parquet"
    rows = duckdb.sql(
        f"select id, valor, itens, day from read_parquet('{glob}', hive_partitioning = true) "
        "where day = 23 order by id"
    ).fetchall()
    same([row[0] for row in rows], IDS, "duckdb")
    same(rows[0][1], VALOR[0], "duckdb")
    same(rows[0][2][0]["v"], Decimal("0.0951"), "duckdb")
    same(rows[1][2], [], "duckdb")
    same(rows[2][2], None, "duckdb")
    same(duckdb.sql(f"select count(*) from '{glob}'").fetchone(), (6,), "duckdb")

    frame = polars.scan_parquet(glob, hive_partitioning=True).filter(polars.col("day") == 22)
    frame = frame.sort("id").collect()
    same(frame["valor"].to_list(), VALOR, "polars")
    same(frame["id"].to_list(), IDS, "polars")
    same(frame["itens"].to_list(), ITENS, "polars")
    same(frame.schema["valor"], polars.Decimal(38, 4), "polars")


def write(path):
    import datetime

    import pandas
    import pyarrow as pa

    frame = pandas.DataFrame(
        {
            "id": ["A", "B"],
            "valor": [Decimal("1.50"), None],
            "itens": [[{"n": 1}], []],
            "quando": [datetime.datetime(2025, 10, 22, 12), None],
        }
    )
    frame["quando"] = frame["quando"].astype("datetime64[us]")
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("valor", pa.decimal128(10, 2)),
            ("itens", pa.list_(pa.struct([("n", pa.int64())]))),
            ("quando", pa.timestamp("us")),
        ]
    )
    frame.to_parquet(path, schema=schema, index=False)


{"read": read, "write": write}[sys.argv[1]](sys.argv[2])
