#!/usr/bin/env python3
"""Figures of how the code reads, without its tests: scripts/house.py [ROOT] [--check | --list FIGURE]

One line a figure, with the limit that a change is held to where there is one. `--list FIGURE` names the places counted:
circles, types, what, docs, words, functions, long, tuples, files, stages. `--check` fails where a limit is passed.
"""
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

CRATES = ["dataflows/src", "connectors/src", "schemas/src", "state/src", "src"]
# Folders whose code runs for every batch.
HOT = ["dataflows/src/arrange", "dataflows/src/render", "dataflows/src/source", "schemas/src/row", "schemas/src/avro",
       "schemas/src/json", "dataflows/src/runtime/worker.rs", "dataflows/src/runtime/epoch.rs"]
# Stages of dataflows: a module (or a folder's modules) imports those of its own line's right side never.
STAGES = [
    ("plan", ("sql", "render", "state_tables", "worker", "engine", "source")),
    ("functions", ("sql", "render", "state_tables", "worker", "engine", "source")),
    ("arrange", ("sql", "render", "plan", "functions", "state_tables", "worker", "engine", "source")),
    ("sql", ("render", "arrange", "state_tables", "worker", "engine", "source", "epoch")),
    ("render", ("sql", "engine", "epoch", "worker")),
]
# Private words for which the field has one.
WORDS = ("grave", "forgetter", "blemish", "blemished", "stranger", "thaw", "sift", "partnered")
# Limits that the tidy test holds; they go down as the code gets better, never up.
LIMITS = {"circles": 2, "closures": 36, "types": 3, "what": 1, "docs": 0, "functions": 55, "inline": -3, "long": 0,
          "tuples": 0, "files": 0, "stages": 0}
RIDDLES = ("What", "Whether", "Who", "How", "Where", "Which", "That", "Why")


# A closure's parameters, at a place where an expression begins: no logical or, no pattern of alternatives.
CLOSURE = re.compile(r"(?:^|[(,{:]|=>?|\breturn|\bmove|\belse) ?\|(?:\||[^|\s][^|]*\|)(?= |$)")


def count_closures(line):
    """Number of closures that begin in a line of code without strings."""
    bare = re.sub(r"//.*", "", re.sub(r"'(?:\\.|[^'\\])'", "c", line))
    return sum(not (found.start() == 0 and bare.startswith("||")) for found in CLOSURE.finditer(bare))


def sources(root):
    """Yields crate, path below it and text without tests."""
    for crate in CRATES:
        for path in sorted((root / crate).rglob("*.rs")):
            name = path.relative_to(root / crate).as_posix()
            if path.name == "tests.rs" or "/tests/" in name:
                continue
            yield crate, name, path.read_text().split("#[cfg(test)]\nmod tests {")[0]


def circles(files):
    """Sets of files of one crate that import each other; a file and the module it stands in do not count."""
    found = []
    for crate in CRATES:
        modules = {tuple(n[:-3].split("/")) if n not in ("lib.rs", "main.rs") else (): n for c, n, _ in files if c == crate}
        edges = defaultdict(set)
        for c, name, text in files:
            if c != crate:
                continue
            here = () if name in ("lib.rs", "main.rs") else tuple(name[:-3].split("/"))
            for path in imported(re.sub(r"//[^\n]*", "", text), here):
                target = next((path[:k] for k in range(len(path), -1, -1) if path[:k] in modules), None)
                if target is None or target == here or target == here[: len(target)] or here == target[: len(here)]:
                    continue
                edges[here].add(target)
        found += [sorted(modules[m] for m in part) for part in components(edges) if len(part) > 1]
    return found


def imported(text, here):
    """Paths within the crate that a text names, from its root."""
    flat = []
    for use in re.finditer(r"\buse\s+([^;]+);", text):
        flat += expand(use.group(1).replace("\n", " "))
    flat += re.findall(r"\b((?:crate|super)(?:::\w+)+)", text)
    for path in flat:
        parts = path.split("::")
        if parts[0] == "crate":
            yield tuple(parts[1:])
        elif parts[0] == "super":
            base = list(here)
            while parts and parts[0] == "super":
                base, parts = base[:-1], parts[1:]
            yield tuple(base + parts)


