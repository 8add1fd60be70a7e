#!/usr/bin/env bash
# cargo deny, by deny.toml: licences, bans, versions side by side, sources; and advisories where their database can be
# reached. scripts/deny.py, which `make lint` runs, reads the same file and needs nothing built.
#
#   scripts/deny.sh [SECONDS]     where there is no cargo-deny, builds it into the cache first, for so long at most (900)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$SCRIPTS/.."

VERSION=0.20.2
tools="$HERALD_CACHE/tools"
PATH="$tools/bin:$PATH"

if ! cargo deny --version >/dev/null 2>&1; then
  say "building cargo-deny $VERSION"
  # Little of it is worth optimising: it runs for seconds.
  if ! CARGO_TARGET_DIR="$tools/target" CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
    timeout "${1:-900}" cargo install --quiet --locked --root "$tools" "cargo-deny@$VERSION"; then
    say "cargo-deny could not be built in time; scripts/deny.py has checked all but advisories"
    exit 0
  fi
  rm -rf "$tools/target"
fi
cargo deny --locked check licenses bans sources
if cargo deny fetch db >/dev/null 2>&1; then
  cargo deny --locked check advisories
else
  say "the database of advisories cannot be reached: they are not checked"
fi
