#!/usr/bin/env bash
# Runs the DuckDB oracle (tests/oracle/duck.py, which describes its lines) in the environment that
# scripts/setup.sh made for it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python="$(ls -d "$HERALD_CACHE"/servers/duckdb-*/bin/python 2>/dev/null | sort -V | tail -n1)"
[ -n "$python" ] || die "DuckDB is missing: run scripts/setup.sh"
exec "$python" "$SCRIPTS/../tests/oracle/duck.py"
