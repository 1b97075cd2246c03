# The same day in Python: the state file's JSON into a set, and the records whose id it lacks.
state_file, records_file, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(records_file) as file:
    records = json.load(file)


def once():
    started = time.perf_counter()
    with open(state_file, "rb") as file:
        state = json.load(file)
    processed = set(state["processed_ids"])
    new = [record for record in records if record["numeroControlePNCP"] not in processed]
    return time.perf_counter() - started, len(processed), len(new)


runs = sorted(once() for _ in range(rounds))
seconds, ids, new = runs[0]
answer = {"seconds": seconds, "median": runs[rounds // 2][0], "ids": ids, "new": new}
print(json.dumps({**answer, "peak_bytes": peak_bytes()}))
