"""Reads what the Rust side wrote, and writes what it reads; see readers.rs.

    readers.py read FOLDER                     a local folder
    readers.py read-s3 ENDPOINT BUCKET PREFIX  a server with the credentials test, testtest
    readers.py write FOLDER                    {pandas,pyarrow,polars}.parquet
"""

import datetime
import sys
from decimal import Decimal

ROWS = [
    {
        "id": "A",
        "valor": Decimal("1472040000000.0001"),
        "srp": True,
        "n": 1,
        "orgao": {"cnpj": "00", "uf": "SP"},
        "itens": [{"n": 1, "v": Decimal("0.0951")}, {"n": 2, "v": None}],
    },
    {"id": "B", "valor": Decimal("0.0000"), "srp": None, "n": None, "orgao": None, "itens": []},
    {
        "id": "Ç\r\n",
        "valor": None,
        "srp": False,
        "n": 3,
        "orgao": {"cnpj": None, "uf": None},
        "itens": None,
    },
]
COLUMNS = list(ROWS[0])
DAYS = [22, 23]


def same(found, expected, who):
    assert found == expected, f"{who}: {found!r} is not {expected!r}"


def plain(value):
    """The Python value of what pandas makes of nested columns."""
    import numpy
    import pandas

    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, numpy.ndarray)):
        return [plain(inner) for inner in value]
    if value is None or value is pandas.NA or value != value:
        return None
    return value.item() if isinstance(value, numpy.generic) else value


def arrow_types():
    import pyarrow as pa

    amount = pa.decimal128(38, 4)
    item = pa.struct([("n", pa.int64()), ("v", amount)])
    return {
        "id": pa.string(),
        "valor": amount,
        "srp": pa.bool_(),
        "n": pa.int64(),
        "orgao": pa.struct([("cnpj", pa.string()), ("uf", pa.string())]),
        "itens": pa.list_(pa.field("item", item)),
    }


def pyarrow_reads(path, filesystem):
    import pyarrow as pa
    import pyarrow.dataset as ds

    table = ds.dataset(path, format="parquet", partitioning="hive", filesystem=filesystem)
    table = table.to_table().sort_by([("day", "ascending"), ("id", "ascending")])
    types = {field.name: field.type for field in table.schema}
    hive = {name: pa.int32() for name in ("year", "month", "day")}
    same(types, arrow_types() | hive, "pyarrow types")
    rows = [row | {"year": 2025, "month": 10, "day": day} for day in DAYS for row in ROWS]
    same(table.to_pylist(), rows, "pyarrow rows")


def pandas_reads(path, filesystem):
    import pandas

    day = f"{path}/year=2025/month=10/day=22"
    frame = pandas.read_parquet(day, filesystem=filesystem, dtype_backend="pyarrow")
    types = {name: frame[name].dtype.pyarrow_dtype for name in COLUMNS}
    same(types, arrow_types(), "pandas types")
    # The types that it makes by itself; absent integers are floats there.
    frame = pandas.read_parquet(day, filesystem=filesystem)
    types = {name: str(frame[name].dtype) for name in COLUMNS}
    expected = dict.fromkeys(COLUMNS, "object") | {"id": "str", "n": "float64"}
    same(types, expected, "pandas default types")
    same(type(frame["valor"].iloc[0]), Decimal, "pandas amounts")
    rows = [{name: plain(row[name]) for name in COLUMNS} for row in frame.to_dict("records")]
    same(rows, ROWS, "pandas rows")


def duckdb_reads(con, glob):
    source = f"read_parquet('{glob}', hive_partitioning = true)"
    described = con.sql(f"describe select * from {source}").fetchall()
    types = {row[0]: row[1] for row in described}
    expected = {
        "id": "VARCHAR",
        "valor": "DECIMAL(38,4)",
        "srp": "BOOLEAN",
        "n": "BIGINT",
        "orgao": "STRUCT(cnpj VARCHAR, uf VARCHAR)",
        "itens": "STRUCT(n BIGINT, v DECIMAL(38,4))[]",
        "year": "BIGINT",
        "month": "BIGINT",
        "day": "BIGINT",
    }
    same(types, expected, "duckdb types")
    for day in DAYS:
        rows = con.sql(f"select * from {source} where day = {day} order by id").fetchall()
        expected = [tuple(row.values()) + (2025, 10, day) for row in ROWS]
        same([tuple(by_name(described, row)) for row in rows], expected, "duckdb rows")


def by_name(described, row):
    named = dict(zip([column[0] for column in described], row))
    return [named[name] for name in COLUMNS + ["year", "month", "day"]]


