#!/usr/bin/env bash
# Runs a Python program with psycopg 3, a client of PostgreSQL, in the environment that scripts/setup.sh made for it.
#
#   scripts/psycopg.sh PROGRAM ARGUMENT...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
python="$(ls -d "$HERALD_CACHE"/servers/psycopg-*/bin/python 2>/dev/null | sort -V | tail -n1)"
[ -n "$python" ] || die "psycopg is missing: run scripts/setup.sh"
exec "$python" "$@"