def expand(tree, prefix=""):
    """The paths of a use tree."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        return [prefix + tree.split(" as ")[0].strip()]
    head, inner, depth, start, out = tree[:brace], tree[brace + 1 : tree.rfind("}")], 0, 0, []
    for at, char in enumerate(inner + ","):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if inner[start:at].strip():
                out += expand(inner[start:at], prefix + head.strip())
            start = at + 1
    return out


def against_stages(files):
    """Imports of dataflows that go against the order of its stages."""
    for crate, name, text in files:
        if crate != "dataflows/src":
            continue
        here = tuple(name[:-3].split("/")) if name != "lib.rs" else ()
        for stage, never in STAGES:
            if here[:1] != (stage,):
                continue
            for path in imported(re.sub(r"//[^\n]*", "", text), here):
                if path[:1] and path[0] in never:
                    yield f"{crate}/{name}: {'::'.join(path)}"


def wide_tuples(text):
    """Parameters that are tuples of more than two."""
    for head in re.finditer(r"\bfn \w+(?:<[^{;]*?>)?\(((?:[^()]|\([^()]*\))*)\)", text):
        for pattern in re.findall(r"\(([^()]*)\)\s*:\s*&?(?:mut )?\(", head.group(1)):
            if pattern.count(",") >= 2 and len([part for part in pattern.split(",") if part.strip()]) > 2:
                yield " ".join(head.group(0).split())[:100]


def components(edges):
    """Strongly connected components (Tarjan)."""
    index, low, stack, on, found = {}, {}, [], set(), []
    sys.setrecursionlimit(10000)

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on.add(node)
        for to in edges.get(node, ()):
            if to not in index:
                visit(to)
                low[node] = min(low[node], low[to])
            elif to in on:
                low[node] = min(low[node], index[to])
        if low[node] == index[node]:
            part = []
            while not part or part[-1] != node:
                part.append(stack.pop())
                on.discard(part[-1])
            found.append(part)

    for node in list(edges):
        if node not in index:
            visit(node)
    return found


def bodies(text):
    """Names and lengths of functions."""
    lines = text.split("\n")
    for at, line in enumerate(lines):
        head = re.match(r"( *)(?:pub(?:\([^)]*\))? )?(?:const |unsafe |async )*fn (\w+)", line)
        if not head or line.rstrip().endswith(";"):
            continue
        end = next((k for k in range(at, len(lines)) if lines[k] == head.group(1) + "}"), at)
        yield head.group(2), end - at + 1


def main():
    """Prints the figures."""
    listed = sys.argv[sys.argv.index("--list") + 1] if "--list" in sys.argv else None
    roots = [a for a in sys.argv[1:] if not a.startswith("--") and a != listed]
    root = Path(roots[0] if roots else Path(__file__).resolve().parent.parent)
    files = list(sources(root))
    code = comments = inline = hot_code = hot_inline = tokens = closures = words = whats = docs = riddles = 0
    names, types, long = [], defaultdict(set), []
    detail = defaultdict(list)
    for crate, name, text in files:
        hot = any(f"{crate}/{name}".startswith(h) for h in HOT)
        doc = None
        for at, line in enumerate(text.split("\n"), 1):
            bare = line.strip()
            comment = re.match(r"//[/!]?(.*)", bare)
            if comment:
                said = comment.group(1)
                words += len(said.split())
                if any(re.search(rf"\b{word}\b", said, re.I) for word in WORDS):
                    detail["words"].append(f"{crate}/{name}:{at}: {bare}")
                hits = len(re.findall(r"\bwhat\b", said, re.I))
                whats += hits
                if hits:
                    detail["what"].append(f"{crate}/{name}:{at}: {bare}")
                if bare.startswith("///") and doc is None and said.strip():
                    docs += 1
                    if said.split()[0] in RIDDLES:
                        riddles += 1
                        detail["docs"].append(f"{crate}/{name}:{at}: {bare}")
                doc = bare if bare.startswith("///") else None
                if not bare.startswith(("///", "//!")):
                    inline, hot_inline = inline + 1, hot_inline + hot
                continue
            doc = None
            if bare:
                code, hot_code = code + 1, hot_code + hot
                if " // " in line:
                    inline, hot_inline = inline + 1, hot_inline + hot
                stripped = re.sub(r'"(?:\\.|[^"\\])*"', "s", bare)
                tokens += len(re.findall(r"\w+|[^\w\s]+", stripped))
                closures += count_closures(stripped)
        for function, length in bodies(text):
            names.append(function)
            if "_" not in function:
                detail["functions"].append(f"{crate}/{name}: {function}")
            if length > 70:
                long.append(f"{crate}/{name}: {function}, {length} lines")
        for kind in re.findall(r"^(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|type|union) (\w+)", text, re.M):
            types[crate, kind].add(name)
        for wide in wide_tuples(text):
            detail["tuples"].append(f"{crate}/{name}: {wide}")
    twice = {k: v for k, v in types.items() if len(v) > 1}
    folders = Counter((crate, name.rpartition("/")[0]) for crate, name, _ in files)
    full = {f"{c}/{d}": n for (c, d), n in folders.items() if n > 12}
    rings = circles(files)
    detail["circles"] = [" ".join(ring) for ring in rings]
    detail["types"] = [f"{c}: {k}: {' '.join(sorted(v))}" for (c, k), v in sorted(twice.items())]
    detail["long"] = long
    detail["files"] = [f"{d}: {n}" for d, n in full.items()]
    detail["stages"] = sorted(set(against_stages(files)))
    if listed:
        print("\n".join(detail[listed]))
        return
    one = sum("_" not in n for n in names)
    # Figure, its text, and the limit: at most (negative: at least) this much; None for no limit.
    figures = [
        (code, f"lines of code in {len(files)} files", None),
        (len(rings), f"import circles, {sum(map(len, rings))} files in them", LIMITS["circles"]),
        (100 * len(twice) / max(1, len(types)), "% of type names stand in more than one file of a crate", LIMITS["types"]),
        (1000 * whats / max(1, words), "'what' per 1,000 comment words", LIMITS["what"]),
        (riddles, f"doc comments that begin with {', '.join(RIDDLES)}", LIMITS["docs"]),
        (len(detail["words"]), f"comments with a private word: {', '.join(WORDS)}", 0),
        (100 * one / max(1, len(names)), "% of functions have names of one word", LIMITS["functions"]),
        (100 * inline / max(1, code), "inline comments per 100 lines of code", None),
        (100 * hot_inline / max(1, hot_code), "inline comments per 100 lines on the hot path", LIMITS["inline"]),
        (1000 * closures / max(1, code), "closures per 1,000 lines of code", LIMITS["closures"]),
        (tokens / max(1, code), "tokens a line", None),
        (len(long), "functions over 70 lines", LIMITS["long"]),
        (len(detail["tuples"]), "parameters that are tuples of more than two", LIMITS["tuples"]),
        (len(full), "folders with more than 12 files", LIMITS["files"]),
        (len(detail["stages"]), "imports against the order of the stages", LIMITS["stages"]),
    ]
    broken = False
    for value, text, limit in figures:
        bad = limit is not None and (value > limit if limit >= 0 else value < -limit)
        broken |= bad
        bound = "" if limit is None else f" ({limit} at most)" if limit >= 0 else f" ({-limit} at least)"
        shown = f"{value:8}" if isinstance(value, int) else f"{value:8.2f}"
        print(f"{shown} {text}{bound}{'   <- too many' if bad and '--check' in sys.argv else ''}")
    if broken and "--check" in sys.argv:
        sys.exit("scripts/house.py --list FIGURE names the places")


if __name__ == "__main__":
    main()
