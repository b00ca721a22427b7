"""Make a signed apt repository that holds the stand-in for Grafana.

build_repository.py DIRECTORY VERSION [DIGEST] prints the fingerprint of its key, which is made for it and
thrown away. With DIGEST (SHA1) the key vouches for itself with that one, as old keys do.
Needs dpkg-deb and gpg.
Laid out as the vendor's: dists/stable/main, the key as gpg-full.key.
"""

import gzip
import hashlib
import shutil
import subprocess
import sys
import tempfile
from email.utils import formatdate
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNIT = "usr/lib/systemd/system/grafana-server.service"
CONTROL = """\
Package: grafana
Version: {version}
Architecture: all
Maintainer: Face Pipeline tests <nobody@example.org>
Depends: adduser, python3, python3-yaml
Section: misc
Priority: optional
Description: STAND-IN for Grafana, for tests alone
 It takes Grafana's settings, provisioning files and commands, strictly, and draws nothing.
 It says nothing about what the real Grafana does.
"""


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return done.stdout


def package(directory: Path, version: str) -> Path:
    program = (HERE / "grafana").read_text().replace("@VERSION@", version)
    files = {
        "DEBIAN/control": (CONTROL.format(version=version), 0o644),
        "DEBIAN/postinst": ((HERE / "postinst").read_text(), 0o755),
        "DEBIAN/prerm": ((HERE / "prerm").read_text(), 0o755),
        "DEBIAN/conffiles": ("/etc/default/grafana-server\n", 0o644),
        "usr/share/grafana/bin/grafana": (program, 0o755),
        "usr/share/grafana/lib/grafana_sources.py": ((HERE / "grafana_sources.py").read_text(), 0o644),
        UNIT: ((HERE / "grafana-server.service").read_text(), 0o644),
        "etc/default/grafana-server": ((HERE / "default").read_text(), 0o644),
    }
    for name, (content, mode) in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
    target = directory.parent / f"grafana_{version}_all.deb"
    run("dpkg-deb", "--build", "--root-owner-group", directory, target)
    return target


def index(pool: Path, deb: Path) -> str:
    control = run("dpkg-deb", "--field", deb)
    content = deb.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return f"{control.strip()}\nFilename: {pool.name}/{deb.name}\nSize: {len(content)}\nSHA256: {digest}\n"


def describe(dist: Path) -> str:
    listed = sorted(path for path in dist.rglob("*") if path.is_file())
    sums = "".join(
        f" {hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size} {path.relative_to(dist)}\n"
        for path in listed
    )
    date = formatdate(usegmt=True)
    return (
        "Origin: face-pipeline STAND-IN\nLabel: STAND-IN\nSuite: stable\nCodename: stable\n"
        f"Date: {date}\nArchitectures: all amd64 arm64\nComponents: main\nSHA256:\n{sums}"
    )


def sign(directory: Path, release: Path, digest: str = "SHA512") -> str:
    # Not below the directory: the agent's socket must have a short name.
    with tempfile.TemporaryDirectory(prefix="gpg-") as home:
        gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--no-tty", "--logger-file", f"{home}/log")
        gpg += ("--allow-weak-digest-algos", "--cert-digest-algo", digest)
        user = "STAND-IN <nobody@example.org>"
        run(*gpg, "--passphrase", "", "--quick-generate-key", user, "rsa3072", "sign", "never")
        run(
            *gpg,
            "--clearsign",
            "--digest-algo",
            "SHA512",
            "--output",
            release.with_name("InRelease"),
            release,
        )
        run(*gpg, "--armor", "--output", directory / "gpg-full.key", "--export", user)
        listed = run(*gpg, "--with-colons", "--list-keys")
        run("gpgconf", "--homedir", home, "--kill", "all")
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))


def main(directory: Path, version: str, digest: str = "SHA512") -> None:
    shutil.rmtree(directory, ignore_errors=True)
    pool, dist = directory / "pool", directory / "dists" / "stable"
    pool.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir(mode=0o755)
        deb = Path(shutil.move(package(tree, version), pool))
    packages = index(pool, deb)
    for architecture in ("all", "amd64", "arm64"):
        binary = dist / "main" / f"binary-{architecture}"
        binary.mkdir(parents=True)
        (binary / "Packages").write_text(packages)
        (binary / "Packages.gz").write_bytes(gzip.compress(packages.encode(), mtime=0))
    text = describe(dist)
    (dist / "Release").write_text(text)
    print(sign(directory, dist / "Release", digest))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
