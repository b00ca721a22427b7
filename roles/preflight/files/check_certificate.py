"""Check an operator's certificate before a host gets it: check_certificate.py CERTIFICATE KEY NAME.

Prints one line that says what is wrong (exit status 1): the key is another's, the certificate has ended or is
for another name. A handshake with itself, in memory, asks the same questions that a browser asks.
"""

from __future__ import annotations

import ssl
import sys


def handshake(server_side: ssl.SSLContext, client_side: ssl.SSLContext, name: str) -> None:
    """Raises SSLCertVerificationError where the client would not go on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            done.add(side)


def main(certificate: str, key: str, name: str) -> int:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Without a password: nginx has none either, and OpenSSL would ask the terminal.
        server.load_cert_chain(certificate, key, password="")
        client.load_verify_locations(certificate)
    except (ssl.SSLError, ValueError, OSError) as error:
        print(
            f"face_tls_certificate {certificate} and face_tls_key {key} do not go together ({error}): "
            "name a PEM certificate, its chain behind it, and the key that was made for it, not encrypted"
        )
        return 1
    # Whoever signed it: its clients know their authority.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        handshake(server, client, name)
    except ssl.SSLCertVerificationError as error:
        print(
            f"face_tls_certificate {certificate}: {error.verify_message.rstrip('.')}; "
            f"get one for {name} (face_public_host), or set face_public_host to a name that it has"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
