"""Take one OpenPGP key of a vendor's package repository, and ask apt whether it trusts that with it.

Only the key with the wanted fingerprint is kept of what the URL holds, with its user ids, subkeys and
signatures. Needs no gpg, which a Debian host need not have. With --install it becomes a keyring; prints
"changed" if that was written. With --repository apt reads that repository's signature by its own rules, into
a directory that goes again; an `apt-get update` as usual ends with 0 after a refused signature where it has
older lists. Prints "weak DIGEST" where the key vouches for itself with nothing better. One line on stderr
says what is wrong, and what to do. Fetches as apt does: with its proxies, certificates and kinds of address.
"""

import argparse
import base64
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIGNATURE, PUBLIC_KEY, USER_ID, PUBLIC_SUBKEY, USER_ATTRIBUTE = 2, 6, 13, 14, 17
# Of a signature's subpackets (RFC 9580, 5.2.3.7).
ISSUER, ISSUER_FINGERPRINT = 16, 33
# Signature types with which a key vouches for a user id, for itself and for a subkey (RFC 9580, 5.2.1).
VOUCHING = {0x10, 0x11, 0x12, 0x13, 0x18, 0x1F}
# Hash algorithms (RFC 9580, 9.5). What apt still trusts is in /usr/share/apt/default-sequoia.config.
DIGESTS = {1: "MD5", 2: "SHA-1", 3: "RIPEMD-160", 8: "SHA-256", 9: "SHA-384", 10: "SHA-512", 11: "SHA-224"}
WEAK = {1, 2, 3, 11}
ARMOUR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END", re.DOTALL)
# How to do without each vendor.
WITHOUT = {
    "grafana": "face_grafana_enabled to false",
    "elastic": "face_logging_enabled to false",
    "nvidia": "face_gpu_driver to distribution",
}
# Beyond its own settings: nothing of the host's is written, and no hook runs.
APT = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{into}/sources";
Dir::State::lists "{into}/lists";
Dir::Cache "{into}/cache";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Packages::DefaultEnabled "false";
Acquire::Retries "0";
Acquire::http::Timeout "{timeout}";
Acquire::https::Timeout "{timeout}";
"""


def fetch(vendor: str, url: str, timeout: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "key"
        options = [f"Acquire::{kind}::Timeout={timeout}" for kind in ("http", "https")]
        options += ["APT::Sandbox::User=root", "Acquire::Retries=0"]
        command = ["/usr/lib/apt/apt-helper", "-q", *(part for option in options for part in ("-o", option))]
        done = subprocess.run([*command, "download-file", url, str(target)], capture_output=True, text=True)
        if done.returncode != 0:
            reason = re.search(r"^E: Failed to fetch \S+ +(.+)$", done.stderr, re.MULTILINE)
            sys.exit(
                f"the key of {vendor.capitalize()}'s packages cannot be fetched from {shown(url)}"
                f" ({reason.group(1).strip() if reason else done.stderr.strip()}); set face_{vendor}_key_url"
            )
        return target.read_bytes()


def shown(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def dearmour(content: bytes) -> bytes:
    """The packets of an ASCII-armoured file (RFC 9580, 6.2), or the file itself if it is a binary one."""
    if not content.lstrip().startswith(b"-----BEGIN"):
        return content
    packets = b""
    for block in ARMOUR.findall(content):
        lines = re.split(rb"\r?\n", block)
        body = lines[lines.index(b"") + 1 :] if b"" in lines[:-1] else lines
        packets += base64.b64decode(b"".join(line for line in body if not line.startswith(b"=")))
    return packets


def packets(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, body and whole of each packet (RFC 9580, 4.2)."""
    at = 0
    while at < len(content):
        start, first = at, content[at]
        if not first & 0x80:
            raise ValueError("not an OpenPGP packet")
        at += 1
        if first & 0x40:
            tag, length = first & 0x3F, content[at]
            at += 1
            if 192 <= length < 224:
                length = ((length - 192) << 8) + content[at] + 192
                at += 1
            elif length == 255:
                length = int.from_bytes(content[at : at + 4], "big")
                at += 4
            elif length >= 224:
                raise ValueError("a packet in parts")
        else:
            tag, size = (first >> 2) & 0x0F, 1 << (first & 3)
            if size == 8:
                raise ValueError("a packet without a length")
            length = int.from_bytes(content[at : at + size], "big")
            at += size
        if at + length > len(content):
            raise ValueError("cut short")
        yield tag, content[at : at + length], content[start : at + length]
        at += length


def keys(content: bytes) -> dict[str, bytes]:
    """Each primary key's packets by its fingerprint (version 4: RFC 9580, 5.5.4.2)."""
    found: dict[str, bytes] = {}
    name = ""
    for tag, body, whole in packets(content):
        if tag == PUBLIC_KEY:
            prefix = b"\x99" + len(body).to_bytes(2, "big")
            name = hashlib.sha1(prefix + body).hexdigest().upper() if body[:1] == b"\x04" else ""
        if name:
            found[name] = found.get(name, b"") + whole
    return found


