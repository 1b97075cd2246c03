"""Reads a day of a lakehouse with pyarrow, pandas, DuckDB and Polars, each object by itself.

usage: readers.py TRUTH_FILE YYYY-MM-DD FOLDER                     a local bucket's folder
       readers.py TRUTH_FILE YYYY-MM-DD s3 ENDPOINT BUCKET         credentials test, testtest

The objects: the first log entry of contratações, every part of the details, a base, the merged
details. Values are compared with the truth of the day (see compare.py), types with the table below
and between the readers. Prints one JSON object: counts and the bases and stubs that were seen.
"""

import hashlib
import json
import sys

import pyarrow as pa
from compare import loads, plain, rebuilt

# What must be read as what; a path goes through structs by `.` and into lists by `[]`.
ENTRY_TYPES = {
    "numeroControlePNCP": "text",
    "anoCompra": "i32",
    "orgaoEntidade.cnpj": "text",
    "amparoLegal.codigo": "i64",
    "fontesOrcamentarias[].nome": "text",
    "fontesOrcamentarias[].dataInclusao": "timestamp",
    "srp": "bool",
    "valorTotalEstimado": "decimal(38,4)",
    "valorTotalHomologado": "decimal(38,4)",
    "dataPublicacaoPncp": "timestamp",
    "_unmapped": "text",
    "_fetched_at": "instant",
}
DETAILS_TYPES = {
    "key": "text",
    "itens[].numeroItem": "i32",
    "itens[].quantidade": "decimal(38,4)",
    "itens[].valorUnitarioEstimado": "decimal(38,4)",
    "itens[].orcamentoSigiloso": "bool",
    "itens[].dataInclusao": "timestamp",
    "itens[].catalogo.dataInclusao": "timestamp",
    "itens[]._unmapped": "text",
    "arquivos[].sequencialDocumento": "i32",
    "arquivos[].dataPublicacaoPncp": "timestamp",
    "metadata.total_itens": "i32",
    "metadata.fetch_timestamp": "instant",
    "_itens.version": "text",
    "_arquivos.fetched_at": "instant",
}


def require(holds, message):
    if not holds:
        sys.exit(message)


