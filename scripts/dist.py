#!/usr/bin/env python3
"""Packages of a built binary: a tarball, a wheel, a Debian package and an OCI image.

    scripts/dist.py BINARY OUT [--only tar,wheel,deb,oci]

OUT gets herald-VERSION-linux-ARCH.tar.gz, herald_engine-VERSION-*.whl, herald_VERSION_ARCH.deb, herald-VERSION-oci.tar
and SHA256SUMS. The binary is stripped; what it needs of the system (OpenSSL 3, zlib, a libc as new as this machine's) is
read from it and stands in each package. The image is made without a daemon, by umoci, from Debian's packages.
"""
import argparse
import base64
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What the image holds beside the binary.
IMAGE_PACKAGES = ["base-files", "ca-certificates", "libc6", "libgcc-s1", "libssl3", "libstdc++6", "tzdata", "zlib1g"]
# Where documents stand in each package, and which files are documents.
DOC = "share/doc/herald"
DOCUMENTS = {".md", ".svg", ".csv", ".sql", ".yaml", ".avsc"}
# The README at the top of the tarball.
TARBALL_README = """# Herald {version}

A stream processor: SQL in, exact results out. One binary, which needs glibc {glibc} or newer, OpenSSL 3, libstdc++, zlib
and, for brokers with TLS, the certificates of the authorities. A minimal Debian or Ubuntu lacks some of them:

    sudo apt install libssl3 libstdc++6 zlib1g ca-certificates

To install it, put `bin` on the `PATH`, or copy it with the manual page and completions:

    sudo cp -r bin share /usr/local/

To begin:

    herald demo                       the whole engine at work, with nothing else installed
    herald init first                 a topology and a test of it, to read and change
    herald check first/matches.sql    every mistake in it, with its place

The documents are in `share/doc/herald`: begin with `docs/tutorial.md`. They speak of `make` and `scripts/` where they
mean a checkout of the source code. The licence is Apache-2.0, in `LICENSE`.
"""
# Files get this time, so that equal inputs give equal packages: 2024-01-01.
MTIME = 1704067200


def run(*command, **more):
    """The output of a command; its failure ends this script with the reason."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=False, **more)
    if done.returncode:
        sys.exit(f"herald: {command[0]} failed: {' '.join(map(str, command))}")
    return done.stdout.strip()


def version():
    """The workspace's version."""
    return re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)


def needed_glibc(binary):
    """The newest version of glibc's symbols that the binary uses, as (major, minor)."""
    symbols = run("objdump", "-T", binary)
    return max((int(a), int(b)) for a, b in re.findall(r"GLIBC_(\d+)\.(\d+)", symbols))


