"""Differences between two answers: a view's rows as Herald has them and as a judge has them.

    compare.py ANSWERS_DIR FOUND_DIR [--rows N]

Both hold VIEW.jsonl with a JSON object a row. Numbers with a fraction, and whole ones where the other
side has a fraction, agree within 1e-9 of the greater; all else agrees exactly. Prints each view that
differs with its first rows, `-` for the answer and `+` for what was found; exits with 1 then.
"""

import argparse
import collections
import json
import pathlib
import sys

NEAR = 1e-9


def near(a, b):
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool) and not isinstance(b, bool):
        return a == b or abs(a - b) <= NEAR * max(1.0, abs(a), abs(b))
    return a == b


def canonical(value):
    """Texts of JSON as values, so that spaces do not count."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def compare(answers, found):
    """(missing, surplus, changed) of two lists of dictionaries; changed are pairs."""
    names = list(dict.fromkeys(n for row in answers[:1] + found[:1] for n in row))
    rows = [[[canonical(row.get(n)) for n in names] for row in side] for side in (answers, found)]
    floats = {i for side in rows for row in side for i, v in enumerate(row) if isinstance(v, float)}
    groups = collections.defaultdict(lambda: ([], []))
    for which, side in enumerate(rows):
        for row in side:
            key = json.dumps([v for i, v in enumerate(row) if i not in floats], sort_keys=True)
            groups[key][which].append([row[i] for i in sorted(floats)])
    missing, surplus = [], []
    order = lambda r: [(v is not None, v if isinstance(v, (int, float)) else 0) for v in r]
    for key, (left, right) in groups.items():
        left.sort(key=order), right.sort(key=order)
        if len(left) == len(right) and all(near(x, y) for a, b in zip(left, right) for x, y in zip(a, b)):
            continue
        rest = list(right)
        for a in left:
            hit = next((b for b in rest if all(near(x, y) for x, y in zip(a, b))), None)
            if hit is None:
                missing.append(whole(key, a, names, floats))
            else:
                rest.remove(hit)
        surplus += [whole(key, b, names, floats) for b in rest]
    return missing, surplus


def whole(key, numbers, names, floats):
    exact, inexact = iter(json.loads(key)), iter(numbers)
    return {n: next(inexact) if i in floats else next(exact) for i, n in enumerate(names)}


def tell(view, answers, found, most=3, out=sys.stdout):
    """Prints what differs; True where nothing does."""
    missing, surplus = compare(answers, found)
    if not missing and not surplus:
        return True
    print(f"{view}: {len(answers)} rows, found {len(found)}; {len(missing)} missing, {len(surplus)} surplus", file=out)
    for sign, rows in (("-", missing), ("+", surplus)):
        for row in sorted(rows, key=lambda r: json.dumps(r, sort_keys=True))[:most]:
            print(f"  {sign} {json.dumps(row, ensure_ascii=False)}", file=out)
    return False


def rows_of(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("answers", type=pathlib.Path)
    parser.add_argument("found", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=3)
    args = parser.parse_args()
    fine = True
    for path in sorted(args.answers.glob("*.jsonl")):
        fine &= tell(path.stem, rows_of(path), rows_of(args.found / path.name), args.rows)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
