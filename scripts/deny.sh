#!/usr/bin/env bash
# cargo deny, by deny.toml: licences, bans, versions side by side, sources; and advisories where their database can be
# reached. Where there is no cargo-deny it is built into the cache first, which takes some two minutes.
#
#   scripts/deny.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$SCRIPTS/.."

VERSION=0.20.2
tools="$HERALD_CACHE/tools"
PATH="$tools/bin:$PATH"

if ! cargo deny --version >/dev/null 2>&1; then
  say "building cargo-deny $VERSION"
  # Little of it is worth optimising: it runs for seconds.
  CARGO_TARGET_DIR="$tools/target" CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 cargo install --quiet --locked --root "$tools" "cargo-deny@$VERSION"
  rm -rf "$tools/target"
fi
cargo deny --locked check --hide-inclusion-graph licenses bans sources
if cargo deny fetch db >/dev/null 2>&1; then
  cargo deny --locked check --hide-inclusion-graph advisories
else
  say "the database of advisories cannot be reached: they are not checked"
fi
