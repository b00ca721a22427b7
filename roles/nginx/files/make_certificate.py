"""A certificate for NAMES, signed by an authority of one's own: make_certificate.py DIRECTORY NAME...

Writes ca.key, ca.crt, server.key and server.crt; a certificate that names the same and lasts stays.
Prints "made" or "unchanged".
"""

import datetime
import ipaddress
import os
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
CA_DAYS = 3650
# The longest that all clients accept.
SERVER_DAYS = 398
RENEW_DAYS = 60
NOW = datetime.datetime.now(datetime.UTC)


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


def write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write(path, key.private_bytes(*form), 0o600)
    return key


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + days * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_path, key_path = directory / "ca.crt", directory / "ca.key"
    if certificate_path.exists() and key_path.exists():
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(certificate_path.read_bytes()), key
    key = write_key(key_path)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Face Pipeline CA")])
    certificate = (
        builder(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, key


def still_good(path: Path, issuer: x509.Certificate, names: list[x509.GeneralName]) -> bool:
    if not path.exists() or not path.with_suffix(".key").exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    named = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:
        return False
    return set(names) <= set(named) and certificate.not_valid_after_utc > NOW + RENEW_DAYS * DAY


def main(directory: Path, texts: list[str]) -> str:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = [general_name(text) for text in texts]
    issuer, issuer_key = authority(directory)
    path = directory / "server.crt"
    if still_good(path, issuer, names):
        return "unchanged"
    key = write_key(directory / "server.key")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Face Pipeline")])
    certificate = (
        builder(subject, issuer.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    write(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return "made"


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2:]))
