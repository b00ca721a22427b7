"""A certificate of a node: make_node_certificate.py TOOL DIRECTORY NODE_DIRECTORY NAME...

TOOL is roles/nginx/files/make_certificate.py, whose authority in DIRECTORY signs. A node is its neighbours'
server and their client, and Java looks whether a certificate may be used for both. Prints "made"
or "unchanged".
"""

import runpy
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def main(tool_path: str, directory: Path, node_directory: Path, texts: list[str]) -> str:
    tool = runpy.run_path(tool_path)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    node_directory.mkdir(mode=0o700, exist_ok=True)
    names = [tool["general_name"](text) for text in texts]
    issuer, issuer_key = tool["authority"](directory)
    path = node_directory / "server.crt"
    if tool["still_good"](path, issuer, names):
        return "unchanged"
    key = tool["write_key"](node_directory / "server.key")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Face Pipeline Elasticsearch")])
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        tool["builder"](subject, issuer.subject, key.public_key(), tool["SERVER_DAYS"])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(tool["usage"](signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    tool["write"](path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return "made"


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