class Stage:
    """The files of every package, by their place below /usr."""

    def __init__(self, binary, folder):
        self.binary = folder / "herald"
        run("strip", "-o", self.binary, binary)
        self.binary.chmod(0o755)
        made = folder / "made"
        made.mkdir()
        (made / "herald.1").write_bytes(subprocess.run([binary, "man"], stdout=subprocess.PIPE, check=True).stdout)
        for shell in ("bash", "zsh", "fish"):
            text = subprocess.run([binary, "completions", shell], stdout=subprocess.PIPE, check=True).stdout
            (made / shell).write_bytes(text)
        self.files = {
            "bin/herald": self.binary,
            "share/man/man1/herald.1": made / "herald.1",
            "share/bash-completion/completions/herald": made / "bash",
            "share/zsh/site-functions/_herald": made / "zsh",
            "share/fish/vendor_completions.d/herald.fish": made / "fish",
        }
        for name in ("LICENSE", "README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
            self.files[f"{DOC}/{name}"] = ROOT / name
        # Links of the documents go on working: their folders are as in the repository.
        for folder in ("docs", "k8s", "dataflows/topologies", "schemas/avro"):
            for file in sorted((ROOT / folder).rglob("*")):
                if file.suffix in DOCUMENTS:
                    self.files[f"{DOC}/{file.relative_to(ROOT)}"] = file


def add(archive, name, path, mode):
    """Adds a file to a tar archive, owned by root, with the fixed time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.uname, info.gname = path.stat().st_size, mode, MTIME, "root", "root"
    with path.open("rb") as source:
        archive.addfile(info, source)


def tarball(stage, out, folder, arch, glibc):
    """README.md, LICENSE, bin/ and share/ below one folder: unpack it anywhere."""
    name = f"herald-{version()}-linux-{arch}"
    path = out / f"{name}.tar.gz"
    readme = folder / "README.md"
    readme.write_text(TARBALL_README.format(version=version(), glibc=f"{glibc[0]}.{glibc[1]}"))
    files = {"README.md": readme, "LICENSE": ROOT / "LICENSE", **stage.files}
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, MTIME) as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for place, file in files.items():
                add(archive, f"{name}/{place}", file, 0o755 if place.startswith("bin/") else 0o644)
    return path


def wheel(stage, out, arch, glibc):
    """A wheel without a line of Python: pip puts its script, the binary, on the PATH."""
    tag = f"py3-none-manylinux_{glibc[0]}_{glibc[1]}_{arch}"
    path = out / f"herald_engine-{version()}-{tag}.whl"
    info = f"herald_engine-{version()}.dist-info"
    readme = (ROOT / "README.md").read_text()
    texts = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: herald-engine\n"
        f"Version: {version()}\nSummary: Exact, exactly-once SQL stream processing: the command herald\n"
        "License: Apache-2.0\nRequires-Python: >=3.7\nDescription-Content-Type: text/markdown\n\n" + readme,
        f"{info}/LICENSE": (ROOT / "LICENSE").read_text(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: herald scripts/dist.py\nRoot-Is-Purelib: false\nTag: {tag}\n",
    }
    records = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:

        def write(name, data, mode):
            entry = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            entry.external_attr, entry.compress_type = (0o100000 | mode) << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{name},sha256={digest},{len(data)}")

        write(f"herald_engine-{version()}.data/scripts/herald", stage.binary.read_bytes(), 0o755)
        for name, text in texts.items():
            write(name, text.encode(), 0o644)
        write_record = "\n".join([*records, f"{info}/RECORD,,", ""])
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", (2024, 1, 1, 0, 0, 0)), write_record)
    return path


UNIT = """[Unit]
Description=Herald topology %i
Documentation=man:herald(1)
After=network-online.target
Wants=network-online.target

[Service]
# /etc/herald/NAME.sql is the topology; variables for it and HERALD_* settings stand in /etc/herald/NAME.env.
ExecStart=/usr/bin/herald run /etc/herald/%i.sql --name %i --state /var/lib/herald/%i
EnvironmentFile=-/etc/herald/%i.env
DynamicUser=yes
StateDirectory=herald
WorkingDirectory=/var/lib/herald
# SIGTERM finishes the epoch and publishes it.
TimeoutStopSec=60
Restart=on-failure
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes

[Install]
WantedBy=multi-user.target
"""


# Debian's own rules for some of the places.
DEBIAN_PLACES = {
    "share/zsh/site-functions/_herald": "share/zsh/vendor-completions/_herald",
    "share/man/man1/herald.1": "share/man/man1/herald.1.gz",
    f"{DOC}/LICENSE": f"{DOC}/copyright",
    f"{DOC}/CHANGELOG.md": f"{DOC}/changelog.gz",
}


def deb(stage, out, folder, debian):
    """A Debian package, with a systemd unit for topologies in /etc/herald."""
    tree = folder / "deb"
    for place, file in stage.files.items():
        place = DEBIAN_PLACES.get(place, place)
        target = tree / "usr" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if place.endswith(".gz"):
            target.write_bytes(gzip.compress(file.read_bytes(), 9, mtime=MTIME))
        else:
            shutil.copy(file, target)
    unit = tree / "lib/systemd/system/herald@.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(UNIT)
    control = folder / "debian"
    control.mkdir()
    (control / "control").write_text("Source: herald\n\nPackage: herald\nArchitecture: any\n")
    depends = run("dpkg-shlibdeps", "-O", "-e", stage.binary, cwd=folder, stderr=subprocess.DEVNULL)
    depends = depends.removeprefix("shlibs:Depends=")
    size = sum(p.stat().st_size for p in tree.rglob("*") if p.is_file()) // 1024
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: herald\nVersion: {version()}\nArchitecture: {debian}\nMaintainer: Herald's maintainers <herald@localhost>\n"
        f"Installed-Size: {size}\nDepends: {depends}\nRecommends: ca-certificates\nSection: database\nPriority: optional\n"
        "Description: exact, exactly-once SQL stream processing\n"
        " Herald reads events from Kafka, keeps SQL views over them up to date with each record, and\n"
        " publishes their changes, each exactly once. One binary.\n"
    )
    for path in tree.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.name == "herald" and path.parent.name == "bin" else 0o644)
    path = out / f"herald_{version()}_{debian}.deb"
    run("dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", tree, path)
    return path


def closure(packages):
    """The packages and all that they depend on, as apt resolves it."""
    lines = run("apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
                "--no-replaces", "--no-enhances", *packages)
    names = {line for line in lines.splitlines() if re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", line)}
    # Needed by maintainers' scripts only, none of which runs here.
    return sorted(names - {"openssl", "debconf", "dpkg", "tar", "perl-base", "cdebconf", "awk", "gawk", "mawk"})


def oci(stage, out, folder, arch):
    """An OCI image: Debian's libraries, certificates and time zones, the binary, and a user that is not root."""
    layout, bundle, debs = folder / "layout", folder / "bundle", folder / "debs"
    debs.mkdir()
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:{version()}")
    run("umoci", "unpack", "--image", f"{layout}:{version()}", bundle, stderr=subprocess.DEVNULL)
    root = bundle / "rootfs"
    run("apt-get", "download", *closure(IMAGE_PACKAGES), cwd=debs, stderr=subprocess.DEVNULL)
    for package in sorted(debs.glob("*.deb")):
        run("dpkg-deb", "--extract", package, root)
    # The one file that the certificates' own script would make.
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("".join(c.read_text() for c in certificates))
    for place in ("usr/share/man", "usr/share/locale", "usr/share/info"):
        shutil.rmtree(root / place, ignore_errors=True)
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(stage.binary, root / "usr/bin/herald")
    shutil.copytree(ROOT / "dataflows/topologies", root / "etc/herald/topologies")
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/sbin/nologin\nherald:x:10001:10001::/var/lib/herald:/sbin/nologin\n")
    (root / "etc/group").write_text("root:x:0:\nherald:x:10001:\n")
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    home = root / "var/lib/herald"
    home.mkdir(parents=True)
    os.chown(home, 10001, 10001)
    run("umoci", "repack", "--image", f"{layout}:{version()}", bundle, stderr=subprocess.DEVNULL)
    run("umoci", "config", "--image", f"{layout}:{version()}", "--config.user", "10001:10001", "--config.entrypoint", "herald",
        "--config.workingdir", "/var/lib/herald", "--config.env", "PATH=/usr/bin:/bin",
        "--config.env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "--config.volume", "/var/lib/herald",
        "--config.exposedports", "7414/tcp", "--config.label", f"org.opencontainers.image.version={version()}",
        "--config.label", "org.opencontainers.image.licenses=Apache-2.0")
    run("umoci", "gc", "--layout", layout, stderr=subprocess.DEVNULL)
    path = out / f"herald-{version()}-oci-{arch}.tar"
    with tarfile.open(path, "w") as archive:
        for file in sorted(layout.rglob("*")):
            if file.is_file():
                add(archive, file.relative_to(layout).as_posix(), file, 0o644)
    return path


def main():
    """Makes the packages and their checksums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="tar,wheel,deb,oci", help="which packages, of tar,wheel,deb,oci")
    args = parser.parse_args()
    wanted = args.only.split(",")
    args.out.mkdir(parents=True, exist_ok=True)
    machine = os.uname().machine
    debian = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    with tempfile.TemporaryDirectory(prefix="herald-dist-") as scratch:
        folder = Path(scratch)
        stage = Stage(args.binary.resolve(), folder)
        glibc = needed_glibc(stage.binary)
        makers = {
            "tar": lambda: tarball(stage, args.out, folder, machine, glibc),
            "wheel": lambda: wheel(stage, args.out, machine, glibc),
            "deb": lambda: deb(stage, args.out, folder, debian),
            "oci": lambda: oci(stage, args.out, folder, machine),
        }
        made = [makers[name]() for name in wanted]
    with (args.out / "SHA256SUMS").open("w") as sums:
        for path in made:
            sums.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
            print(f"{path}  {path.stat().st_size / 1e6:.0f} MB")
    print(f"they need glibc {glibc[0]}.{glibc[1]} or newer, OpenSSL 3 and zlib; the image brings them")


if __name__ == "__main__":
    main()
