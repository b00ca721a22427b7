"""A certificate for NAMES, signed by the installation's own authority.

    make_certificate.py AUTHORITY [--into DIRECTORY] [--subject TEXT] [--client]
                        [--passphrase] [--permit WHAT]... [NAME...]

AUTHORITY is the directory of ca.key and ca.crt, DIRECTORY (the same where it is not given) that of
server.key and server.crt. What is missing is made, and what ends soon is renewed; a certificate that has the
names and lasts stays. NAMES are host names and addresses. With --client a client may show it, too: Java
asks for that where two programs are each other's server and client. Without a name the authority alone is
made or renewed. Prints "made" or "unchanged".

A new authority may sign for nothing but what WHAT and the names say (X.509 name constraints): a domain with
all below it, a network, or an address, which stands for the whole private block that it is of. What comes
later is permitted, too, by a certificate of the same key, and a second line says so. An authority without
constraints stays so, and one that is not ours stays as it is.

With --passphrase the key of the authority is encrypted; the passphrase is read from standard input. The key
may be away: it is asked for when something has to be signed. Exit status 1: stderr says what to do.
"""

import argparse
import datetime
import ipaddress
import os
import sys
from collections.abc import Iterable
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
# Shorter ones can be tried by whoever has a copy of the key.
PASSPHRASE_CHARACTERS = 20

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# A host that comes later has an address in the block of the others, where no public server is.
PRIVATE_BLOCKS = tuple(
    ipaddress.ip_network(block)
    for block in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


AUTHORITY = named("Face Pipeline CA")


class NotMadeError(Exception):
    """Why not, and what the operator does about it."""


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
class Permitted:
    """What an authority may sign for: domains, each with all below it, and networks."""

    domains: frozenset[str] = frozenset()
    networks: frozenset[Network] = frozenset()

    @classmethod
    def of(cls, names: Iterable[x509.GeneralName]) -> "Permitted":
        domains, networks = set[str](), set[Network]()
        for name in names:
            if isinstance(name, x509.DNSName):
                domains.add(name.value.lower().removeprefix("*.").strip("."))
            elif isinstance(name, x509.IPAddress):
                network = ipaddress.ip_network(name.value)
                blocks = [block for block in PRIVATE_BLOCKS if inside(network, block)]
                whole = network.num_addresses == 1 and blocks
                networks.add(blocks[0] if whole else network)
        return cls(frozenset(domains), frozenset(networks))

    def has(self, other: "Permitted") -> bool:
        return all(
            any(domain == mine or domain.endswith(f".{mine}") for mine in self.domains)
            for domain in other.domains
        ) and all(any(inside(network, mine) for mine in self.networks) for network in other.networks)

    def and_also(self, other: "Permitted") -> "Permitted":
        return Permitted(self.domains | other.domains, self.networks | other.networks)

    def names(self) -> list[x509.GeneralName]:
        """All that is not within another, in an order that stays."""
        domains = [
            d for d in self.domains if not Permitted(self.domains - {d}).has(Permitted(frozenset({d})))
        ]
        networks = [n for n in self.networks if not any(inside(n, other) for other in self.networks - {n})]
        networks.sort(key=lambda network: (network.version, int(network.network_address), network.prefixlen))
        return [*map(x509.DNSName, sorted(domains)), *map(x509.IPAddress, networks)]

    def __str__(self) -> str:
        return ", ".join(str(name.value) for name in self.names())


# Of every certificate that services show to their own host.
ALWAYS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Authority:
    """The authority of a directory: its key may be encrypted, and it may be elsewhere."""

    directory: Path
    passphrase: bytes | None = None

    @property
    def certificate_path(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def key_path(self) -> Path:
        return self.directory / "ca.key"

    def key(self, purpose: str) -> ec.EllipticCurvePrivateKey:
        path = self.key_path
        if not path.exists():
            raise NotMadeError(
                f"the key of the installation's authority is needed to {purpose}, and {path} is not there:"
                " bring it back from where you keep it, run the same again, and take it away; if it is lost,"
                f" remove {self.certificate_path}, and a new authority is made, which browsers have to import"
            )
        data = path.read_bytes()
        encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in data
        if encrypted and self.passphrase is None:
            raise NotMadeError(f"{path} is encrypted: give its passphrase as face_authority_passphrase")
        try:
            key = serialization.load_pem_private_key(data, self.passphrase if encrypted else None)
        except ValueError as error:
            # A wrong passphrase and a damaged file look alike.
            why = "face_authority_passphrase does not open it, or it is damaged" if encrypted else str(error)
            raise NotMadeError(
                f"{path} cannot be read: {why}; bring back the one that goes with ca.crt"
            ) from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        path = self.certificate_path
        if path.exists() and read_certificate(path).public_key() != key.public_key():
            raise NotMadeError(f"{self.key_path} is not the key of {path}: bring back the one that is")
        return key

    def keep_encrypted(self) -> bool:
        """Whether a key that lay there as it is was encrypted."""
        if self.passphrase is None or not self.key_path.exists():
            return False
        if b"BEGIN ENCRYPTED PRIVATE KEY" in self.key_path.read_bytes():
            return False
        write_key(self.key_path, self.key("encrypt it"), self.passphrase)
        return True


@dataclass(frozen=True)
class Signer:
    certificate: x509.Certificate
    authority: Authority


def inside(network: Network, other: Network) -> bool:
    # Both of one version, which subnet_of asks for, and says so by a TypeError.
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]


def permitted_name(text: str) -> x509.GeneralName:
    """As it is said on the command line."""
    try:
        return x509.IPAddress(ipaddress.ip_network(text))
    except ValueError:
        if "/" in text or not text.strip("."):
            raise argparse.ArgumentTypeError(
                f"{text}: neither a domain nor a network, such as 10.0.0.0/8"
            ) from None
        return x509.DNSName(text.strip("."))


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


def write_key(
    path: Path, key: ec.EllipticCurvePrivateKey | None = None, passphrase: bytes | None = None
) -> ec.EllipticCurvePrivateKey:
    """A new one where none is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    write(
        path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption),
        0o600,
    )
    return key


def read_certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


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


def constraints(certificate: x509.Certificate) -> Permitted | None:
    """None where it may sign for everything."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    return Permitted.of(found.permitted_subtrees or [])


def authority(
    own: Authority, wanted: Permitted, now: datetime.datetime
) -> tuple[Signer, bool, Permitted | None]:
    """The one that is there or is made, whether it was made or renewed, and what it permits now and did not.

    It is renewed with its key, so that what it signed stays good. One that is not ours is never renewed.
    """
    own.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if own.certificate_path.exists():
        certificate = read_certificate(own.certificate_path)
        permitted = constraints(certificate)
        fits = permitted is None or permitted.has(wanted)
        if certificate.subject != AUTHORITY:
            if not fits:
                raise NotMadeError(
                    f"{own.certificate_path} is an authority of your own that permits {permitted} and not all"
                    f" of {wanted}: put one there that does, or leave out the names that it does not permit"
                )
            return Signer(certificate, own), False, None
        if fits and lasts(certificate, AUTHORITY_RENEW_DAYS, now):
            return Signer(certificate, own), own.keep_encrypted(), None
        key = own.key("renew the authority" if fits else f"let the authority sign for {wanted}")
        added = None if fits else wanted
        # One without constraints stays so, until somebody removes ca.crt.
        wanted = permitted.and_also(wanted) if permitted else wanted
        constrained = permitted is not None
    else:
        # Whose certificate was removed, its key stays, and so does what it signed.
        if own.key_path.exists():
            key = own.key("make the authority's certificate")
        else:
            key = write_key(own.key_path, None, own.passphrase)
        constrained, added = True, None
    made = (
        builder(AUTHORITY, AUTHORITY, key.public_key(), AUTHORITY_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
    )
    if constrained:
        made = made.add_extension(x509.NameConstraints(wanted.names(), None), critical=True)
    certificate = made.sign(key, hashes.SHA256())
    write_certificate(own.certificate_path, certificate)
    own.keep_encrypted()
    return Signer(certificate, own), True, added


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
    signing = signer.authority.key(f"sign the certificate of {leaf.directory.name}")
    key = write_key(leaf.directory / "server.key")
    certificate = (
        builder(named(leaf.subject), signer.certificate.subject, key.public_key(), LEAF_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(leaf.uses), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(leaf.names), critical=False)
        .sign(signing, hashes.SHA256())
    )
    write_certificate(leaf.directory / "server.crt", certificate)


def make(
    directory: Path,
    leaf: Leaf,
    now: datetime.datetime,
    permits: Iterable[x509.GeneralName] = (),
    passphrase: bytes | None = None,
) -> list[str]:
    """What was made, in words; nothing where all stays.

    The authority's directory is `directory`; a leaf without names is none.
    """
    wanted = Permitted.of([*map(general_name, ALWAYS), *permits, *leaf.names])
    signer, changed, added = authority(Authority(directory, passphrase), wanted, now)
    said = ["made"] if changed else []
    if added is not None:
        said.append(
            f"the authority may now sign for {added}, too: clients that imported {directory}/ca.crt"
            " need the new one"
        )
    if leaf.names and not still_good(leaf, signer, now):
        leaf.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sign(leaf, signer, now)
        said = said or ["made"]
    return said


def read_passphrase() -> bytes:
    passphrase = sys.stdin.readline().rstrip("\n")
    if len(passphrase) < PASSPHRASE_CHARACTERS:
        raise NotMadeError(
            f"face_authority_passphrase is too short to keep a key: give {PASSPHRASE_CHARACTERS} characters"
            " or more, as of `openssl rand -base64 30`"
        )
    return passphrase.encode()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("authority", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--subject", default=Leaf.subject)
    parser.add_argument("--client", action="store_true")
    parser.add_argument("--passphrase", action="store_true")
    parser.add_argument("--permit", type=permitted_name, action="append", default=[])
    parser.add_argument("names", nargs="*", type=general_name)
    given = parser.parse_intermixed_args()
    leaf = Leaf(given.into or given.authority, given.names, given.subject, given.client)
    try:
        passphrase = read_passphrase() if given.passphrase else None
        said = make(given.authority, leaf, datetime.datetime.now(datetime.UTC), given.permit, passphrase)
    except NotMadeError as error:
        sys.exit(f"make_certificate: {error}")
    print("\n".join(said or ["unchanged"]))


if __name__ == "__main__":
    main()
