"""Import saved objects into Kibana once, and print their digest if that was needed. Wishes are JSON on stdin.

With `ca`, the path of an authority's certificate, Kibana has to prove who it is. Waits until it is ready.
Objects whose digest is `imported` and whose data views are there stay as they are. Ends with 1 and one line
on standard error where an object is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any


class Failed(Exception):
    pass


class Kibana:
    def __init__(self, url: str, password: str, ca: str) -> None:
        self.url = url
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if ca:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)))
        self.opener = urllib.request.build_opener(*handlers)
        known = base64.b64encode(f"elastic:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {known}", "kbn-xsrf": "face-pipeline"}

    def ask(self, path: str, data: bytes | None = None, kind: str | None = None) -> tuple[int, Any]:
        """Status and content of the answer; content that is no JSON is {}."""
        headers = {**self.headers, **({"Content-Type": kind} if kind else {})}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with self.opener.open(request, timeout=120) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, {}

    def wait(self, seconds: int, patience: int) -> None:
        """It answers 503 from its start until it has found Elasticsearch and made its indices.

        With 200 it serves, but the level that it tells is the worst of all its plugins: one that stays
        unwell keeps nobody waiting for more than `patience` seconds.
        """
        end = time.monotonic() + seconds
        serves: float | None = None
        last = ""
        while time.monotonic() < end:
            try:
                status, content = self.ask("/api/status")
                last = content.get("status", {}).get("overall", {}).get("level") or f"HTTP {status}"
            except OSError as error:
                status, last = 0, str(getattr(error, "reason", error))
            serves = (serves or time.monotonic()) if status == 200 else None
            if last == "available" or (serves and time.monotonic() - serves > patience):
                return
            time.sleep(1)
        raise Failed(
            f"Kibana at {self.url} is not ready after {seconds} s ({last}); journalctl -u kibana says why"
        )

    def put(self, objects: bytes) -> None:
        boundary = uuid.uuid4().hex
        # Kibana takes a file by the end of its name.
        head = (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="file"; filename="face-pipeline.ndjson"\r\n'
            "Content-Type: application/ndjson\r\n\r\n"
        )
        data = head.encode() + objects + f"\r\n--{boundary}--\r\n".encode()
        status, content = self.ask(
            "/api/saved_objects/_import?overwrite=true", data, f"multipart/form-data; boundary={boundary}"
        )
        # 200 says only that it was read.
        if status != 200 or content.get("success") is not True:
            errors = [
                f"{one.get('type')} {one.get('id')}: {one.get('error', {}).get('type')}"
                for one in content.get("errors", [])
            ]
            said = "; ".join(errors) or content.get("message") or f"HTTP {status}"
            raise Failed(f"Kibana refuses files/kibana/face-pipeline.ndjson: {said}")

    def choose(self, view: str) -> None:
        """The data view that comes first, unless somebody chose one."""
        body = json.dumps({"data_view_id": view, "force": False}).encode()
        status, content = self.ask("/api/data_views/default", body, "application/json")
        if status != 200:
            raise Failed(f"Kibana refuses the data view {view}: {content.get('message') or f'HTTP {status}'}")


def main(wishes: dict[str, Any]) -> None:
    objects = base64.b64decode(wishes["objects"])
    kibana = Kibana(wishes["url"], wishes["password"], wishes["ca"])
    kibana.wait(int(wishes["seconds"]), int(wishes["patience"]))
    lines = [json.loads(line) for line in objects.splitlines() if line.strip()]
    views = [one["id"] for one in lines if one.get("type") == "index-pattern"]
    digest = hashlib.sha256(objects).hexdigest()
    there = all(
        kibana.ask(f"/api/data_views/data_view/{urllib.parse.quote(view, safe='')}")[0] == 200
        for view in views
    )
    if digest != wishes["imported"] or not there:
        kibana.put(objects)
        if views:
            kibana.choose(views[0])
        print(digest)


if __name__ == "__main__":
    try:
        main(json.load(sys.stdin))
    except (Failed, OSError, ValueError) as error:
        sys.exit(str(error))
