#!/usr/bin/env python3
"""What may enter the tree, by deny.toml: licences, sources, banned crates, versions side by side.

    scripts/deny.py          # exits with 1 and says what is wrong

Reads the same file as `cargo deny check licenses bans sources`, which takes longer to build than all else here
but RocksDB; whoever has it can run it. Advisories are checked by `cargo deny check advisories`, or `cargo audit`,
where their database can be reached.
"""

import collections
import json
import re
import subprocess
import sys
import tomllib

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
# Of these there must be one: types of two versions do not meet, and each is minutes of building.
ONE = re.compile(r"^(arrow|datafusion|differential|timely|rocksdb|librocksdb|rdkafka|tokio$|hyper$|axum|apache-avro|serde$)")


def allowed(expression, licences):
    """Whether an SPDX expression can be met by the licences: OR of AND of names, `/` being an old OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            other = both()
            value = value or other
        return value

    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            other = one()
            value = value and other
        return value

    def one():
        token = tokens.pop(0)
        if token == "(":
            value = either()
            tokens.pop(0)
            return value
        if tokens and tokens[0] == "WITH":
            token = " ".join([token, tokens.pop(0), tokens.pop(0)])
        return token in licences

    return either()


def main():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    for target in rules["graph"]["targets"]:
        command += ["--filter-platform", target]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    licences, wrong = set(rules["licenses"]["allow"]), []
    banned = dict(rule["crate"].split("@") for rule in rules["bans"]["deny"])
    versions = collections.defaultdict(set)
    for package in packages:
        name, version, ours = package["name"], package["version"], package["source"] is None
        who = f"{name} {version}"
        versions[name].add(version)
        if not allowed(package["license"] or "none", licences):
            wrong.append(f"{who}: licence {package['license']}")
        if not ours and package["source"] != REGISTRY:
            wrong.append(f"{who}: comes from {package['source']}")
        if name in banned and version.startswith(banned[name] + "."):
            wrong.append(f"{who}: banned")
        if ours:
            wrong += [f"{who}: {d['name']} takes any version" for d in package["dependencies"]
                      if d["req"] == "*" and d.get("path") is None]
    wrong += [f"{name}: in versions {', '.join(sorted(found))}" for name, found in versions.items()
              if len(found) > 1 and ONE.match(name)]
    twice = sum(len(found) > 1 for found in versions.values())
    print(f"{len(packages)} packages, {twice} names in several versions; {len(wrong)} not as deny.toml has it")
    print("\n".join(wrong), end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
