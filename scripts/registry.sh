#!/usr/bin/env bash
# One schema registry with the Confluent API (Apicurio Registry, in memory), for tests.
#
#   scripts/registry.sh fetch                                 fetch it into the cache (start does so by itself)
#   scripts/registry.sh start DIR [--port P] [--watch PID]    start it; prints registry=http://127.0.0.1:PORT/apis/ccompat/v7
#   scripts/registry.sh stop DIR                              stop it; its schemas are gone with it
#
# --watch PID stops the registry when that process ends.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The newest release of 3.x that runs on Java 17 (3.3 needs 21).
VERSION=3.0.9

# Plugin release 2.8 copies one artifact without reading its descriptor, whose parent is not published.
fetch_registry() {
  local archive="apicurio-registry-app-$VERSION-all.tar.gz"
  (cd "$1" && mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:2.8:copy -DoutputDirectory="$1" \
    "-Dartifact=io.apicurio:apicurio-registry-app:$VERSION:tar.gz:all") &&
    tar -xzf "$1/$archive" -C "$1" && rm "$1/$archive"
}

answers() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5).read()' "$1" 2>/dev/null; }

start() {
  local dir port="" watch="" home
  mkdir -p "$1"
  dir="$(cd "$1" && pwd)"
  shift
  options "$@"
  home="$(fetched "apicurio-registry-$VERSION" fetch_registry)"
  if alive "$dir"; then die "a registry runs in $dir already: scripts/registry.sh stop $dir"; fi
  if [ -z "$port" ]; then port="$(free_ports 1)"; fi
  launch "$dir" "$watch" env QUARKUS_HTTP_PORT="$port" QUARKUS_HTTP_HOST=127.0.0.1 QUARKUS_LOG_LEVEL=WARN \
    java -Xmx384m -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$dir" -jar "$home/apicurio-registry-app-$VERSION-runner.jar"
  await "$dir" 120 answers "http://127.0.0.1:$port/apis/ccompat/v7/subjects" || die "the registry in $dir did not start"
  echo "registry=http://127.0.0.1:$port/apis/ccompat/v7"
}

case "${1:-}" in
  fetch) fetched "apicurio-registry-$VERSION" fetch_registry >/dev/null ;;
  start) [ $# -ge 2 ] || die "start needs a directory"; shift; start "$@" ;;
  stop) [ $# -ge 2 ] || die "stop needs a directory"; halt "$2" ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
