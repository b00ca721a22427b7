"""The bill of materials of a release, CycloneDX 1.6: bill_of_materials.py PROJECT LOCK. Prints JSON.

The same project and lock give the same text: it holds no time and no name of a machine. Debian's packages are
a host's own, which dpkg lists.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomllib

REQUIREMENT = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^ ;\\]+)(?: *; *(?P<marker>[^\\]+?))? *\\?$"
)
HASH = re.compile(r"^ +--hash=sha256:([0-9a-f]{64})")
VIA = re.compile(r"^ +#(?: via)? +([a-z0-9][a-z0-9._-]*)")
# Of packages that never come onto a host.
ELSEWHERE = re.compile(r"sys_platform == '(?!linux)")


@dataclass
class Package:
    name: str
    version: str
    marker: str
    hashes: list[str] = field(default_factory=list)
    needed_by: list[str] = field(default_factory=list)

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def packages(lock: str) -> list[Package]:
    """What a lock of `uv pip compile --generate-hashes` installs on Linux, in its order."""
    found: list[Package] = []
    for line in lock.splitlines():
        if new := REQUIREMENT.match(line):
            found.append(Package(new["name"], new["version"], new["marker"] or ""))
        elif digest := HASH.match(line):
            found[-1].hashes.append(digest[1])
        elif found and (user := VIA.match(line)):
            found[-1].needed_by.append(user[1])
    return [package for package in found if not ELSEWHERE.search(package.marker)]


def component(package: Package) -> dict[str, Any]:
    """One component; its hashes are those of every file that may be installed for it."""
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
    }
    if package.marker:
        made["properties"] = [{"name": "face-pipeline:marker", "value": package.marker}]
    return made


def bill(project: str, lock: str) -> dict[str, Any]:
    """The bill of `lock` (its text), of the project that `project` (pyproject.toml's text) describes."""
    about = tomllib.loads(project)["project"]
    name, version = about.get("name", "face-pipeline"), about.get("version", "0")
    ours = f"pkg:generic/{name}@{version}"
    found = packages(lock)
    needs: dict[str, list[str]] = {name: []}
    for package in found:
        for user in package.needed_by:
            needs.setdefault(user, []).append(package.purl)
    references = [(name, ours), *((package.name, package.purl) for package in found)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": name,
                "version": version,
                "purl": ours,
            }
        },
        "components": [component(package) for package in found],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(set(needs.get(who, [])))} for who, ref in references
        ],
    }


def text(project: Path, lock: Path) -> str:
    made = bill((project / "pyproject.toml").read_text(encoding="utf-8"), lock.read_text(encoding="utf-8"))
    return json.dumps(made, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(Path(sys.argv[1]), Path(sys.argv[2])))
