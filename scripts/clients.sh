#!/usr/bin/env bash
# Clients of PostgreSQL that run unchanged against Herald, in the versions of tests/clients/versions.
#
#   scripts/clients.sh fetch [--all]                  fetch those that CI runs into the cache; --all: dbt as well
#   scripts/clients.sh run HOST PORT DATABASE EXPECTED [--all] [--allow-missing] [NAME[.CHECK]...]
#                                                     run all or some against a server (tests/clients/run.py)
#   scripts/clients.sh python PROGRAM ARGUMENT...     run a Python program with the clients that Python has
#   scripts/clients.sh expected DIR SHAPE EXPECTED    write what they have to find (tests/clients/expected.py)
#   scripts/clients.sh try HERALD [ARGUMENT...]       run them against a Herald, the path of the program; arguments are
#                                                     those of run behind EXPECTED
#   scripts/clients.sh judge HERALD [ARGUMENT...]     run them against PostgreSQL with the rows of that Herald's sinks,
#                                                     as tables and as materialized views: proves the programs
#
# psql, Java and Node are those of the machine (scripts/setup.sh). Clients that were not fetched are named as missing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TESTS="$SCRIPTS/../tests/clients"
VERSIONS="$TESTS/versions"
NAME=clients

# A name in the cache that is another one whenever a file of versions is.
named() { echo "clients-$1-$(cat "${@:2}" | sha256sum | cut -c1-12)"; }

python_named() { named python "$VERSIONS/light.txt"; }
dbt_named() { named dbt "$VERSIONS/dbt.txt"; }
jdbc_named() { named jdbc "$VERSIONS/jdbc.pom.xml"; }
node_named() { named node "$VERSIONS"/node/*.json; }

# An environment remembers its path by its python only, which is a link: moving it is fine. Its other programs remember
# the path as it was, so they are called as modules.
environment() {
  python3 -m venv "$2" && "$2/bin/pip" install -q --disable-pip-version-check --only-binary :all: -r "$1"
}

jdbc() { copy_artifacts "$VERSIONS/jdbc.pom.xml" "$1" -DexcludeTransitive=true; }

node_modules() { cp "$VERSIONS"/node/*.json "$1" && npm ci --prefix "$1" --ignore-scripts --no-fund --no-audit; }

fetch() {
  fetched "$(python_named)" environment "$VERSIONS/light.txt" >/dev/null
  fetched "$(jdbc_named)" jdbc >/dev/null
  if command -v npm >/dev/null; then
    (fetched "$(node_named)" node_modules >/dev/null) ||
      say "node-postgres cannot be fetched: it is left out"
  else
    say "npm is missing: node-postgres is left out"
  fi
  if [ "${1:-}" = --all ]; then fetched "$(dbt_named)" environment "$VERSIONS/dbt.txt" >/dev/null; fi
}

# The Python of the clients.
python() {
  local found
  found="$HERALD_CACHE/servers/$(python_named)/bin/python"
  [ -x "$found" ] || die "the clients are missing: run scripts/clients.sh fetch"
  printf '%s\n' "$found"
}

places() {
  export HERALD_CLIENTS_JDBC HERALD_CLIENTS_NODE HERALD_CLIENTS_DBT
  HERALD_CLIENTS_JDBC="$HERALD_CACHE/servers/$(jdbc_named)"
  HERALD_CLIENTS_NODE="$HERALD_CACHE/servers/$(node_named)"
  HERALD_CLIENTS_DBT="$HERALD_CACHE/servers/$(dbt_named)"
}

expected() { "$(python)" -B "$TESTS/expected.py" "$@"; }

# served HERALD DIR OPTION...: starts a Herald in a directory of its own and waits until its sinks are whole.
served() {
  local herald dir="$2"
  herald="$(command -v "$1")" || die "there is no program $1"
  herald="$(realpath "$herald")"
  shift 2
  cp -r "$TESTS/topology.sql" "$TESTS/records" "$dir"
  (cd "$dir" && launch "$dir" $$ "$herald" run topology.sql --name "$NAME" --listen off --memory 256MiB "$@")
  await "$dir" 60 whole "$dir" || die "Herald did not come to an end of its records"
}

whole() { expected "$1" herald "$1/herald.json"; }

# with_scratch FUNCTION ARGUMENT...: runs a function with a directory that is removed in the end, in front of its arguments.
with_scratch() {
  local function="$1" dir
  shift
  dir="$(mktemp -d)"
  # PostgreSQL runs as a user of its own.
  chmod a+x "$dir"
  # shellcheck disable=SC2064
  trap "halt '$dir'; halt '$dir/postgres' INT; rm -rf '$dir'" EXIT
  "$function" "$dir" "$@"
}

try() {
  local dir="$1" herald="$2" port
  shift 2
  port="$(free_ports 1)"
  served "$herald" "$dir" --listen-pg "127.0.0.1:$port"
  run 127.0.0.1 "$port" "$NAME" "$dir/herald.json" "$@" || { tail -n 20 "$dir/log" >&2; return 1; }
}

judge() {
  local dir="$1" herald="$2" port shape failed=0
  shift 2
  served "$herald" "$dir"
  halt "$dir"
  port="$("$SCRIPTS/postgres.sh" start "$dir/postgres" --watch $$)"
  for shape in matviews tables; do
    expected "$dir" "$shape" "$dir/$shape.json"
    echo "== PostgreSQL, $shape"
    (places && "$(python)" -B "$TESTS/judge.py" "${port##*:}" "$dir/$shape.json" "$@") || failed=1
  done
  return "$failed"
}

run() { (places && exec "$(python)" -B "$TESTS/run.py" "$@"); }

case "${1:-}" in
  python) shift && exec "$(python)" "$@" ;;
  fetch | run | expected) "$@" ;;
  try | judge) [ $# -ge 2 ] || die "$1 needs the path of a Herald"; with_scratch "$@" ;;
  *) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