def polars_reads(glob, **options):
    import polars as pl

    frame = pl.scan_parquet(glob, hive_partitioning=True, **options).sort("day", "id").collect()
    amount = pl.Decimal(38, 4)
    expected = {
        "id": pl.String(),
        "valor": amount,
        "srp": pl.Boolean(),
        "n": pl.Int64(),
        "orgao": pl.Struct({"cnpj": pl.String, "uf": pl.String}),
        "itens": pl.List(pl.Struct({"n": pl.Int64, "v": amount})),
        "year": pl.Int64(),
        "month": pl.Int64(),
        "day": pl.Int64(),
    }
    same(dict(frame.schema), expected, "polars types")
    rows = [row | {"year": 2025, "month": 10, "day": day} for day in DAYS for row in ROWS]
    same(frame.to_dicts(), rows, "polars rows")


def read(root):
    import duckdb
    import pyarrow.fs

    pyarrow_reads(f"{root}/pncp", pyarrow.fs.LocalFileSystem())
    pandas_reads(f"{root}/pncp", pyarrow.fs.LocalFileSystem())
    duckdb_reads(duckdb.connect(), f"{root}/pncp/**/*.parquet")
    polars_reads(f"{root}/pncp/**/*.parquet")


def read_s3(endpoint, bucket, prefix):
    import duckdb
    import pyarrow.fs
    from duckdb_extensions import import_extension

    host = endpoint.removeprefix("http://")
    filesystem = pyarrow.fs.S3FileSystem(
        access_key="test",
        secret_key="testtest",
        endpoint_override=host,
        scheme="http",
        region="us-east-1",
    )
    path = f"{bucket}/{prefix}/pncp"
    pyarrow_reads(path, filesystem)
    pandas_reads(path, filesystem)
    con = duckdb.connect()
    # `INSTALL httpfs` would download; this one came with pip.
    import_extension("httpfs", con=con)
    con.sql(
        "create secret (type s3, key_id 'test', secret 'testtest', region 'us-east-1', "
        f"endpoint '{host}', url_style 'path', use_ssl false)"
    )
    duckdb_reads(con, f"s3://{path}/*/*/*/*.parquet")
    options = {
        "aws_access_key_id": "test",
        "aws_secret_access_key": "testtest",
        "aws_region": "us-east-1",
        "aws_endpoint_url": endpoint,
        "aws_allow_http": "true",
    }
    polars_reads(f"s3://{path}/**/*.parquet", storage_options=options)


def write(folder):
    import pandas
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    noon = datetime.datetime(2025, 10, 22, 12)
    columns = {
        "id": ["A", "B"],
        "valor": [Decimal("1.50"), None],
        "itens": [[{"n": 1, "v": Decimal("0.0951")}], []],
        "quando": [noon, None],
        "dia": [noon.date(), None],
        "uf": ["SP", None],
    }
    item = pa.struct([("n", pa.int64()), ("v", pa.decimal128(20, 4))])
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("valor", pa.decimal128(10, 2)),
            ("itens", pa.list_(item)),
            ("quando", pa.timestamp("us")),
            ("dia", pa.date32()),
            ("uf", pa.string()),
        ]
    )
    frame = pandas.DataFrame(columns)
    frame["quando"] = frame["quando"].astype("datetime64[us]")
    frame.to_parquet(f"{folder}/pandas.parquet", schema=schema, index=False)

    # What pyarrow users choose for size and speed: wide offsets, dictionaries, several row groups.
    wide = pa.schema(
        [
            ("id", pa.large_string()),
            ("valor", pa.decimal128(10, 2)),
            ("itens", pa.large_list(item)),
            ("quando", pa.timestamp("us")),
            ("dia", pa.date32()),
            ("uf", pa.dictionary(pa.int32(), pa.string())),
        ]
    )
    table = pa.table(columns, schema=schema).cast(wide)
    pq.write_table(table, f"{folder}/pyarrow.parquet", row_group_size=1, compression="snappy")

    amount = pl.Decimal(20, 4)
    types = {
        "id": pl.String,
        "valor": pl.Decimal(10, 2),
        "itens": pl.List(pl.Struct({"n": pl.Int64, "v": amount})),
        "quando": pl.Datetime("us"),
        "dia": pl.Date,
        "uf": pl.Categorical,
    }
    pl.DataFrame(columns, schema=types).write_parquet(f"{folder}/polars.parquet")


{"read": read, "read-s3": read_s3, "write": write}[sys.argv[1]](*sys.argv[2:])
