#!/usr/bin/env bash
# Builds docs/ as a site with search: scripts/docs.sh [OUT]. A dead link fails it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MATERIAL=9.8.2

venv() { python3 -m venv "$1" && "$1/bin/pip" install -q --disable-pip-version-check "mkdocs-material==$MATERIAL"; }

home="$(fetched "mkdocs-material-$MATERIAL" venv)"
cd "$SCRIPTS/.."
# An environment remembers its path in its scripts: moved, it is run by its python.
NO_MKDOCS_2_WARNING=1 "$home/bin/python3" -m mkdocs build --strict --quiet --site-dir "$(realpath -m "${1:-site}")"
