"""Make Elasticsearch as it is wanted, and print a line for each change. Wishes are JSON on standard input.

Waits until the cluster can be read and written. What is put there carries a digest of itself, and is put
again when its digest is not there: what Elasticsearch adds to an answer or writes in another way is no
difference. A password is tried, and set where it is refused. Ends with 4 where `elastic` itself is refused,
else with 1, and one line on standard error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any

# A name and its password.
User = tuple[str, str]
# Where each kind carries the digest: the path of its document within the body, and the name of its notes.
NOTES = {
    "_ilm": (("policy",), "_meta"),
    "_component_template": ((), "_meta"),
    "_index_template": ((), "_meta"),
    "_security": ((), "metadata"),
}


class Failed(Exception):
    pass


class Elasticsearch:
    def __init__(self, url: str, ca: str) -> None:
        self.url = url
        context = ssl.create_default_context(cafile=ca)
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def ask(self, user: User, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and text of the answer."""
        headers = {"Authorization": "Basic " + base64.b64encode(":".join(user).encode()).decode()}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def wait(self, user: User, seconds: int, patience: int) -> bool:
        """Until it answers and every primary shard is there; False where `user` is refused all that time.

        A node that starts may lack its users at first, and refuses everybody until they are there.
        """
        end = time.monotonic() + seconds
        refused: float | None = None
        last = ""
        while time.monotonic() < end:
            try:
                status, text = self.ask(user, "GET", "/_cluster/health?wait_for_status=yellow&timeout=10s")
            except OSError as error:
                status, text = 0, str(getattr(error, "reason", error))
            if status == 200 and not json.loads(text)["timed_out"]:
                return True
            refused = (refused or time.monotonic()) if status == 401 else None
            if refused and time.monotonic() - refused > patience:
                return False
            last = (
                "its shards are not there" if status in (200, 408) else f"HTTP {status}" if status else text
            )
            time.sleep(1)
        raise Failed(
            f"Elasticsearch at {self.url} is not ready after {seconds} s ({last});"
            " journalctl -u elasticsearch and /var/log/elasticsearch/face-pipeline.log say why"
        )

    def do(self, user: User, method: str, path: str, body: Any = None) -> None:
        status, text = self.ask(user, method, path, body)
        if status not in (200, 201):
            try:
                text = json.loads(text)["error"]["reason"]
            except (ValueError, KeyError, TypeError):
                text = text[:300]
            raise Failed(f"Elasticsearch refuses {method} {path}: HTTP {status}: {text}")
        print(f"{method} {path}")


def marked(path: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The body with a digest of itself, and the digest."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    copy: dict[str, Any] = json.loads(json.dumps(body))
    inner, notes = NOTES[path.split("/")[1]]
    document = copy
    for key in inner:
        document = document[key]
    document[notes] = {**document.get(notes, {}), "face_digest": digest}
    return copy, digest


def put(
    server: Elasticsearch, admin: User, path: str, body: dict[str, Any], more: dict[str, Any] | None = None
) -> bool:
    """Whether it had to be put."""
    copy, digest = marked(path, body)
    status, text = server.ask(admin, "GET", path)
    if status == 200 and digest in text:
        return False
    server.do(admin, "PUT", path, {**copy, **(more or {})})
    return True


def give_password(server: Elasticsearch, admin: User, name: str, password: str) -> None:
    if server.ask((name, password), "GET", "/_security/_authenticate")[0] != 200:
        server.do(admin, "POST", f"/_security/user/{name}/_password", {"password": password})


def main(wishes: dict[str, Any]) -> int:
    server = Elasticsearch(wishes["url"], wishes["ca"])
    admin = ("elastic", wishes["temporary"] or wishes["password"])
    # Ansible before 2.19 makes words of numbers.
    if not server.wait(admin, int(wishes["seconds"]), int(wishes["patience"])):
        print(f"Elasticsearch at {server.url} refuses its own administrator, elastic", file=sys.stderr)
        return 4
    if wishes["temporary"] or str(wishes["keep_password"]) == "True":
        server.do(admin, "POST", "/_security/user/elastic/_password", {"password": wishes["password"]})
        admin = ("elastic", wishes["password"])
    for name, password in wishes["passwords"].items():
        give_password(server, admin, name, password)
    for wanted in wishes["objects"]:
        put(server, admin, wanted["path"], wanted["body"])
    for name, user in wishes["users"].items():
        password = user.pop("password")
        if not put(server, admin, f"/_security/user/{name}", user, {"password": password}):
            give_password(server, admin, name, password)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(json.load(sys.stdin)))
    except (Failed, OSError, ValueError) as error:
        sys.exit(str(error))
