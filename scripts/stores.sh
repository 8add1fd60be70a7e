#!/usr/bin/env bash
# One server of S3's API (moto, in memory) for tests of exports, and what DuckDB reads it with.
#
#   scripts/stores.sh fetch                                 fetch it into the cache (start does so by itself)
#   scripts/stores.sh start DIR [--port P] [--watch PID]    start it; prints s3=127.0.0.1:PORT and httpfs=FILE
#   scripts/stores.sh stop DIR                              stop it; its buckets are gone with it
#
# Any access key and secret will do. httpfs= is DuckDB's extension, in the version of the clients of scripts/clients.sh.
# --watch PID stops the server when that process ends.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSIONS="$SCRIPTS/../tests/clients/versions/stores.txt"

# The extension needs no DuckDB of its own here, so nothing is fetched but what the file names.
fetch_stores() {
  python3 -m venv "$1" &&
    "$1/bin/pip" install -q --disable-pip-version-check --only-binary :all: --no-deps -r "$VERSIONS"
}

home() { fetched "stores-$(sha256sum <"$VERSIONS" | cut -c1-12)" fetch_stores; }

start() {
  local dir port="" watch="" home
  mkdir -p "$1"
  dir="$(cd "$1" && pwd)"
  shift
  options "$@"
  home="$(home)"
  if alive "$dir"; then die "a store runs in $dir already: scripts/stores.sh stop $dir"; fi
  if [ -z "$port" ]; then port="$(free_ports 1)"; fi
  launch "$dir" "$watch" "$home/bin/python" -m moto.server -H 127.0.0.1 -p "$port"
  await "$dir" 60 listens "$port" || die "the store in $dir did not start"
  echo "s3=127.0.0.1:$port"
  echo "httpfs=$(ls "$home"/lib/python3*/site-packages/duckdb_extension_httpfs/extensions/*/httpfs.duckdb_extension)"
}

case "${1:-}" in
  fetch) home >/dev/null ;;
  start) [ $# -ge 2 ] || die "start needs a directory"; shift; start "$@" ;;
  stop) [ $# -ge 2 ] || die "stop needs a directory"; halt "$2" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
