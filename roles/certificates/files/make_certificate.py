"""A certificate for NAMES, signed by the installation's own authority.

    make_certificate.py AUTHORITY [--into DIRECTORY] [--subject TEXT] [--client] [NAME...]

AUTHORITY is the directory of ca.key and ca.crt, DIRECTORY (the same where it is not given) that of
server.key and server.crt. What is missing is made, and what ends soon is renewed; a certificate that has the
names and lasts stays. NAMES are host names and addresses. With --client a client may show it, too: Java
asks for that where two programs are each other's server and client. Without a name the authority alone is
made or renewed. Prints "made" or "unchanged".
"""

import argparse
import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
AUTHORITY_DAYS = 3650
# The longest that all clients accept.
LEAF_DAYS = 398
LEAF_RENEW_DAYS = 60
# So that no certificate outlives the authority's own, by which it is checked.
AUTHORITY_RENEW_DAYS = LEAF_DAYS + LEAF_RENEW_DAYS


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


AUTHORITY = named("Face Pipeline CA")


@dataclass(frozen=True)
class Leaf:
    """A certificate as it is wanted."""

    directory: Path
    names: list[x509.GeneralName]
    subject: str = "Face Pipeline"
    client: bool = False

    @property
    def uses(self) -> list[x509.ObjectIdentifier]:
        """Extended key usages."""
        client = [ExtendedKeyUsageOID.CLIENT_AUTH] if self.client else []
        return [ExtendedKeyUsageOID.SERVER_AUTH, *client]


@dataclass(frozen=True)
class Signer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    temporary.replace(path)


def write_certificate(path: Path, certificate: x509.Certificate) -> None:
    write(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write(path, key.private_bytes(*form), 0o600)
    return key


def read_certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def lasts(certificate: x509.Certificate, days: int, now: datetime.datetime) -> bool:
    return certificate.not_valid_after_utc > now + days * DAY


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def authority(directory: Path, now: datetime.datetime) -> tuple[Signer, bool]:
    """The one of that directory, and whether it was made or renewed.

    It is renewed with its key, so that what it signed stays good. One that is not ours is never renewed.
    """
    certificate_path, key_path = directory / "ca.crt", directory / "ca.key"
    if certificate_path.exists() and key_path.exists():
        key, certificate = read_key(key_path), read_certificate(certificate_path)
        if certificate.subject != AUTHORITY or lasts(certificate, AUTHORITY_RENEW_DAYS, now):
            return Signer(certificate, key), False
    else:
        key = write_key(key_path)
    certificate = (
        builder(AUTHORITY, AUTHORITY, key.public_key(), AUTHORITY_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_certificate(certificate_path, certificate)
    return Signer(certificate, key), True


def still_good(leaf: Leaf, signer: Signer, now: datetime.datetime) -> bool:
    """Whether what is there has the names and uses that are wanted, goes with its key, and lasts."""
    path, key_path = leaf.directory / "server.crt", leaf.directory / "server.key"
    if not path.exists() or not key_path.exists():
        return False
    certificate = read_certificate(path)
    try:
        certificate.verify_directly_issued_by(signer.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return (
        set(leaf.names) <= set(names)
        and set(leaf.uses) <= set(uses)
        and certificate.public_key() == key.public_key()
        and lasts(certificate, LEAF_RENEW_DAYS, now)
    )


def sign(leaf: Leaf, signer: Signer, now: datetime.datetime) -> None:
    key = write_key(leaf.directory / "server.key")
    certificate = (
        builder(named(leaf.subject), signer.certificate.subject, key.public_key(), LEAF_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(leaf.uses), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(leaf.names), critical=False)
        .sign(signer.key, hashes.SHA256())
    )
    write_certificate(leaf.directory / "server.crt", certificate)


def make(directory: Path, leaf: Leaf, now: datetime.datetime) -> bool:
    """Whether something was made. The authority's directory is `directory`; a leaf without names is none."""
    for each in (directory, leaf.directory):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer, changed = authority(directory, now)
    if not leaf.names or still_good(leaf, signer, now):
        return changed
    sign(leaf, signer, now)
    return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("authority", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--subject", default=Leaf.subject)
    parser.add_argument("--client", action="store_true")
    parser.add_argument("names", nargs="*", type=general_name)
    given = parser.parse_intermixed_args()
    leaf = Leaf(given.into or given.authority, given.names, given.subject, given.client)
    print("made" if make(given.authority, leaf, datetime.datetime.now(datetime.UTC)) else "unchanged")


if __name__ == "__main__":
    main()
