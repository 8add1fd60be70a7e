#!/usr/bin/env bash
# Installs each package of scripts/dist.py in a clean root and runs it there: scripts/try_dist.sh OUT
#
# The root is a minimal Debian (debootstrap) with nothing of this machine in it; it is made once and kept in the cache.
# As root only, for it changes roots.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out="$(cd "$1" && pwd)"
(cd "$out" && sha256sum --quiet --check SHA256SUMS)

release="$(. /etc/os-release && echo "$VERSION_CODENAME")"
make_root() { debootstrap --variant=minbase "$release" "$1/root" >/dev/null; }

scratch="$(mktemp -d)"
trap 'umount -q "$scratch"/*/proc "$scratch"/*/*/proc 2>/dev/null || true; rm -rf --one-file-system "$scratch"' EXIT

# clean NAME: a new clean root with apt's settings of this machine.
clean() {
  local root="$scratch/$1"
  cp -a "$(fetched "root-$release" make_root)/root" "$root"
  rm -rf "$root/etc/apt/sources.list"
  cp -a /etc/apt/. "$root/etc/apt/"
  for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do if [ -f "$file" ]; then cp -L "$file" "$root$file"; fi; done
  mkdir -p "$root/proc" && mount -t proc proc "$root/proc"
  printf '%s\n' "$root"
}

inside() {
  local root="$1"
  shift
  chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    DEBIAN_FRONTEND=noninteractive ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} "$@"
}

install() { inside "$1" sh -c "apt-get update -q >/dev/null && apt-get install -q -y --no-install-recommends ${*:2} >/dev/null 2>&1"; }

# demonstrates COMMAND...: the demo gives results, for which a busy machine may need longer than a quick one.
demonstrates() {
  local time
  for time in 2s 10s 50s; do
    if "$@" demo --for "$time" | grep -q ' kda '; then return; fi
  done
  printf 'herald: the demo gives no results: %s\n' "$*" >&2
  exit 1
}

# works HOW ROOT COMMAND: the command answers, and the demo gives results.
works() {
  local how="$1" root="$2" begun=$SECONDS
  shift 2
  inside "$root" "$@" --version | grep -q '^herald '
  demonstrates inside "$root" "$@"
  say "$how: installed and run in a clean root (the demo took $((SECONDS - begun)) s)"
}

# has FOLDER FILE...: the files are there, and what every package has.
has() {
  local file
  for file in "${@:2}" bash-completion/completions/herald fish/vendor_completions.d/herald.fish \
    doc/herald/docs/tutorial.md doc/herald/docs/reference/commands.md doc/herald/k8s/herald.yaml \
    doc/herald/dataflows/topologies/match_analytics.sql; do
    test -s "$1/$file" || { printf 'herald: %s has no %s\n' "$1" "$file" >&2; exit 1; }
  done
}

root="$(clean tar)"
install "$root" libssl3 zlib1g libstdc++6
# As its README says.
mkdir -p "$root/unpacked"
tar -xzf "$out"/herald-*-linux-*.tar.gz -C "$root/unpacked" --strip-components=1
for file in README.md LICENSE; do
  test -s "$root/unpacked/$file" || { printf 'herald: the tarball has no %s at its top\n' "$file" >&2; exit 1; }
done
cp -r "$root/unpacked/bin" "$root/unpacked/share" "$root/usr/local/"
works tarball "$root" herald
has "$root/usr/local/share" man/man1/herald.1 zsh/site-functions/_herald doc/herald/LICENSE doc/herald/README.md

root="$(clean deb)"
cp "$out"/herald_*.deb "$root/herald.deb"
install "$root" /herald.deb
works "Debian package" "$root" herald
has "$root/usr/share" man/man1/herald.1.gz zsh/vendor-completions/_herald doc/herald/copyright doc/herald/changelog.gz

root="$(clean wheel)"
install "$root" python3-venv libssl3 zlib1g libstdc++6
cp "$out"/*.whl "$root/root/"
inside "$root" sh -c 'python3 -m venv /venv && /venv/bin/pip install -q --no-index /root/*.whl'
works wheel "$root" /venv/bin/herald

mkdir "$scratch/layout"
tar -xf "$out"/herald-*-oci-*.tar -C "$scratch/layout"
umoci unpack --image "$scratch/layout:$(cd "$scratch/layout" && python3 -c 'import json; print(json.load(open("index.json"))["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"])')" \
  "$scratch/image" 2>/dev/null
mkdir -p "$scratch/image/rootfs/proc"
mount -t proc proc "$scratch/image/rootfs/proc"
begun=$SECONDS
# There is no shell and no env in it: it runs as its user, as an engine would start it.
demonstrates chroot --userspec=10001:10001 "$scratch/image/rootfs" /usr/bin/herald
umount "$scratch/image/rootfs/proc"
say "OCI image: unpacked and run as its user (the demo took $((SECONDS - begun)) s)"
