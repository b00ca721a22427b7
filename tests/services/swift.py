"""OpenStack Swift with its S3 interface, behind nginx and TLS: a store that others wrote, and no Amazon's.

One host, one device, one replica; all of it in one namespace, so that it comes and goes as one.
"""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from tests.services.nginx import Nginx
from tests.services.process import S3_ROOT, Service, free_port

REGION = "eu-1"
KEY_ID = "face:app"
KINDS = ("account", "container", "object")
# In one process: each program of Swift's takes a second to begin.
RINGS = """\
import os
from swift.common.ring import RingBuilder
for kind in ("account", "container", "object"):
    ip, port = "127.0.0.1", int(os.environ[kind])
    place = {{"region": 1, "zone": 1, "device": "dev1", "weight": 1, "ip": ip, "port": port}}
    builder = RingBuilder(6, 1, 0)
    builder.add_dev(place | {{"replication_ip": ip, "replication_port": port}})
    builder.rebalance()
    builder.get_ring().save(f"{directory}/{{kind}}.ring.gz")
"""
RUN = """\
set -eu
cd {directory}
[ -e object.ring.gz ] || python3 rings.py
for kind in account container object; do
  swift-$kind-server $kind-server.conf &
done
memcached -l 127.0.0.1 -p $memcached -m 16 &
exec swift-proxy-server proxy-server.conf
"""
SWIFT = """\
[swift-hash]
swift_hash_path_prefix = prefix-of-the-test
swift_hash_path_suffix = suffix-of-the-test
[storage-policy:0]
name = one
default = yes
"""
STORAGE = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {directory}
devices = {directory}/node
mount_check = false
log_name = swift-{kind}
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {directory}
log_name = swift-proxy
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = {region}
storage_domain = {host}
[filter:tempauth]
use = egg:swift#tempauth
user_face_app = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""
FRONT = """\
events {{}}
http {{
  access_log off;
  client_body_temp_path {{directory}}/body;
  proxy_temp_path {{directory}}/proxy;
  fastcgi_temp_path {{directory}}/fastcgi;
  uwsgi_temp_path {{directory}}/uwsgi;
  scgi_temp_path {{directory}}/scgi;
  server {{
    listen {{address}}:{{port}} ssl;
    ssl_certificate {{directory}}/server.crt;
    ssl_certificate_key {{directory}}/server.key;
    client_max_body_size 0;
    location / {{
      proxy_pass http://127.0.0.1:{port};
      proxy_http_version 1.1;
      # It is part of what is signed.
      proxy_set_header Host $http_host;
      proxy_request_buffering off;
      proxy_buffering off;
    }}
  }}
}}
"""


class _Servers(Service):
    """The servers of Swift, which speak HTTP."""

    name = "swift"
    system_user = "swift"
    root = S3_ROOT
    # The first process of a namespace heeds no signal that it did not ask for.
    stop_signal = signal.SIGKILL
    start_seconds = 120.0

    def __init__(self, host: str) -> None:
        super().__init__()
        self.secret = secrets.token_urlsafe(24)
        self._ports = {name: free_port() for name in (*KINDS, "memcached")}
        given = {"directory": self.directory, "secret": self.secret, "region": REGION, "host": host}
        self.write("rings.py", RINGS.format(**given))
        self.write("run", RUN.format(**given))
        self.write("swift.conf", SWIFT)
        for kind in KINDS:
            self.write(f"{kind}-server.conf", STORAGE.format(kind=kind, port=self._ports[kind], **given))
        self.write(
            "proxy-server.conf", PROXY.format(port=self.port, memcached=self._ports["memcached"], **given)
        )
        for path in (self.directory / "node", self.directory / "node/dev1"):
            path.mkdir()
            self._own(path)

    def command(self) -> Sequence[str]:
        ports = [f"{name}={port}" for name, port in self._ports.items()]
        return ["env", *ports, "sh", f"{self.directory}/run"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        return all(_listens(port) for port in (self.port, *self._ports.values()))


class Swift:
    """The store: an endpoint, an access key, and the authority of its certificate.

    It listens at `address` of this machine, where its clients find it by the name `host`.
    """

    def __init__(self, host: str = "localhost", address: str = "127.0.0.1") -> None:
        self.host = host
        self.servers = _Servers(host)
        self._front = Nginx(FRONT.format(port=self.servers.port).replace("{address}", address))
        self._front.host = address
        self._certify()
        self.port = self._front.port
        self.region = REGION
        self.key_id = KEY_ID
        self.secret = self.servers.secret

    @property
    def authority(self) -> Path:
        """The file of its certificate."""
        return self._front.directory / "ca.crt"

    def start(self) -> None:
        self.servers.start()
        self._front.start()

    def stop(self) -> None:
        """It does not listen any more; what it holds stays."""
        self._front.stop()
        self.servers.stop()

    def close(self) -> None:
        self._front.close()
        self.servers.close()

    def objects(self) -> list[Path]:
        """The files of all objects on its disk."""
        return sorted((self.servers.directory / "node/dev1/objects").rglob("*.data"))

    def make_bucket(self, name: str) -> None:
        self.ask("PUT", name)

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """By Swift's own API, past S3's: BUCKET or BUCKET/KEY. Raises HTTPError."""
        auth = {"X-Auth-User": self.key_id, "X-Auth-Key": self.secret}
        with urlopen(Request(f"{self.servers.url}/auth/v1.0", headers=auth), timeout=10) as answer:
            url, token = answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"]
        request = Request(f"{url}/{quote(path)}", headers={"X-Auth-Token": token}, method=method, data=body)
        with urlopen(request, timeout=10) as answer:
            found: bytes = answer.read()
        return found

    def _certify(self) -> None:
        directory = self._front.directory
        names = f"subjectAltName=DNS:{self.host},DNS:face.{self.host},IP:{self._front.host}"
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        own = ["-x509", *curve, "-subj", "/CN=authority-of-the-test"]
        signed = ["-x509", *curve, "-subj", f"/CN={self.host}", "-addext", names]
        by = ["-CA", f"{directory}/ca.crt", "-CAkey", f"{directory}/ca.key"]
        for rest, name in ((own, "ca"), ([*signed, *by, "-addext", "basicConstraints=CA:FALSE"], "server")):
            files = ["-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.crt"]
            subprocess.run(["openssl", "req", *rest, *files], check=True, capture_output=True)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
