"""Install one OpenPGP key as an apt keyring: keyring.py VENDOR URL FINGERPRINT DESTINATION TIMEOUT_SECONDS.

Only the key with that fingerprint is kept of what the URL holds, with its user ids, subkeys and signatures.
Needs no gpg, which a Debian host need not have. Prints "changed" if the keyring was written, or one line on
stderr that says what is wrong. Fetches as apt does: with its proxies, certificates and kinds of address.
"""

import base64
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PUBLIC_KEY = 6
ARMOUR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END", re.DOTALL)


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
                f" ({reason.group(1).strip() if reason else done.stderr.strip()}); set face_grafana_key_url"
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


def install(content: bytes, destination: Path) -> bool:
    if destination.exists() and destination.read_bytes() == content:
        return False
    destination.parent.mkdir(mode=0o755, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(0o644)
    temporary.replace(destination)
    return True


def main(vendor: str, url: str, fingerprint: str, destination: Path, timeout: str) -> None:
    wanted = fingerprint.replace(" ", "").upper()
    try:
        held = keys(dearmour(fetch(vendor, url, timeout)))
    except (ValueError, IndexError) as error:
        sys.exit(f"{shown(url)} holds no OpenPGP key ({error}); set face_{vendor}_key_url")
    if wanted not in held:
        sys.exit(
            f"{shown(url)} holds the key {', '.join(held) or 'of nobody'}, not {wanted};"
            f" if the vendor publishes that one, set face_{vendor}_key_fingerprint to it"
        )
    if install(held[wanted], destination):
        print("changed")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5])
