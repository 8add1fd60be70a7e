#!/usr/bin/env bash
# One PostgreSQL server, the judge of Herald's answers, for tests and trying things out.
#
#   scripts/postgres.sh start DIR [--port P] [--watch PID]   start with its data in DIR; prints postgres=127.0.0.1:PORT
#   scripts/postgres.sh stop DIR                             stop it; the data stay, start goes on with them
#
# The user is postgres, without a password; the database is postgres. Times are in UTC, text is UTF-8 and is ordered
# by code point. Nothing is synced to disk. As root, the server runs as user postgres, whom Debian's package makes.
# A directory that was started before keeps its port. --watch PID stops the server when that process ends.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The newest that is installed: Debian keeps servers apart by version, off the PATH.
bin() {
  local found
  found="$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n1)" || found="$(command -v postgres)" || true
  [ -n "$found" ] || die "PostgreSQL is missing: run scripts/setup.sh"
  dirname "$found"
}

# PostgreSQL refuses to be root.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
  else
    exec "$@"
  fi
}

configure() {
  local dir="$1" port="$2"
  mkdir -p "$dir/data"
  # What is above the data may be walked through, not listed.
  if [ "$(id -u)" = 0 ]; then chmod a+x "$dir" && chown postgres:postgres "$dir/data"; fi
  (cd / && as_postgres "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync) \
    >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; die "making the database failed"; }
  cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, mdy'
lc_messages = 'C.UTF-8'
max_connections = 30
shared_buffers = 64MB
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
jit = off
CONF
  printf '%s\n' "$port" >"$dir/port"
}

start() {
  local dir port="" watch="" bin
  mkdir -p "$1"
  dir="$(cd "$1" && pwd)"
  shift
  options "$@"
  bin="$(bin)"
  if alive "$dir"; then die "a server runs in $dir already: scripts/postgres.sh stop $dir"; fi
  [ -f "$dir/port" ] || configure "$dir" "${port:-$(free_ports 1)}"
  port="$(cat "$dir/port")"
  launch "$dir" "$watch" bash -c "$(declare -f as_postgres)"'; cd /; as_postgres "$1/postgres" -D "$2/data"' postgres "$bin" "$dir"
  await "$dir" 60 ready "$bin" "$port" || die "PostgreSQL in $dir did not start"
  echo "postgres=127.0.0.1:$port"
}

ready() { "$1/pg_isready" -q -h 127.0.0.1 -p "$2" -U postgres; }

case "${1:-}" in
  start) [ $# -ge 2 ] || die "start needs a directory"; shift; start "$@" ;;
  # SIGINT ends those who are connected, SIGTERM would wait for them.
  stop) [ $# -ge 2 ] || die "stop needs a directory"; halt "$2" INT ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