def subpackets(area: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each (RFC 9580, 5.2.3.7)."""
    at = 0
    while at < len(area):
        length = area[at]
        at += 1
        if 192 <= length < 255:
            length = ((length - 192) << 8) + area[at] + 192
            at += 1
        elif length == 255:
            length = int.from_bytes(area[at : at + 4], "big")
            at += 4
        yield area[at] & 0x7F, area[at + 1 : at + length]
        at += length


def vouches(body: bytes, fingerprint: str) -> int | None:
    """The digest of a signature with which the key vouches for a part of itself, or None."""
    version = body[0]
    if version == 3:
        kind, issuer, digest = body[2], body[7:15].hex().upper(), body[16]
        return digest if kind in VOUCHING and fingerprint.endswith(issuer) else None
    if version != 4 or body[1] not in VOUCHING:
        return None
    hashed = int.from_bytes(body[4:6], "big")
    open_at = 6 + hashed
    unhashed = int.from_bytes(body[open_at : open_at + 2], "big")
    parts = [*subpackets(body[6:open_at]), *subpackets(body[open_at + 2 : open_at + 2 + unhashed])]
    issuers = [part.hex().upper() for kind, part in parts if kind == ISSUER]
    issuers += [part[1:].hex().upper() for kind, part in parts if kind == ISSUER_FINGERPRINT]
    return body[3] if any(fingerprint.endswith(issuer) for issuer in issuers) else None


def weakness(key: bytes, fingerprint: str) -> str:
    """The digest that alone vouches for the key or a subkey of it, where that one is weak; else nothing."""
    digests: list[set[int]] = []
    for tag, body, _ in packets(key):
        if tag in (PUBLIC_KEY, PUBLIC_SUBKEY):
            digests.append(set())
        elif tag == SIGNATURE and (digest := vouches(body, fingerprint)) is not None:
            digests[-1].add(digest)
    for of_one in digests:
        if of_one and of_one <= WEAK:
            return DIGESTS[max(of_one)]
    return ""


@dataclass
class Repository:
    vendor: str
    url: str
    suite: str
    timeout: str

    def source(self, keyring: Path) -> str:
        lines = ["Types: deb", f"URIs: {self.url}", f"Suites: {self.suite}", f"Signed-By: {keyring}"]
        return "\n".join(lines + ["Components: main"] * (self.suite != "/")) + "\n"

    def refusal(self, key: bytes) -> str:
        """Why apt does not trust it with that key, in apt's words; else nothing."""
        with tempfile.TemporaryDirectory() as directory:
            into = Path(directory)
            for made in ("sources", "lists/partial", "cache/archives/partial"):
                (into / made).mkdir(parents=True)
            (into / "key.gpg").write_bytes(key)
            (into / "sources" / "vendor.sources").write_text(self.source(into / "key.gpg"))
            (into / "apt.conf").write_text(APT.format(into=into, timeout=self.timeout))
            command = ["apt-get", "update", "-q", "-c", str(into / "apt.conf")]
            environment = {**os.environ, "LC_ALL": "C.UTF-8"}
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode == 0:
            return ""
        told = [line[3:] for line in done.stderr.splitlines() if line[:3] in ("E: ", "W: ")]
        about = (
            [line for line in told if re.search(r"verif|signed", line)]
            + told
            + done.stderr.splitlines()[-1:]
            + ["no reason"]
        )
        # sqv's own words, without apt's about them.
        words = about[0].partition("error message is: ")[2] or about[0]
        return shown(re.sub(r"\s+", " ", words).strip())

    def advice(self, why: str, digest: str, fingerprint: str) -> str:
        """One line for somebody whose apt refuses it, with apt's own words last: those may be long."""
        name = f"face_{self.vendor}"
        about, ways = "", [f"{name}_repository to a mirror that apt trusts"]
        if digest and re.search(r"binding|signature|signed|verif", why):
            about = f": its key {fingerprint} vouches for itself with {digest} alone"
            ways = [
                f"{name}_key_url to the key as its owner signed it anew",
                f"{name}_repository, {name}_key_url and {name}_key_fingerprint to a mirror with its own key",
            ]
        return (
            f"apt refuses the package repository of {self.vendor.capitalize()}, {shown(self.url)}{about};"
            f" set {', or '.join([*ways, WITHOUT[self.vendor]])} (apt: {why})"
        )


def install(content: bytes, destination: Path) -> bool:
    if destination.exists() and destination.read_bytes() == content:
        return False
    destination.parent.mkdir(mode=0o755, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(0o644)
    temporary.replace(destination)
    return True


def wanted_key(vendor: str, url: str, wanted: str, timeout: str) -> bytes:
    try:
        held = keys(dearmour(fetch(vendor, url, timeout)))
    except (ValueError, IndexError) as error:
        sys.exit(f"{shown(url)} holds no OpenPGP key ({error}); set face_{vendor}_key_url")
    if wanted not in held:
        sys.exit(
            f"{shown(url)} holds the key {', '.join(held) or 'of nobody'}, not {wanted};"
            f" if the vendor publishes that one, set face_{vendor}_key_fingerprint to it"
        )
    return held[wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vendor", choices=WITHOUT)
    parser.add_argument("key_url")
    parser.add_argument("fingerprint")
    parser.add_argument("--timeout", default="10")
    parser.add_argument("--install", type=Path)
    parser.add_argument("--repository")
    parser.add_argument("--suite", default="stable")
    given = parser.parse_args()
    wanted = given.fingerprint.replace(" ", "").upper()
    key = wanted_key(given.vendor, given.key_url, wanted, given.timeout)
    digest = weakness(key, wanted)
    if given.repository:
        repository = Repository(given.vendor, given.repository, given.suite, given.timeout)
        if why := repository.refusal(key):
            sys.exit(repository.advice(why, digest, wanted))
    if given.install and install(key, given.install):
        print("changed")
    if digest:
        print(f"weak {digest}")


if __name__ == "__main__":
    main()
