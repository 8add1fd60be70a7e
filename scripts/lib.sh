# Shared by the scripts beside it: where the cache is, a free port, and the life of a background server.
# A server lives in a directory of its own: DIR/pid, DIR/log, DIR/data. Nothing is written elsewhere.

HERALD_CACHE="${HERALD_CACHE:-${HOME:-/tmp}/.cache/herald}"
SCRIPTS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

say() { printf 'herald: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# Prints N free TCP ports of 127.0.0.1. All are held until the last is chosen, so they differ.
free_ports() {
  python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
PY
}

# Whether something listens on a port of 127.0.0.1.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

alive() { [ -f "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

# fetched NAME COMMAND...: runs the command once with a fresh directory as its last argument and
# moves that to the cache as NAME, so that a fetch cut short leaves nothing that looks complete.
fetched() {
  local name="$1" home="$HERALD_CACHE/servers/$1" part
  shift
  if [ ! -e "$home" ]; then
    mkdir -p "$HERALD_CACHE/servers"
    part="$(mktemp -d "$HERALD_CACHE/servers/.$name.XXXXXX")"
    say "fetching $name into $HERALD_CACHE/servers (once)"
    if ! "$@" "$part" >&2; then rm -rf "$part"; die "could not fetch $name"; fi
    mv -T "$part" "$home" 2>/dev/null || rm -rf "$part"
  fi
  printf '%s\n' "$home"
}

# copy_artifacts POM TARGET [MAVEN OPTION...]: copies what a pom depends on into a directory.
copy_artifacts() {
  local pom="$1" target="$2"
  shift 2
  mvn -q -B -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DoutputDirectory="$target" "$@"
}

# options ARGUMENT...: takes --port N and --watch PID into the caller's port and watch.
options() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --port) port="$2" ;;
      --watch) watch="$2" ;;
      *) die "unknown option $1" ;;
    esac
    shift 2
  done
}

# launch DIR WATCHED COMMAND...: starts a server detached from this shell, notes its pid, and, when
# WATCHED is a pid, stops the server once that process is gone (a killed test must leave nothing).
launch() {
  local dir="$1" watched="$2"
  shift 2
  setsid "$@" >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  if [ -n "$watched" ]; then
    # shellcheck disable=SC2016
    setsid bash -c 'while kill -0 "$1" 2>/dev/null && kill -0 "$2" 2>/dev/null; do sleep 1; done; kill -9 "$2" 2>/dev/null' \
      watch "$watched" "$(cat "$dir/pid")" >/dev/null 2>&1 </dev/null &
  fi
}

# await DIR SECONDS COMMAND...: waits until the command succeeds; shows the log's end if it does not.
await() {
  local dir="$1" until=$((SECONDS + $2))
  shift 2
  until "$@"; do
    if ! alive "$dir" || [ "$SECONDS" -ge "$until" ]; then
      tail -n 30 "$dir/log" >&2
      return 1
    fi
    sleep 0.1
  done
}

# halt DIR [SIGNAL]: asks a server to end (TERM, or the signal given), and ends it after ten seconds. Its data stay.
halt() {
  local pid signal="${2:-TERM}" tries=100
  pid="$(cat "$1/pid" 2>/dev/null)" || return 0
  # It may end by itself at any moment: a signal that finds nobody is no failure.
  kill "-$signal" "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null; do
    tries=$((tries - 1))
    if [ "$tries" = 0 ]; then kill -9 "$pid" 2>/dev/null || true; fi
    sleep 0.1
  done
  rm -f "$1/pid"
}
