#!/usr/bin/env bash
# Gets what building and testing Herald needs.
#
#   scripts/setup.sh            everything: build tools, Rust, Java and Maven, Kafka, a registry, PostgreSQL and clients
#                               of it, DuckDB
#   scripts/setup.sh --build    only what building needs
#   scripts/setup.sh --dist     what building and packaging need
#
# On Debian and its kin, as root or with sudo, it installs what is missing and says so. Anywhere else
# it names what is missing and stops. It is quick when nothing is missing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

DUCKDB=1.4.4
RUST=1.94

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

can_install() { command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; }

# need PACKAGE CHECK...: notes a Debian package whose check fails.
missing=()
need() {
  local package="$1"
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}

has_libclang() {
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || compgen -G '/usr/lib*/libclang*.so*' ||
    compgen -G '/usr/lib/*-linux-gnu/libclang*.so*'
}

has_debootstrap() { command -v debootstrap || [ -x /usr/sbin/debootstrap ]; }

has_venv() { python3 -c 'import ensurepip, venv'; }

has_postgres() { { command -v postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres'; } && command -v psql; }

# Debian's package makes a database of its own and starts it with the machine, unless it is told not to.
no_postgres_of_its_own() {
  local file=/etc/postgresql-common/createcluster.conf
  if [ -f "$file" ]; then return; fi
  as_root mkdir -p "${file%/*}"
  echo 'create_main_cluster = false' | as_root tee "$file" >/dev/null
}

packages() {
  need build-essential sh -c 'command -v cc && command -v c++ && command -v make'
  need pkg-config command -v pkg-config
  need clang command -v clang
  need libclang-dev has_libclang
  need libssl-dev pkg-config --exists openssl
  need zlib1g-dev pkg-config --exists zlib
  need python3 command -v python3
  if [ "$1" = all ]; then
    need python3-venv has_venv
    need default-jre-headless command -v java
    need maven command -v mvn
    # The judge of answers; the tests start one themselves.
    need postgresql has_postgres
    # Tests make a certificate and ask over TLS.
    need openssl command -v openssl
    need curl command -v curl
    # Counts the instructions of kernels.
    need valgrind command -v valgrind
  fi
  if [ "$1" != build ]; then
    need umoci command -v umoci
    need debootstrap has_debootstrap
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    can_install || die "please install (names as Debian has them): ${missing[*]}"
    say "installing with apt-get: ${missing[*]}"
    as_root apt-get update -q >&2
    case " ${missing[*]} " in *" postgresql "*) no_postgres_of_its_own ;; esac
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
  fi
}

new_enough() {
  command -v cargo >/dev/null && cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 &&
    [ "$(printf '%s\n' "$RUST" "$(cargo --version | cut -d' ' -f2)" | sort -V | head -n1)" = "$RUST" ]
}

rust() {
  new_enough && return
  if ! command -v rustup >/dev/null && can_install; then
    say "installing rustup with apt-get (Rust $RUST or newer is needed)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q rustup >&2 || true
  fi
  command -v rustup >/dev/null ||
    die "please install Rust $RUST or newer with rustfmt and clippy: see https://rustup.rs"
  say "installing Rust's stable toolchain with rustup"
  rustup toolchain install stable --profile minimal --component rustfmt --component clippy >&2
  rustup default stable >&2
}

duckdb_venv() {
  python3 -m venv "$1" && "$1/bin/pip" install -q --disable-pip-version-check "duckdb==$DUCKDB"
}

wanted="${1:---all}"
packages "${wanted#--}"
rust
if [ "$wanted" = --all ]; then
  # An environment remembers its path by its python only, which is a link: moving it is fine.
  fetched "duckdb-$DUCKDB" duckdb_venv >/dev/null
  "$SCRIPTS/kafka.sh" fetch
  "$SCRIPTS/clients.sh" fetch
  "$SCRIPTS/registry.sh" fetch
fi
