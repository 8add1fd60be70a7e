#!/usr/bin/env bash
# Compiles NEXMark's queries for dbsp: benches/peers/dbsp.sh prints the path of the program, which benches/peers/dbsp is the
# source of.
#
# Its crates come from crates.io, pinned by its own Cargo.lock. The first build takes some 15 minutes on two cores and 2 GB of
# disk; only the program is kept, in the cache ($HERALD_CACHE, else ~/.cache/herald). Other sources are another program.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/../../scripts/lib.sh"

compile() {
  local target="$1"
  # dbsp names a newer Rust than it needs.
  CARGO_TARGET_DIR="$target/target" cargo build --release --locked --ignore-rust-version \
    --manifest-path "$here/dbsp/Cargo.toml" || return 1
  mv "$target/target/release/dbsp-nexmark" "$target/" || return 1
  rm -rf "$target/target"
}

digest="$(cd "$here/dbsp" && find . -name target -prune -o -type f -print | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-12)"
printf '%s/dbsp-nexmark\n' "$(fetched "dbsp-$digest" compile)"
