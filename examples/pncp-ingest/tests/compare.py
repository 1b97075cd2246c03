"""Compares a lakehouse with the truth of a day, value by value; pyarrow and DuckDB read, we do not.

usage: compare.py STORE_FOLDER TRUTH_FILE YYYY-MM-DD [--only-contratacoes]

TRUTH_FILE: one JSON object a line: {"contratacao": {...}, "itens": [...], "arquivos": [...]}.
Prints one JSON object of counts; exits 1 with the differences when there are any.
"""

import datetime
import decimal
import glob
import json
import sys

import duckdb
import pyarrow.parquet as parquet


def loads(text):
    """JSON with every number exact."""
    return json.loads(text, parse_float=decimal.Decimal, parse_int=decimal.Decimal)


def plain(value):
    """A value as its JSON says it: exact numbers, date-times as text, nulls of objects left out."""
    if isinstance(value, dict):
        members = {name: plain(member) for name, member in value.items()}
        return {name: member for name, member in members.items() if member is not None}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S") + (f".{value.microsecond:06}" if value.microsecond else "")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float):
        raise TypeError(f"a float in the data: {value}")
    return decimal.Decimal(value)


def place(record, path, value):
    """Puts `value` back at a path like `orgaoEntidade.cnpj` or `fontesOrcamentarias[0].codigo`."""
    steps = []
    for part in path.split("."):
        name, *indexes = part.replace("]", "").split("[")
        steps.append(name)
        steps.extend(int(index) for index in indexes)
    here = record
    for step in steps[:-1]:
        here = here[step] if isinstance(step, int) else here.setdefault(step, {})
    here[steps[-1]] = value


def rebuilt(row):
    """The record that the API sent, from its row."""
    unmapped = loads(row["_unmapped"]) if row.get("_unmapped") else {}
    record = plain({name: value for name, value in row.items() if not name.startswith("_")})
    for path, value in unmapped.items():
        if value is None:
            continue
        if path in record or ("." not in path and "[" not in path):
            record[path] = plain(value)
        else:
            place(record, path, plain(value))
    return record


def rows(pattern):
    for path in sorted(glob.glob(pattern, recursive=True)):
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
            yield from batch.to_pylist()


class Differences:
    def __init__(self):
        self.lines = []
        self.count = 0

    def add(self, line):
        self.count += 1
        if len(self.lines) < 20:
            self.lines.append(line)

    def compare(self, what, got, want):
        if got == want:
            return
        if isinstance(got, dict) and isinstance(want, dict):
            for name in sorted(set(got) | set(want)):
                if got.get(name) != want.get(name):
                    self.add(f"{what}: {name}: got {got.get(name)!r}, want {want.get(name)!r}")
        else:
            self.add(f"{what}: got {got!r}, want {want!r}")


def main():
    store, truth_file, day = sys.argv[1:4]
    details = "--only-contratacoes" not in sys.argv
    folder = "year={}/month={}/day={}".format(*day.split("-"))
    differences = Differences()

    truth = {}
    with open(truth_file, encoding="utf-8") as lines:
        for line in lines:
            entry = loads(line)
            truth[entry["contratacao"]["numeroControlePNCP"]] = entry

    seen = set()
    amount = decimal.Decimal(0)
    for row in rows(f"{store}/pncp/{folder}/*.parquet"):
        record = rebuilt(row)
        identity = record["numeroControlePNCP"]
        if identity in seen:
            differences.add(f"{identity}: twice in bronze")
        seen.add(identity)
        if identity not in truth:
            differences.add(f"{identity}: in bronze, not in the truth")
            continue
        want = plain(truth[identity]["contratacao"])
        differences.compare(identity, record, want)
        if isinstance(want.get("valorTotalEstimado"), decimal.Decimal):
            amount += want["valorTotalEstimado"]
    for identity in truth.keys() - seen:
        differences.add(f"{identity}: missing in bronze")

    # A second engine, and the glob that readers use: the count and the sum, as text.
    count, total = duckdb.sql(
        f"select count(distinct numeroControlePNCP), coalesce(sum(valorTotalEstimado), 0)::varchar"
        f" from read_parquet('{store}/pncp/year=*/month=*/day=*/*.parquet', hive_partitioning=true)"
        f" where year = {int(day[:4])} and month = {int(day[5:7])} and day = {int(day[8:])}"
    ).fetchone()
    if count != len(truth):
        differences.add(f"DuckDB counts {count} contratações, the truth has {len(truth)}")
    report = {"contratacoes": len(seen), "valorTotalEstimado": total}

    if details:
        itens = arquivos = 0
        done = set()
        for row in rows(f"{store}/pncp_details/{folder}/*.parquet"):
            identity = row["numeroControlePNCP"]
            if identity in done:
                differences.add(f"{identity}: twice in the details")
            done.add(identity)
            for facet in ("itens", "arquivos"):
                want = truth.get(identity, {}).get(facet)
                if row[facet] is None or want is None:
                    differences.add(f"{identity}: {facet}: got {row[facet]!r}, want {want!r}"[:300])
                    continue
                got = [rebuilt(element) for element in row[facet]]
                want = [plain(element) for element in want]
                if len(got) != len(want):
                    differences.add(f"{identity}: {len(got)} {facet}, want {len(want)}")
                    continue
                for index, (have, should) in enumerate(zip(got, want)):
                    differences.compare(f"{identity} {facet}[{index}]", have, should)
                if row["metadata"][f"total_{facet}"] != len(want):
                    differences.add(f"{identity}: metadata.total_{facet} {row['metadata']}")
            itens += len(row["itens"] or [])
            arquivos += len(row["arquivos"] or [])
        for identity in truth.keys() - done:
            differences.add(f"{identity}: missing in the details")
        total_itens, total_value = duckdb.sql(
            f"select count(*), coalesce(sum(i.valorTotal), 0)::varchar from (select unnest(itens) as i"
            f" from read_parquet('{store}/pncp_details/{folder}/*.parquet'))"
        ).fetchone()
        if total_itens != itens:
            differences.add(f"DuckDB counts {total_itens} itens, pyarrow {itens}")
        report |= {"details": len(done), "itens": itens, "arquivos": arquivos, "valorTotalItens": total_value}

    if differences.count:
        print(f"{differences.count} differences, the first ones:", *differences.lines, sep="\n  ")
        sys.exit(1)
    print(json.dumps(report))


# Another script takes the reading of rows from here.
if __name__ != "compare":
    main()
