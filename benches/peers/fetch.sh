#!/usr/bin/env bash
# Gets the peers and compiles their jobs: benches/peers/fetch.sh prints the directory that holds them, with the jars in
# streams/ and flink/ and the classes in classes/streams and classes/flink.
#
# The jars come from Maven Central; versions are pinned by the poms beside this script, and each file's content by
# jars.sha256. On Debian and its kin, as root or with sudo, it installs Maven and a JDK when they are missing; anywhere else
# it names them. All is kept in the cache ($HERALD_CACHE, else ~/.cache/herald).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/../../scripts/lib.sh"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

tools() {
  local missing=()
  command -v mvn >/dev/null || missing+=(maven)
  command -v javac >/dev/null || missing+=(openjdk-17-jdk-headless)
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  command -v apt-get >/dev/null || die "please install (names as Debian has them): ${missing[*]}"
  # Debian has no JDK 17 beside a newer release's own.
  if ! apt-cache show openjdk-17-jdk-headless >/dev/null 2>&1; then missing=("${missing[@]/openjdk-17-jdk-headless/default-jdk-headless}"); fi
  say "installing with apt-get: ${missing[*]}"
  as_root apt-get update -q >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}

fetch_peers() {
  local target="$1" peer
  for peer in streams flink; do
    copy_artifacts "$here/$peer.pom.xml" "$target/$peer" || return 1
  done
  if [ "${HERALD_UPDATE:-}" = 1 ]; then
    (cd "$target" && sha256sum streams/*.jar flink/*.jar) >"$here/jars.sha256"
  fi
  (cd "$target" && sha256sum --quiet --strict -c "$here/jars.sha256") || return 1
  # A jar that the list does not know is one too many.
  [ "$(find "$target" -name '*.jar' | wc -l)" = "$(wc -l <"$here/jars.sha256")" ] ||
    { say "there are other jars than benches/peers/jars.sha256 names"; return 1; }
  for peer in streams flink; do
    javac -nowarn --release 17 -d "$target/classes/$peer" -cp "$target/$peer/*" "$here/${peer^}.java" || return 1
  done
}

tools
# Another job or another version is another directory.
digest="$(cat "$here"/*.pom.xml "$here"/*.java | sha256sum | cut -c1-12)"
fetched "peers-$digest" fetch_peers
