"""Make an apt repository with STAND-INs of Elastic's packages: build_elastic_standins.py DIRECTORY VERSION.

Prints the fingerprint of the key that signs it, which is made for it and thrown away. Needs dpkg-deb and gpg.
Laid out as the vendor's: dists/stable/main, the key as GPG-KEY-elasticsearch. VERSION: as 9.5.1+standin1.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "standin")]

from build_repository import describe, index, run, sign  # noqa: E402
from elasticsearch_kibana_packages import elasticsearch, kibana  # noqa: E402
from es_contract_data import metamodel  # noqa: E402
from logstash_filebeat_packages import Files, filebeat, logstash  # noqa: E402


def package(pool: Path, name: str, version: str, texts: Files, whole: dict[str, Path]) -> Path:
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir(mode=0o755)
        for path, (content, mode) in texts.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
            file.chmod(mode)
        for path, source in whole.items():
            shutil.copyfile(source, tree / path)
            (tree / path).chmod(0o644)
        target = pool / f"{name}_{version}_all.deb"
        run("dpkg-deb", "--build", "--root-owner-group", tree, target)
    return target


def main(directory: Path, version: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    pool, dist = directory / "pool", directory / "dists" / "stable"
    pool.mkdir(parents=True)
    everything: dict[str, tuple[Files, dict[str, Path]]] = {
        "elasticsearch": elasticsearch(version, metamodel()),
        "kibana": (kibana(version), {}),
        "logstash": (logstash(version), {}),
        "filebeat": (filebeat(version), {}),
    }
    debs = [package(pool, name, version, *content) for name, content in everything.items()]
    packages = "\n".join(index(pool, deb) for deb in debs)
    for architecture in ("all", "amd64", "arm64"):
        binary = dist / "main" / f"binary-{architecture}"
        binary.mkdir(parents=True)
        (binary / "Packages").write_text(packages)
        (binary / "Packages.gz").write_bytes(gzip.compress(packages.encode(), mtime=0))
    (dist / "Release").write_text(describe(dist))
    fingerprint = sign(directory, dist / "Release")
    (directory / "gpg-full.key").rename(directory / "GPG-KEY-elasticsearch")
    print(fingerprint)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
