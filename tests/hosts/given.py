"""What a host was given, and whether all of it is there: python -m tests.hosts.given FILE.

Puts photos, persons, keys and an erasure into the host of FACE_HOST_SUMMARY, and writes into FILE what is
to be found there from then on, whichever release runs. FILE has the mode 0600, for a key is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import requests

from tests.hosts.test_host import SUMMARY, Host, wait
from tests.photos import astronaut_again, astronaut_jpeg, no_face

PERSON = "Eileen Collins"


def put_in(host: Host, collection: str, photo: bytes, person: str = "") -> str:
    """The id of the photo, which is done."""
    data = {"collection": collection} | ({"person": person} if person else {})
    answer = host.call("POST", "/api/v1/photos", files=[("photos", ("a.jpg", photo))], data=data)
    assert answer.status_code == 202, answer.text
    name: str = answer.json()["photos"][0]["id"]
    wait(lambda: host.call("GET", f"/api/v1/photos/{name}").json()["state"] == "done", 240, f"photo {name}")
    return name


def found(host: Host, collection: str) -> str:
    """The name of whom a search with another picture finds first."""
    answer = host.call(
        "POST",
        "/api/v1/search",
        files={"photo": ("q.jpg", astronaut_again())},
        data={"collection": collection},
    )
    assert answer.status_code == 200, answer.text
    matches = answer.json()["faces"][0]["matches"]
    return str(matches[0]["person_name"]) if matches else "nobody"


def _answer(host: Host, path: str) -> Any:
    answer = host.call("GET", path)
    assert answer.status_code == 200, f"{path}: {answer.text}"
    return answer.json()


def _photo(host: Host, name: str) -> dict[str, Any]:
    told = _answer(host, f"/api/v1/photos/{name}")
    original = host.call("GET", f"/api/v1/photos/{name}/image").content
    return {
        **{key: told[key] for key in ("collection", "sha256", "state", "received_at", "person")},
        "original": hashlib.sha256(original).hexdigest(),
        "faces": [[face["id"], face["bbox"], face["person"]] for face in told["faces"]],
    }


def _persons(host: Host, collection: str) -> list[dict[str, Any]]:
    told = _answer(host, f"/api/v1/persons?collection={collection}")["persons"]
    kept = ("id", "name", "external_id", "metadata", "face_count", "photo_count", "created_at")
    return [{key: each[key] for key in kept} for each in told]


def _status(host: Host, key: str, collection: str) -> int:
    return requests.get(
        f"{host.url.rstrip('/')}/api/v1/photos?collection={collection}",
        headers={"X-API-Key": key}, verify=host.ca, timeout=60,
    ).status_code  # fmt: skip


def give(host: Host) -> dict[str, Any]:
    collection = f"given-{uuid.uuid4().hex[:8]}"
    number = uuid.uuid4().int % 10**8
    named = put_in(host, collection, astronaut_jpeg(number), PERSON)
    nobody = [put_in(host, collection, photo) for photo in (astronaut_jpeg(number + 1), no_face())]
    erased = put_in(host, collection, astronaut_jpeg(number + 2))
    assert host.call("DELETE", f"/api/v1/photos/{erased}").status_code in (200, 204)
    person = {"collection": collection, "name": "Anna Berg", "external_id": "17", "metadata": {"team": [7]}}
    assert host.call("POST", "/api/v1/persons", json=person).status_code == 201
    keys = {}
    for name in ("in use", "revoked"):
        wanted = {"name": f"{collection} {name}", "scopes": ["read"], "collections": [collection]}
        keys[name] = host.call("POST", "/api/v1/keys", json=wanted).json()
    assert host.call("DELETE", f"/api/v1/keys/{keys['revoked']['id']}").status_code in (200, 204)
    assert found(host, collection) == PERSON
    return {
        "collection": collection,
        "photos": {name: _photo(host, name) for name in (named, *nobody)},
        "persons": _persons(host, collection),
        "erased": erased,
        "keys": {name: made["api_key"] for name, made in keys.items()},
    }


def check(host: Host, given: dict[str, Any]) -> None:
    """All of it is there and nothing more, is found, and what was taken out stays out."""
    collection = given["collection"]
    assert {name: _photo(host, name) for name in given["photos"]} == given["photos"]
    listed = _answer(host, f"/api/v1/photos?collection={collection}&limit=200")["photos"]
    assert {each["id"] for each in listed} == set(given["photos"])
    assert _persons(host, collection) == given["persons"]
    assert found(host, collection) == PERSON
    assert host.call("GET", f"/api/v1/photos/{given['erased']}").status_code == 404
    assert {name: _status(host, key, collection) for name, key in given["keys"].items()} == {
        "in use": 200, "revoked": 401,
    }  # fmt: skip
    # An error names the entry; what waits for its seal is none.
    host.run("face-pipeline audit verify")


def main(target: Path) -> None:
    summary = json.loads(Path(str(SUMMARY)).read_text())
    given = give(Host(summary["url"], summary["ssh"], summary["ca_file"], summary["api_key"]))
    target.unlink(missing_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(given, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
