"""CompreFace's API as its clients call it, byte for byte where they are strange."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store.models import ApiKey
from sqlalchemy import select

from tests.app import stock
from tests.app.test_enrolment import faces_of_two_sizes
from tests.app.test_names import two_faces
from tests.installation import App, Installation
from tests.photos import astronaut, astronaut_again, astronaut_jpeg, no_face

pytestmark = pytest.mark.one_worker

RECOGNIZE = "recognition/recognize"
SUBJECTS = "recognition/subjects"
FACES = "recognition/faces"
NOBODY: tuple[int, int, str] = (400, 28, "No face is found in the given image")


def new_key(installation: Installation, service: str, collection: str = "default", **more: str) -> str:
    options = [each for name, value in more.items() for each in (f"--{name.replace('_', '-')}", value)]
    made = installation.run(
        "keys", "create", "--name", f"{service}-{uuid.uuid4()}",
        "--compreface", service, "--collection", collection, *options,
    )  # fmt: skip
    return made.stdout.strip()


@dataclass
class Client:
    """A program with a key of one service."""

    app: App
    key: str

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"x-api-key": self.key, **options.pop("headers", {})}
        return requests.request(
            method, f"{self.app.url}/api/v1/{path}", headers=headers, timeout=60, **options
        )

    def photo(self, path: str, data: bytes, name: str = "a.jpg", part: str = "file") -> requests.Response:
        return self.send("POST", path, files={part: (name, data)})

    def add(self, subject: str, data: bytes) -> str:
        answer = self.photo(f"{FACES}?subject={subject}", data)
        assert answer.status_code == 201, answer.text
        assert answer.json()["subject"] == requests.utils.unquote(subject)
        return str(answer.json()["image_id"])

    def subjects(self) -> list[str]:
        return list(self.send("GET", SUBJECTS).json()["subjects"])

    def images(self) -> list[str]:
        return [each["image_id"] for each in self.send("GET", FACES).json()["faces"]]


def refused(answer: requests.Response) -> tuple[int, int, str]:
    """Status, code and message; the two alone are in the body."""
    body = answer.json()
    assert set(body) == {"message", "code"}, answer.text
    return answer.status_code, body["code"], body["message"]


def code(answer: requests.Response) -> tuple[int, int]:
    return refused(answer)[:2]


@pytest.fixture(scope="module")
def keys(installation: Installation) -> dict[str, str]:
    return {name: new_key(installation, name) for name in ("recognition", "detection", "verification")}


@pytest.fixture
def door(web_app: App, keys: dict[str, str]) -> Client:
    """Without a worker."""
    return Client(web_app, keys["recognition"])


@pytest.fixture
def client(live_app: App, keys: dict[str, str]) -> Client:
    return Client(live_app, keys["recognition"])


# Keys.


def test_a_key_opens_its_service_and_nothing_else(door: Client, keys: dict[str, str]) -> None:
    uuid.UUID(door.key)
    without = requests.get(f"{door.app.url}/api/v1/{SUBJECTS}", timeout=10)
    assert refused(without) == (400, 20, "Missing header: x-api-key")
    for text in ("", "abc", "fp_" + "a" * 40, door.key.replace("-", ""), "{" + door.key + "}"):
        answer = door.send("GET", SUBJECTS, headers={"x-api-key": text})
        assert refused(answer) == (400, 26, "Service API key should be UUID"), text
    unknown = str(uuid.uuid4())
    for path, method, service in (
        (SUBJECTS, "GET", "Recognition"),
        ("detection/detect", "POST", "Detection"),
        ("verification/verify", "POST", "Verification"),
    ):
        for wrong in {unknown, *keys.values()} - {keys[service.lower()]}:
            answer = door.send(method, path, headers={"x-api-key": wrong})
            assert refused(answer) == (404, 10, f"{service} service with API Key {wrong} not found")
    assert door.send("GET", SUBJECTS, headers={"X-Api-Key": door.key.upper()}).status_code == 200


def test_a_key_of_compreface_makes_none_of_our_calls(door: Client) -> None:
    for headers in ({}, {"Authorization": f"Bearer {door.key}"}):
        answer = door.send("GET", "persons?collection=default", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")
    signed_in = requests.post(f"{door.app.url}/session", json={"api_key": door.key}, timeout=10)
    assert signed_in.status_code == 401
    ours = door.send("GET", SUBJECTS, headers={"x-api-key": door.app.api_key})
    assert code(ours) == (400, 26)


def test_keys_are_made_by_command_also_with_the_text_that_clients_have(
    web_app: App, parts: Parts, tmp_path: Any
) -> None:
    had = str(uuid.uuid4())
    file = tmp_path / "key"
    file.write_text(had.upper() + "\n")
    assert new_key(web_app.installation, "recognition", "moved", uuid_file=str(file)) == had
    assert Client(web_app, had).subjects() == []
    with parts.database.reading() as session:
        (key,) = session.scalars(select(ApiKey).where(ApiKey.collections == ["moved"])).all()
    assert (key.service, set(key.scopes)) == ("recognition", {"read", "enrol", "erase"})
    shown = web_app.get(f"/api/v1/keys/{key.id}").json()
    assert (shown["service"], shown["collections"]) == ("recognition", ["moved"])
    again = web_app.installation.run(
        "keys", "create", "--name", "again", "--compreface", "detection", "--collection", "moved",
        "--uuid-file", str(file), check=False,
    )  # fmt: skip
    assert again.returncode != 0
    assert "is here already" in again.stderr
    rotated = web_app.request("POST", f"/api/v1/keys/{key.id}/rotate", json={}).json()["api_key"]
    assert Client(web_app, rotated).subjects() == []
    assert code(Client(web_app, had).send("GET", SUBJECTS)) == (404, 10)
    for wrong in (None, ["a", "b"]):
        answer = web_app.request("PATCH", f"/api/v1/keys/{key.id}", json={"collections": wrong})
        assert answer.status_code == 400, "it would reach no collection, or two"


def test_keys_of_a_service_are_made_by_the_api_too(web_app: App) -> None:
    def made(**wish: Any) -> requests.Response:
        return web_app.request("POST", "/api/v1/keys", json={"name": f"cf-{uuid.uuid4()}", **wish})

    answer = made(service="recognition", collections=["moved-by-api"])
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["service"], told["collections"]) == ("recognition", ["moved-by-api"])
    assert sorted(told["scopes"]) == ["enrol", "erase", "read"]
    assert str(uuid.UUID(told["api_key"])) == told["api_key"]
    assert Client(web_app, told["api_key"]).subjects() == []
    ours = web_app.get("/api/v1/photos", headers={"Authorization": f"Bearer {told['api_key']}"})
    assert (ours.status_code, ours.json()["error"]["code"]) == (403, "scope_missing")
    (entry,) = web_app.get("/api/v1/audit", params={"subject": told["id"], "action": "key.create"}).json()[
        "entries"
    ]
    assert (entry["outcome"], entry["details"]["service"]) == ("done", "recognition")
    assert told["api_key"] not in json.dumps(entry)
    had = str(uuid.uuid4())
    brought = made(service="detection", collections=["a"], api_key=had.upper(), scopes=["read"])
    assert (brought.status_code, brought.json()["api_key"]) == (201, had)
    twice = made(service="detection", collections=["a"], api_key=had)
    assert (twice.status_code, twice.json()["error"]["code"]) == (409, "key_exists")
    change = web_app.request("PATCH", f"/api/v1/keys/{told['id']}", json={"scopes": ["read", "admin"]})
    assert (change.status_code, change.json()["error"]["code"]) == (400, "scope")
    change = web_app.request("PATCH", f"/api/v1/keys/{told['id']}", json={"scopes": ["read"]})
    assert change.json()["scopes"] == ["read"]


@pytest.mark.parametrize(
    ("wish", "code", "words"),
    [
        ({"service": "recognition"}, "collection_name", "reaches one collection"),
        ({"service": "recognition", "collections": ["a", "b"]}, "collection_name", "reaches one collection"),
        (
            {"service": "detection", "collections": ["a"], "scopes": ["read", "erase"]},
            "scope",
            "no scope but read",
        ),
        (
            {"service": "recognition", "collections": ["a"], "scopes": ["admin"]},
            "scope",
            "read, enrol, erase",
        ),
        ({"service": "recognition", "collections": ["a"], "scopes": []}, "scope", "scopes are"),
        ({"service": "recognition", "collections": ["a"], "api_key": "fp_mine"}, "bad_request", "is a UUID"),
        ({"service": "config", "collections": ["a"]}, "parameter", "service"),
        ({"scopes": ["read"], "api_key": str(uuid.uuid4())}, "parameter", "bring its own text"),
        ({}, "scope", "say what the key may do"),
    ],
)
def test_a_key_of_a_service_that_makes_no_sense_is_refused_with_words(
    web_app: App, wish: dict[str, Any], code: str, words: str
) -> None:
    name = f"wrong-{uuid.uuid4()}"
    answer = web_app.request("POST", "/api/v1/keys", json={"name": name, **wish})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert words in answer.json()["error"]["message"]
    assert name not in web_app.installation.run("keys", "list").stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--compreface", "recognition"),
        ("--compreface", "recognition", "--collection", "a,b"),
        ("--scopes", "read", "--collection", "a"),
        ("--compreface", "recognition", "--collection", "a", "--uuid-file", "/dev/null"),
        (),
    ],
    ids=["no-collection", "two-collections", "no-service", "no-uuid", "nothing"],
)
def test_a_key_that_cannot_be_is_not_made(installation: Installation, options: tuple[str, ...]) -> None:
    name = f"wrong-{uuid.uuid4()}"
    made = installation.run("keys", "create", "--name", name, *options, check=False)
    assert made.returncode != 0
    assert "Traceback" not in made.stderr
    assert name not in installation.run("keys", "list").stdout


def test_two_keys_of_two_collections_do_not_see_each_other(client: Client) -> None:
    mine = client.add("Ann", astronaut_jpeg())
    other = Client(client.app, new_key(client.app.installation, "recognition", "elsewhere"))
    assert (other.subjects(), other.images()) == ([], [])
    assert other.photo(RECOGNIZE, astronaut_again()).json()["result"][0]["subjects"] == []
    assert code(other.send("DELETE", f"{FACES}/{mine}")) == (404, 44)
    assert other.send("GET", f"{FACES}/{mine}/img").content == b""
    assert other.send("POST", f"{FACES}/delete", json=[mine]).json() == []
    assert other.send("DELETE", FACES).json() == {"deleted": 0}
    (compared,) = other.photo(f"{FACES}/{mine}/verify", astronaut_again()).json()["result"]
    assert (compared["subject"], compared["similarity"]) == ("", 0.0)
    assert client.images() == [mine]


def test_a_key_with_fewer_scopes_does_less(web_app: App) -> None:
    looks = Client(web_app, new_key(web_app.installation, "recognition", scopes="read"))
    assert looks.subjects() == []
    assert code(looks.send("POST", SUBJECTS, json={"subject": "Ann"})) == (403, 0)
    assert code(looks.send("DELETE", SUBJECTS)) == (403, 0)


def test_wrong_keys_and_refusals_are_told_in_the_audit(door: Client, keys: dict[str, str]) -> None:
    door.send("GET", SUBJECTS, headers={"x-api-key": str(uuid.uuid4())})
    door.send("GET", SUBJECTS, headers={"x-api-key": keys["detection"]})
    told = door.app.get("/api/v1/audit?action=access.refuse&limit=2").json()["entries"]
    assert [each["details"]["code"] for each in told] == ["scope_missing", "api_key_invalid"]
    assert {each["details"]["call"] for each in told} == {"compreface.subjects.list_subjects"}


# Subjects.


def test_subjects_are_made_renamed_merged_and_deleted(door: Client) -> None:
    made = door.send("POST", SUBJECTS, json={"subject": "Ann", "more": "ignored"})
    assert (made.status_code, made.json()) == (201, {"subject": "Ann"})
    taken = door.send("POST", f"{SUBJECTS}/", json={"subject": "ann"})
    assert refused(taken) == (400, 43, "Subject already exists")
    assert door.send("POST", SUBJECTS, json={"subject": "Bob Lee"}).status_code == 201
    assert sorted(door.subjects()) == ["Ann", "Bob Lee"]
    assert door.send("GET", f"{SUBJECTS}/").status_code == 200

    def rename(old: str, new: str) -> Any:
        # As the Python SDK sends it.
        return door.send("PUT", f"{SUBJECTS}/{old}", json={"subject": new, "api_endpoint": old})

    assert rename("Bob%20Lee", "Bob").json() == {"updated": True}
    assert rename("Bob", "Bob").json() == {"updated": False}
    assert rename("bob", "BOB").json() == {"updated": True}
    assert sorted(door.subjects()) == ["Ann", "BOB"]
    assert rename("BOB", "Ann").json() == {"updated": True}
    assert door.subjects() == ["Ann"], "two of one name become one"
    assert refused(rename("nobody", "z")) == (404, 42, "Subject nobody not found")
    assert door.send("DELETE", f"{SUBJECTS}/Ann").json() == {"subject": "Ann"}
    assert refused(door.send("DELETE", f"{SUBJECTS}/Ann")) == (404, 42, "Subject Ann not found")
    for name in ("a", "b", "c"):
        door.send("POST", SUBJECTS, json={"subject": name})
    assert door.send("DELETE", SUBJECTS).json() == {"deleted": 3}
    assert door.subjects() == []


BAD_NAMES: dict[str, tuple[Any, int]] = {
    "empty": ("", 26), "blank": ("  ", 26), "null": (None, 26), "number": (7, 26), "51": ("a" * 51, 26),
    "slash": ("a/b", 36), "semicolon": ("a;b", 36), "backslash": ("a\\b", 36),
    "nul": ("a\0b", 26), "direction": ("a\u202eb", 26), "large": ("a" * 10_000, 26),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_be_kept_is_refused(door: Client, name: str) -> None:
    value, number = BAD_NAMES[name]
    assert code(door.send("POST", SUBJECTS, json={"subject": value})) == (400, number)
    door.send("POST", SUBJECTS, json={"subject": "Ann"})
    assert code(door.send("PUT", f"{SUBJECTS}/Ann", json={"subject": value})) == (400, number)
    assert door.subjects() == ["Ann"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"subject": "\\ud800"}', b"\xff", b"[" * 90_000])
def test_a_body_that_is_no_json_is_an_error_of_the_client(door: Client, body: bytes) -> None:
    for method, path in (
        ("POST", SUBJECTS),
        ("PUT", f"{SUBJECTS}/x"),
        ("POST", "recognition/embeddings/recognize"),
    ):
        answer = door.send(method, path, data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, (path, answer.text)
        refused(answer)


def test_many_who_add_one_subject_make_one(door: Client) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: door.send("POST", SUBJECTS, json={"subject": "Ann"}), range(6)))
    assert sorted(each.status_code for each in made) == [201] + [400] * 5
    assert door.subjects() == ["Ann"]


# Images.


def test_images_are_put_in_listed_shown_and_taken_out(client: Client, parts: Parts) -> None:
    # Another file of tests may have left the same photos on the disk: they are taken out, too.
    sent = {hashlib.sha256(astronaut_jpeg(number)).hexdigest() for number in (1, 2, 3, 4)}
    before = set(stock.files(parts)) - sent
    one = client.add("Ann", astronaut_jpeg(1))
    two = client.add("ann", astronaut_jpeg(2))
    assert client.add("ann", astronaut_jpeg(2)) == two, "the same file is one image"
    other = client.add("Bob%20Lee", astronaut_jpeg(3))
    assert client.subjects() == ["Ann", "Bob Lee"]
    page = client.send("GET", FACES).json()
    assert page == {
        "faces": [
            {"image_id": one, "subject": "Ann"},
            {"image_id": two, "subject": "Ann"},
            {"image_id": other, "subject": "Bob Lee"},
        ],
        "page_number": 0, "page_size": 20, "total_pages": 1, "total_elements": 3,
    }  # fmt: skip
    second = client.send("GET", f"{FACES}?page=1&size=2").json()
    assert ([each["image_id"] for each in second["faces"]], second["total_pages"]) == ([other], 2)
    assert client.send("GET", f"{FACES}?subject=Ann").json()["total_elements"] == 2
    assert client.send("GET", f"{FACES}?subject=nobody").json()["faces"] == []
    for address in (f"{FACES}/{one}/img", f"static/{client.key}/images/{one}"):
        shown = client.send("GET", address, headers={"x-api-key": None} if "static" in address else {})
        assert (shown.status_code, shown.content) == (200, astronaut_jpeg(1))
        none = client.send("GET", address.replace(one, str(uuid.uuid4())))
        assert (none.status_code, none.content) == (200, b"")
    assert code(client.send("GET", f"static/{uuid.uuid4()}/images/{one}")) == (404, 10)
    assert client.send("DELETE", f"{FACES}/{one}").json() == {"image_id": one, "subject": "Ann"}
    assert not stock.has_file(parts, hashlib.sha256(astronaut_jpeg(1)).hexdigest())
    assert refused(client.send("DELETE", f"{FACES}/{one}")) == (404, 44, f"Image {one} not found")
    gone = client.send("POST", f"{FACES}/delete", json=[two, str(uuid.uuid4()), two]).json()
    assert gone == [{"image_id": two, "subject": "Ann"}]
    assert client.subjects() == ["Ann", "Bob Lee"], "a subject stays without images"
    assert client.send("DELETE", f"{FACES}?subject=Bob%20Lee").json() == {"deleted": 1}
    assert client.send("DELETE", f"{FACES}?subject=Bob%20Lee").json() == {"deleted": 0}
    assert client.subjects() == ["Ann"]
    client.add("Ann", astronaut_jpeg(4))
    assert code(client.send("DELETE", f"{FACES}?subject=")) == (400, 26)
    assert client.send("DELETE", FACES).json() == {"deleted": 1}
    assert (client.subjects(), set(stock.files(parts))) == ([], before)
    stock.check_consistent(parts)


def test_an_image_that_cannot_be_an_example_leaves_nothing(client: Client, parts: Parts) -> None:
    add, before = f"{FACES}?subject=X", set(stock.files(parts))
    assert refused(client.photo(add, two_faces())) == (400, 31, "More than one face in the source image")
    assert refused(client.photo(add, no_face())) == NOBODY
    assert refused(client.photo(add, b"no picture")) == NOBODY
    assert refused(client.photo(f"{add}&det_prob_threshold=1", astronaut_jpeg())) == NOBODY
    answer = client.photo(add, astronaut_jpeg(), "a.txt")
    assert refused(answer) == (400, 21, "File [a.txt] has an unavailable extension")
    gif = io.BytesIO()
    astronaut().save(gif, "GIF")
    assert code(client.photo(add, gif.getvalue(), "a.gif")) == (400, 21), "a kind that is not read"
    answer = client.photo(add, astronaut_jpeg(), part="photo")
    assert refused(answer) == (400, 34, "Required part file is missing")
    assert refused(client.send("POST", add, json={})) == (400, 5, "Field file cannot be empty")
    for text in ("data:image/jpeg;base64,AAAA", "###", 7, ["a"]):
        answer = client.send("POST", add, json={"file": text})
        assert refused(answer) == (400, 21, "Provided value is not Base64"), text
    assert refused(client.photo(FACES, astronaut_jpeg())) == (
        400, 33, "Required parameter subject is missing",
    )  # fmt: skip
    assert refused(client.photo(f"{FACES}?subject=%20", astronaut_jpeg())) == (
        400, 26, "Subject name is empty; ",
    )  # fmt: skip
    assert code(client.photo(f"{FACES}?subject=a%00b", astronaut_jpeg())) == (400, 26)
    assert (client.subjects(), client.images(), set(stock.files(parts)) - before) == ([], [], set())
    client.add("Ann", astronaut_jpeg())
    taken = client.photo(add, astronaut_jpeg())
    assert code(taken) == (400, 0)
    assert "Ann" in taken.json()["message"]
    assert client.subjects() == ["Ann"], "nobody is made for an image that is somebody's"


def test_only_faces_that_are_sure_enough_count(client: Client) -> None:
    both = faces_of_two_sizes()
    key = new_key(client.app.installation, "detection")
    found = Client(client.app, key).photo("detection/detect", both).json()["result"]
    one, other = (each["box"]["probability"] for each in found)
    assert one != other
    between = (one + other) / 2
    assert code(client.photo(f"{FACES}?subject=Ann", both)) == (400, 31)
    answer = client.photo(f"{FACES}?subject=Ann&det_prob_threshold={between}", both)
    assert answer.status_code == 201, answer.text
    assert len(client.images()) == 1
    client.send("DELETE", f"{FACES}/{client.images()[0]}")
    assert client.images() == [], "the photo shows somebody else and stays, the example does not"


def test_json_with_base64_is_the_same_as_a_form(client: Client) -> None:
    text = base64.b64encode(astronaut_jpeg()).decode()
    added = client.send("POST", f"{FACES}?subject=Ann", json={"file": text})
    assert added.status_code == 201, added.text
    assert client.add("Ann", astronaut_jpeg()) == added.json()["image_id"]
    query = f"{RECOGNIZE}?face_plugins=landmarks,calculator"
    lines = base64.encodebytes(astronaut_again()).decode()
    assert client.send("POST", query, json={"file": lines}).json() == (
        client.photo(query, astronaut_again()).json()
    )


# Who is on a photo.


def test_a_face_is_recognised_with_what_was_asked_for(client: Client) -> None:
    client.add("Ann", astronaut_jpeg(1))
    client.add("Bob", astronaut_again())
    query = f"{RECOGNIZE}?limit=0&det_prob_threshold=0.01&prediction_count=5&status=true"
    answer = client.photo(
        f"{query}&face_plugins=age,gender,landmarks,calculator,mask,pose", astronaut_jpeg(2)
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    body = answer.json()
    assert set(body) == {"result", "plugins_versions"}
    assert {"detector", "calculator"} <= set(body["plugins_versions"])
    (face,) = body["result"]
    assert set(face) == {"box", "landmarks", "embedding", "execution_time", "subjects"}
    box = face["box"]
    assert set(box) == {"probability", "x_min", "x_max", "y_min", "y_max"}
    assert all(isinstance(box[name], int) for name in box if name != "probability")
    assert 0 < box["probability"] <= 1
    assert box["x_min"] < box["x_max"]
    assert box["y_min"] < box["y_max"]
    assert [[type(each) for each in point] for point in face["landmarks"]] == [[int, int]] * 5
    left, right, nose, mouth_left, mouth_right = face["landmarks"]
    assert left[0] < right[0]
    assert mouth_left[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]
    assert face["execution_time"]["detector"] > 0
    first, second = face["subjects"]
    assert (first["subject"], second["subject"]) == ("Ann", "Bob")
    assert 0.5 < second["similarity"] < first["similarity"] <= 1
    assert all(round(each["similarity"], 5) == each["similarity"] for each in face["subjects"])
    assert "null" not in answer.text

    plain = client.photo(RECOGNIZE, astronaut_jpeg(2)).json()
    assert set(plain) == {"result"}
    assert [set(each) for each in plain["result"]] == [{"box", "subjects"}]
    assert plain["result"][0]["subjects"] == [first], "one prediction unless more are asked for"

    sent = {"embeddings": [face["embedding"]]}
    again = client.send("POST", "recognition/embeddings/recognize?prediction_count=2", json=sent).json()
    assert again == {"result": [{"embedding": face["embedding"], "similarities": [first, second]}]}


def test_the_best_example_comes_however_unlike_it_is_and_nobody_is_no_example(
    client: Client, parts: Parts
) -> None:
    empty = client.photo(RECOGNIZE, astronaut_jpeg())
    assert [each["subjects"] for each in empty.json()["result"]] == [[]]
    unlike = stock.photo(parts, stock.person(parts, "Zoe"))
    # Faces of nobody that are much more like it.
    done = client.app.upload(("b.jpg", astronaut_jpeg(7))).json()["batch_id"]
    client.app.wait_finished(done)
    (face,) = client.photo(f"{RECOGNIZE}?prediction_count=9", astronaut_jpeg()).json()["result"]
    assert [each["subject"] for each in face["subjects"]] == ["Zoe"]
    assert face["subjects"][0]["similarity"] < 0.5
    assert client.images() == [str(each) for each in stock.faces_of(parts, unlike)]


def test_similarity_has_the_scale_that_clients_compare_with(client: Client, parts: Parts) -> None:
    from face_pipeline.web.compreface import telling

    threshold = parts.pack.match_threshold
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telling, "parts", lambda: parts)
        values = [telling.similarity(each) for each in (threshold, 1.0, threshold - 0.1, -1.0)]
    assert values[0] == 0.5
    assert values[1] > 0.9 > 0.5 > values[2] > values[3] >= 0
    image = client.add("Ann", astronaut_jpeg())
    (one,) = client.photo(f"{FACES}/{image}/verify", astronaut_again()).json()["result"]
    assert one["subject"] == "Ann"
    (face,) = client.photo(RECOGNIZE, astronaut_again()).json()["result"]
    assert one["similarity"] == face["subjects"][0]["similarity"]


def test_faces_come_by_size_and_as_many_as_are_wanted(client: Client, keys: dict[str, str]) -> None:
    client.add("Ann", astronaut_jpeg())
    detection = Client(client.app, keys["detection"])

    def widths(caller: Client, path: str) -> list[int]:
        faces = caller.photo(path, faces_of_two_sizes()).json()["result"]
        return [each["box"]["x_max"] - each["box"]["x_min"] for each in faces]

    large, small = widths(client, RECOGNIZE)
    assert large > small
    assert widths(client, f"{RECOGNIZE}?limit=1") == [large]
    assert widths(detection, "detection/detect?limit=1") == [large]
    found = detection.photo("detection/detect?status=True&face_plugins=landmarks", faces_of_two_sizes())
    assert [set(each) for each in found.json()["result"]] == [{"box", "landmarks", "execution_time"}] * 2
    for caller, path in ((client, RECOGNIZE), (detection, "detection/detect")):
        assert refused(caller.photo(path, no_face())) == NOBODY
        assert refused(caller.photo(f"{path}?limit=-1", astronaut_jpeg())) == (
            400, 26, "Limit should be equal or greater than 0; ",
        )  # fmt: skip
        assert code(caller.photo(f"{path}?det_prob_threshold=1.1", astronaut_jpeg())) == (400, 28)
        assert code(caller.photo(f"{path}?det_prob_threshold=nan", astronaut_jpeg())) == (400, 28)
        assert code(caller.photo(f"{path}?limit=abc", astronaut_jpeg())) == (400, 0)
        assert code(caller.photo(f"{path}?limit={'9' * 30}", astronaut_jpeg())) == (400, 0)
    answer = client.photo(f"{RECOGNIZE}?prediction_count=0", astronaut_jpeg())
    assert refused(answer) == (400, 26, "prediction_count should be equal or greater than 1; ")


def test_two_photos_are_verified(live_app: App, keys: dict[str, str]) -> None:
    client = Client(live_app, keys["verification"])

    def verify(source: bytes, target: bytes, query: str = "") -> requests.Response:
        sent = {"source_image": ("a.jpg", source), "target_image": ("b.png", target)}
        return client.send("POST", f"verification/verify{query}", files=sent)

    query = "?face_plugins=calculator&status=true"
    (told,) = verify(astronaut_jpeg(), faces_of_two_sizes(), query).json()["result"]
    assert set(told) == {"source_image_face", "face_matches", "plugins_versions"}
    assert set(told["source_image_face"]) == {"box", "embedding", "execution_time"}
    assert len(told["face_matches"]) == 2
    assert all(each["similarity"] > 0.5 for each in told["face_matches"])
    assert refused(verify(two_faces(), astronaut_jpeg())) == (
        400, 31, "More than one face in the source image",
    )  # fmt: skip
    (first,) = verify(two_faces(), astronaut_jpeg(), "?limit=1").json()["result"]
    assert len(first["face_matches"]) == 1
    assert refused(verify(no_face(), astronaut_jpeg())) == NOBODY
    assert refused(verify(astronaut_jpeg(), no_face())) == NOBODY
    missing = client.photo("verification/verify", astronaut_jpeg(), part="source_image")
    assert refused(missing) == (400, 34, "Required part target_image is missing")
    text = {
        name: base64.b64encode(data).decode()
        for name, data in (("source_image", astronaut_jpeg()), ("target_image", faces_of_two_sizes()))
    }
    by_json = client.send("POST", "verification/verify", json=text).json()["result"]
    assert [len(each["face_matches"]) for each in by_json] == [2]
    answer = client.send("POST", "verification/verify", json={"source_image": text["source_image"]})
    assert refused(answer) == (400, 5, "Field target_image cannot be empty")

    source = told["source_image_face"]["embedding"]
    targets = [[-each for each in source], source]
    sent = {"source": source, "targets": targets}
    compared = client.send("POST", "verification/embeddings/verify", json=sent).json()["result"]
    assert [each["embedding"] for each in compared] == [source, targets[0]], "the most similar first"
    assert compared[0]["similarity"] > 0.9
    assert compared[1]["similarity"] < 0.1
    for wrong, number in (
        ({"targets": targets}, 5), ({"source": source}, 5), ({"source": source, "targets": [[1]]}, 26),
        ({"source": "x", "targets": targets}, 26), ({"source": [0] * len(source), "targets": targets}, 26),
        ({"source": [True] * len(source), "targets": targets}, 26),
        ({"source": [10**400] * len(source), "targets": targets}, 26),
    ):  # fmt: skip
        answer = client.send("POST", "verification/embeddings/verify", json=wrong)
        assert code(answer) == (400, number), answer.text


def test_an_image_is_verified_with_embeddings(client: Client) -> None:
    image = client.add("Ann", astronaut_jpeg())
    query = f"{RECOGNIZE}?face_plugins=calculator"
    (face,) = client.photo(query, astronaut_again()).json()["result"]
    opposite = [-each for each in face["embedding"]]
    sent = {"embeddings": [opposite, face["embedding"]]}
    answer = client.send("POST", f"recognition/embeddings/faces/{image}/verify", json=sent).json()
    assert [each["embedding"] for each in answer["result"]] == [face["embedding"], opposite]
    assert answer["result"][0]["similarity"] == face["subjects"][0]["similarity"]
    unknown = f"recognition/embeddings/faces/{uuid.uuid4()}/verify"
    assert [each["similarity"] for each in client.send("POST", unknown, json=sent).json()["result"]] == [0, 0]


# How clients really call.


def test_strange_queries_mean_what_their_clients_meant(client: Client) -> None:
    client.add("Ann", astronaut_jpeg())
    for query in (
        "?&limit=0&prediction_count=2&status=True",
        "?face_plugins=undefined&det_prob_threshold=0.1",
        "?det_prob_threshold=0.1?status=true",
        "?limit=&det_prob_threshold=&prediction_count=&face_plugins=&status=",
        "?unknown=1&limit=1",
    ):
        answer = client.photo(RECOGNIZE + query, astronaut_again())
        assert answer.status_code == 200, (query, answer.text)
        assert ("plugins_versions" in answer.json()) == ("status=T" in query or "status=t" in query)
    answer = client.photo(f"{FACES}?subject=Bob?det_prob_threshold=0.1", astronaut_jpeg(2))
    assert answer.json()["subject"] == "Bob"
    client.photo(f"{FACES}?subject=Carl%20&%20Dora&det_prob_threshold=0.1", astronaut_jpeg(3))
    assert client.subjects() == ["Ann", "Bob", "Carl & Dora"]
    # The Python SDK sends parts without a type of their own.
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body += astronaut_again() + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.send("POST", RECOGNIZE, data=body, headers=headers).status_code == 200
    assert client.send("DELETE", f"{FACES}?subject=Bob", headers={"Content-Length": "0"}).json() == {
        "deleted": 1
    }


def test_double_take_trains_recognises_and_forgets(client: Client) -> None:
    sent = {"file": ("image.jpg", astronaut_jpeg(), "image/jpeg")}
    trained = client.send("POST", f"{FACES}?subject=ann", files=sent)
    assert trained.ok
    query = f"{RECOGNIZE}?face_plugins=undefined&det_prob_threshold=0.1"
    again = {"file": ("snapshot.jpg", astronaut_again(), "image/jpeg")}
    for face in client.send("POST", query, files=again).json()["result"]:
        best = face["subjects"][0]
        assert (best["subject"], best["similarity"] * 100 > 60) == ("ann", True)
        assert (face["box"]["x_max"] - face["box"]["x_min"]) > 0
    none = client.send("POST", query, files={"file": ("snapshot.jpg", no_face(), "image/jpeg")}).json()
    assert "result" not in none
    assert none["code"] == 28
    assert client.send("DELETE", f"{FACES}?subject=ann").ok
    assert client.subjects() == []


def test_a_page_of_any_origin_may_ask(door: Client) -> None:
    for path in (SUBJECTS, RECOGNIZE, f"{FACES}/{uuid.uuid4()}/img", "detection/detect", "recognition/none"):
        answer = requests.options(f"{door.app.url}/api/v1/{path}", timeout=10)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "x-api-key" in answer.headers["Access-Control-Allow-Headers"]
        assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) >= {
            "GET",
            "POST",
            "PUT",
            "DELETE",
        }
    refusal = requests.get(f"{door.app.url}/api/v1/{SUBJECTS}", timeout=10)
    assert refusal.headers["Access-Control-Allow-Origin"] == "*"
    # Our own calls know cookies, and are for our own pages.
    ours = requests.get(f"{door.app.url}/api/v1/persons", timeout=10)
    assert "Access-Control-Allow-Origin" not in ours.headers


def test_what_is_no_call_is_an_error_that_clients_can_read(door: Client) -> None:
    for method, path in (
        ("GET", RECOGNIZE), ("PATCH", f"{SUBJECTS}/x"), ("POST", "recognition/none"),
        ("GET", "verification/x"), ("DELETE", "detection/detect"),
    ):  # fmt: skip
        assert code(door.send(method, path)) == (404, 0), path
    for path in (f"{FACES}/none/img", f"{FACES}/none/verify"):
        method = "POST" if path.endswith("verify") else "GET"
        assert code(door.send(method, path)) == (400, 0)
    assert code(door.send("POST", f"{FACES}/delete", json=["none"])) == (400, 0)
    assert code(door.send("POST", f"{FACES}/delete", json={"a": 1})) == (400, 0)
    for query in ("?page=-1", "?size=0", "?page=x", f"?page={10**30}"):
        assert door.send("GET", FACES + query).status_code == 400


def test_without_a_worker_the_client_reads_that_the_core_is_away(door: Client) -> None:
    door.app.installation.parts.scratch.flushdb()
    from tests.installation import start_web

    url, web = start_web(door.app.installation, FACE_SEARCH_TIMEOUT_SECONDS="1")
    try:
        answer = requests.post(
            f"{url}/api/v1/{RECOGNIZE}", headers={"x-api-key": door.key},
            files={"file": ("a.jpg", astronaut_jpeg(9))}, timeout=60,
        )  # fmt: skip
    finally:
        door.app.installation.end(web)
    status, number, message = refused(answer)
    assert (status, number) == (503, 41)
    assert message.startswith("Error during synchronization between servers: ")


def test_no_log_holds_a_key_or_a_subject(client: Client) -> None:
    image = client.add("Maryam", astronaut_jpeg())
    client.send("GET", f"static/{client.key}/images/{image}")
    client.send("PUT", f"{SUBJECTS}/Maryam", json={"subject": "Mirjam"})
    client.send("DELETE", f"{SUBJECTS}/Mirjam")
    client.send("GET", f"recognition/nothing/{client.key}")
    log = client.app.installation.log("web.log")
    assert "/api/v1/recognition/subjects/<path:subject>" in log
    assert not [each for each in (client.key, "Maryam", "Mirjam") if each in log]


def test_adding_and_erasing_one_subject_at_once_leaves_nothing_half_made(
    client: Client, parts: Parts
) -> None:
    def act(number: int) -> requests.Response:
        if number % 3 == 2:
            path = f"{FACES}?subject=Ann" if number % 2 else f"{SUBJECTS}/Ann"
            return client.send("DELETE", path)
        return client.photo(f"{FACES}?subject=Ann", astronaut_jpeg(number))

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(act, range(18)))
    assert {each.status_code for each in answers} <= {200, 201, 404}, [each.text for each in answers]
    # An erasure of nobody is the only one that finds nothing.
    assert {each.json()["code"] for each in answers if each.status_code == 404} <= {42}
    stock.check_consistent(parts)
    listed = client.send("GET", FACES).json()
    assert listed["total_elements"] == len(listed["faces"])
    assert client.subjects() in ([], ["Ann"])
    assert code(client.photo(f"{FACES}?subject=Ann", no_face())) == (400, 28)


ODDITIES = {
    "nul": "%00", "emoji": "%F0%9F%98%80", "large": "a" * 5000, "dots": "..%2F..", "bytes": "%ff%fe",
    "quote": "%27",
}  # fmt: skip


@pytest.mark.parametrize("name", ODDITIES)
def test_nothing_odd_is_an_error_of_the_server(door: Client, keys: dict[str, str], name: str) -> None:
    from face_pipeline.web.compreface.calls import CALLS

    odd = ODDITIES[name]
    # In a collection that there is: in none, nobody is looked for.
    assert door.send("POST", SUBJECTS, json={"subject": "Ann"}).status_code == 201
    bodies: list[dict[str, Any]] = [
        {}, {"data": odd}, {"json": {"subject": odd, "file": odd, "embeddings": [[odd]], "source": odd}},
        {"files": {odd: (odd, b"x")}}, {"files": {"file": (f"{odd}.jpg", odd.encode())}},
        {"json": [odd]},
        {"json": {"embeddings": {}, "targets": 7, "source": [[1]], "file": {}, "subject": {}}},
    ]  # fmt: skip
    for call in CALLS:
        path = (
            re.sub(r"<(?:path:)?(?:subject|image_id)>", odd, call.path).replace("<key>", door.key).lstrip("/")
        )
        for query in (
            "",
            f"?{odd}&subject={odd}&limit={odd}",
            f"?subject={odd}&page={odd}&prediction_count={odd}",
        ):
            for body in bodies:
                headers = {"x-api-key": keys[call.service]}
                answer = door.send(call.method, path + query, headers=headers, **body)
                assert answer.status_code < 500, (call, query, body, answer.text)
                if answer.status_code >= 400:
                    refused(answer)