def of_arrow(kind):
    """A pyarrow type as a name, a list of one, or a dict."""
    if pa.types.is_struct(kind):
        return {field.name: of_arrow(field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [of_arrow(kind.value_type)]
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        require(kind.unit == "us", f"pyarrow: {kind}")
        return "instant" if kind.tz else "timestamp"
    names = {pa.string(): "text", pa.int32(): "i32", pa.int64(): "i64", pa.bool_(): "bool"}
    return names[kind]


def of_duckdb(kind):
    if kind.id == "struct":
        return {name: of_duckdb(child) for name, child in kind.children}
    if kind.id == "list":
        return [of_duckdb(kind.children[0][1])]
    names = {
        "varchar": "text",
        "integer": "i32",
        "bigint": "i64",
        "boolean": "bool",
        "timestamp": "timestamp",
        "timestamp with time zone": "instant",
    }
    if kind.id == "decimal":
        (_, precision), (_, scale) = kind.children
        return f"decimal({precision},{scale})"
    return names[kind.id]


def of_polars(kind):
    import polars as pl

    if isinstance(kind, pl.Struct):
        return {field.name: of_polars(field.dtype) for field in kind.fields}
    if isinstance(kind, pl.List):
        return [of_polars(kind.inner)]
    if isinstance(kind, pl.Decimal):
        return f"decimal({kind.precision},{kind.scale})"
    if isinstance(kind, pl.Datetime):
        require(kind.time_unit == "us", f"polars: {kind}")
        return "instant" if kind.time_zone else "timestamp"
    names = {pl.String: "text", pl.Int32: "i32", pl.Int64: "i64", pl.Boolean: "bool"}
    return names[type(kind)]


def at(types, path):
    for step in path.replace("[]", ".[]").split("."):
        types = types[0] if step == "[]" else types[step]
    return types


def python_of(value):
    """The Python value of what pandas makes of nested columns and of what is absent."""
    import numpy
    import pandas

    if isinstance(value, dict):
        return {name: python_of(member) for name, member in value.items()}
    if isinstance(value, (list, tuple, numpy.ndarray)):
        return [python_of(member) for member in value]
    if value is None or value is pandas.NA or value is pandas.NaT or value != value:
        return None
    if isinstance(value, pandas.Timestamp):
        return value.to_pydatetime()
    return value.item() if isinstance(value, numpy.generic) else value


class Folder:
    """A bucket's folder, for each reader."""

    def __init__(self, root):
        import duckdb
        import pyarrow.fs

        self.root = self.url = root
        self.filesystem = pyarrow.fs.LocalFileSystem()
        self.duckdb = duckdb.connect()
        self.polars_options = {}


class S3:
    """A bucket, for each reader."""

    def __init__(self, endpoint, bucket):
        import duckdb
        import pyarrow.fs
        from duckdb_extensions import import_extension

        host = endpoint.removeprefix("http://")
        self.root, self.url = bucket, f"s3://{bucket}"
        self.filesystem = pyarrow.fs.S3FileSystem(
            access_key="test",
            secret_key="testtest",
            endpoint_override=host,
            scheme="http",
            region="us-east-1",
        )
        self.duckdb = duckdb.connect()
        # `INSTALL httpfs` would download; this one came with pip.
        import_extension("httpfs", con=self.duckdb)
        self.duckdb.sql(
            "create secret (type s3, key_id 'test', secret 'testtest', region 'us-east-1', "
            f"endpoint '{host}', url_style 'path', use_ssl false)"
        )
        self.polars_options = {
            "aws_access_key_id": "test",
            "aws_secret_access_key": "testtest",
            "aws_region": "us-east-1",
            "aws_endpoint_url": endpoint,
            "aws_allow_http": "true",
        }


# Each reader: the types of one object, and its rows as dicts. Instants are compared by pyarrow
# alone: DuckDB makes Python values of them only where pytz is.
def read_pyarrow(place, key, columns):
    import pyarrow.parquet as parquet

    path = f"{place.root}/{key}"
    table = parquet.read_table(path, filesystem=place.filesystem, partitioning=None)
    types = {field.name: of_arrow(field.type) for field in table.schema}
    return types, table.select(columns(types)).to_pylist()


def read_pandas(place, key, columns):
    import pandas

    frame = pandas.read_parquet(
        f"{place.root}/{key}",
        filesystem=place.filesystem,
        dtype_backend="pyarrow",
        partitioning=None,
    )
    types = {name: of_arrow(frame[name].dtype.pyarrow_dtype) for name in frame.columns}
    rows = frame[columns(types)].to_dict("records")
    return types, [python_of(row) for row in rows]


def read_duckdb(place, key, columns):
    source = f"read_parquet('{place.url}/{key}', hive_partitioning = false)"
    whole = place.duckdb.sql(f"select * from {source}")
    types = {name: of_duckdb(kind) for name, kind in zip(whole.columns, whole.types)}
    names = columns(types)
    quoted = ", ".join(f'"{name}"' for name in names)
    rows = place.duckdb.sql(f"select {quoted} from {source}").fetchall()
    return types, [dict(zip(names, row)) for row in rows]


def read_polars(place, key, columns):
    import polars as pl

    options = place.polars_options
    scan = pl.scan_parquet(
        f"{place.url}/{key}",
        hive_partitioning=False,
        glob=False,
        storage_options=options or None,
    )
    frame = scan.collect()
    types = {name: of_polars(kind) for name, kind in frame.schema.items()}
    return types, frame.select(columns(types)).to_dicts()


READERS = {
    "pyarrow": read_pyarrow,
    "pandas": read_pandas,
    "duckdb": read_duckdb,
    "polars": read_polars,
}


def entry_columns(types):
    return [name for name in types if not name.startswith("_") or name == "_unmapped"]


def details_columns(_):
    return ["key", "numeroControlePNCP", "itens", "arquivos"]


def compare_entry(who, rows, truth):
    require(rows, f"{who}: the entry has no rows")
    for row in rows:
        identity = row["numeroControlePNCP"]
        got, want = rebuilt(row), plain(truth[identity]["contratacao"])
        require(got == want, f"{who}: {identity}: {got!r}\nis not\n{want!r}")
    return {"rows": len(rows)}


def compare_details(who, rows, truth):
    counts = {"rows": len(rows), "itens": 0, "arquivos": 0, "null": 0, "empty": 0}
    for row in rows:
        identity = row["numeroControlePNCP"]
        for facet in ("itens", "arquivos"):
            if row[facet] is None:
                counts["null"] += 1
                continue
            got = [rebuilt(element) for element in row[facet]]
            want = [plain(element) for element in truth[identity][facet]]
            require(got == want, f"{who}: {identity}: {facet}: {got!r}\nis not\n{want!r}")
            counts[facet] += len(got)
            counts["empty"] += not got
    return counts


def read_with_all(place, key, columns, expected, compare, truth):
    """What all readers agree upon: counts, and a hash of all values."""
    seen = None
    for name, read in READERS.items():
        who = f"{name}: {key}"
        types, rows = read(place, key, columns)
        for path, kind in expected.items():
            require(at(types, path) == kind, f"{who}: {path} is {at(types, path)}, not {kind}")
        counts = compare(who, rows, truth)
        rows = [{column: plain(value) for column, value in row.items()} for row in rows]
        values = json.dumps(rows, sort_keys=True, default=str)
        counts["sha256"] = hashlib.sha256(values.encode()).hexdigest()
        if seen is None:
            seen = (types, counts)
        require(seen == (types, counts), f"{who}: {types}, {counts}; pyarrow: {seen}")
    return seen[1]


def files(place, folder):
    import pyarrow.fs

    found = place.filesystem.get_file_info(pyarrow.fs.FileSelector(f"{place.root}/{folder}"))
    return sorted(f"{folder}/{info.base_name}" for info in found)


def main():
    truth_file, day, *where = sys.argv[1:]
    place = S3(*where[1:]) if where[0] == "s3" else Folder(where[0])
    folder = "year={}/month={}/day={}".format(*day.split("-"))
    truth = {}
    with open(truth_file, encoding="utf-8") as lines:
        for line in lines:
            entry = loads(line)
            truth[entry["contratacao"]["numeroControlePNCP"]] = entry

    entry = f"pncp/{folder}/pncp_{day.replace('-', '')}_00000001.parquet"
    report = {
        "entry": read_with_all(place, entry, entry_columns, ENTRY_TYPES, compare_entry, truth)
    }

    def details(key):
        arguments = (details_columns, DETAILS_TYPES, compare_details, truth)
        return read_with_all(place, key, *arguments)

    report["details"] = details(f"pncp_details/{folder}/details.parquet")
    report["parts"], report["bases"], report["stubs"] = [], [], 0
    for key in files(place, f"pncp_details/_parts/{folder}"):
        types, _ = read_pyarrow(place, key, lambda _: ["key"])
        if "itens" not in types:
            # A stub has ids and no rows of details: whole to the readers all the same.
            for read in READERS.values():
                require(read(place, key, lambda _: ["key"])[1], f"{key} has no ids")
            report["stubs"] += 1
        elif "base_" in key:
            report["bases"].append(details(key))
        else:
            report["parts"].append(details(key))

    # Who globs sees the merged file alone.
    import polars as pl

    pattern = f"{place.url}/pncp_details/**/*.parquet"
    scan = pl.scan_parquet(pattern, storage_options=place.polars_options or None)
    globbed = [
        scan.select(pl.len()).collect().item(),
        place.duckdb.sql(f"select count(*) from read_parquet('{pattern}')").fetchone()[0],
    ]
    rows = report["details"]["rows"]
    require(globbed == [rows, rows], f"a glob sees {globbed} rows, the merged file has {rows}")
    print(json.dumps(report))


main()
