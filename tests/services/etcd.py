"""A member of etcd, which asks for certificates as the role's do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.process import Service, free_port


class Etcd(Service):
    """`certificates`: a directory with ca.crt, server.crt and server.key, for 127.0.0.1 and for a client."""

    name = "etcd"
    system_user = "etcd"

    def __init__(self, member: str, certificates: Path) -> None:
        super().__init__()
        self.member = member
        self.peer = f"https://{self.host}:{free_port()}"
        self.url = f"https://{self.host}:{self.port}"
        self.members: Mapping[str, str] = {member: self.peer}
        self._files = {
            name: self.write(name, (certificates / name).read_text())
            for name in ("ca.crt", "server.crt", "server.key")
        }

    def command(self) -> Sequence[str]:
        proof = {"CERT_FILE": "server.crt", "KEY_FILE": "server.key", "TRUSTED_CA_FILE": "ca.crt"}
        settings = {
            "NAME": self.member,
            "DATA_DIR": self.directory / "data",
            "LISTEN_CLIENT_URLS": self.url,
            "ADVERTISE_CLIENT_URLS": self.url,
            "LISTEN_PEER_URLS": self.peer,
            "INITIAL_ADVERTISE_PEER_URLS": self.peer,
            "INITIAL_CLUSTER": ",".join(f"{name}={url}" for name, url in self.members.items()),
            "CLIENT_CERT_AUTH": "true",
            "PEER_CLIENT_CERT_AUTH": "true",
            **{name: self._files[file] for name, file in proof.items()},
            **{f"PEER_{name}": self._files[file] for name, file in proof.items()},
            "LOG_LEVEL": "warn",
        }
        return ["env", *(f"ETCD_{name}={value}" for name, value in settings.items()), "etcd"]

    def ready(self) -> bool:
        """It listens; it answers once most members are there."""
        return self.listens()


def cluster(names: Sequence[str], certificates: Path) -> dict[str, Etcd]:
    """Members of one etcd, none of which is started."""
    members = {name: Etcd(name, certificates) for name in names}
    for each in members.values():
        each.members = {name: member.peer for name, member in members.items()}
    return members
