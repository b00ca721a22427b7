"""Pages of docs/: each of their examples is run, and answers as the page says (tests/app/pages.py)."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi
import pytest
from face_pipeline.ops import clusterer
from face_pipeline.parts import Parts

from tests.app import pages, stock
from tests.app.cli import person_at
from tests.app.pages import Example, Reader, differences, elided
from tests.app.test_clusters import faces_of, people, put
from tests.app.test_compreface import Client as CompreFace
from tests.app.test_compreface import new_key
from tests.app.test_contract import DOCUMENT
from tests.app.test_names import two_faces
from tests.installation import App
from tests.photos import ROOT, astronaut_again, astronaut_jpeg

pytestmark = pytest.mark.one_worker

DOCS = ROOT / "docs"
COMPARISON = DOCS / "compare.md"
FILES: Mapping[str, Callable[[], bytes]] = {
    "1.jpg": lambda: astronaut_jpeg(11),
    "2.jpg": lambda: astronaut_jpeg(12),
    "anna-1.jpg": lambda: astronaut_jpeg(1),
    "anna-2.jpg": lambda: astronaut_jpeg(2),
    "anna-3.jpg": astronaut_again,
    "camera.jpg": lambda: astronaut_jpeg(6),
    "crowd.jpg": two_faces,
    "door.jpg": lambda: astronaut_jpeg(4),
    "notes.txt": lambda: b"no photo",
    "passport.jpg": lambda: astronaut_jpeg(7),
    "unknown.heic": lambda: astronaut_jpeg(5),
    "unknown.jpg": lambda: astronaut_jpeg(3),
}


class World:
    """What the examples of a page speak of: files beside the reader, and things that have ids."""

    def __init__(self, app: App, parts: Parts, home: Path) -> None:
        self.app, self.parts, self.home = app, parts, home
        # Ids that an earlier example told of; of others there is a new thing each time.
        self.told: dict[str, str] = {}

    def put(self, person: str, collection: str = "default", number: int = 40) -> None:
        """A real photo of the person, found by searches."""
        answer = self.app.upload(("a.jpg", astronaut_jpeg(number)), person=person, collection=collection)
        self.app.wait_finished(answer.json()["batch_id"])

    def collection(self, name: str) -> str:
        stock.person(self.parts, "somebody", name)
        return name

    def note(self, given: Any) -> None:
        """What later examples need: a photo of the upload, done, its face, and who is on it."""
        if isinstance(given, dict) and "batch_id" in given and "photos" in given:
            self.app.wait_finished(given["batch_id"])
            photo = self.app.get(f"/api/v1/photos/{given['photos'][0]['id']}").json()
            self.told |= {"batches": given["batch_id"], "photos": photo["id"]}
            self.told |= {"faces": photo["faces"][0]["id"], "persons": photo["person"]["id"]}

    def new(self, kind: str) -> str:
        """The id of a thing of that kind; its name, of a collection."""
        if kind in self.told:
            return self.told[kind]
        made: Callable[[], object] = getattr(self, f"_{kind}")
        return str(made())

    def _persons(self) -> uuid.UUID:
        return stock.person(self.parts, f"Person {uuid.uuid4().hex[:8]}")

    def _photos(self) -> uuid.UUID:
        return stock.photo(self.parts, self._persons(), named=None)

    def _faces(self) -> uuid.UUID:
        return stock.faces_of(self.parts, self._photos())[0]

    def _collections(self) -> str:
        return self.collection(f"c-{uuid.uuid4().hex[:8]}")

    def _batches(self) -> str:
        return self._made("batches", collection="holiday")

    def _keys(self) -> str:
        return self._made("keys", name=f"key {uuid.uuid4()}", scopes=["read"])

    def _sessions(self) -> str:
        signed_in = self.app.request("POST", "/session", json={"api_key": self.app.api_key})
        return str(signed_in.json()["id"])

    def _hooks(self) -> str:
        return self._made("hooks", url="https://example.org/faces")

    def _merges(self) -> str:
        return self._made(f"persons/{self._persons()}/merge", **{"from": str(self._persons())})

    def _clusters(self) -> str:
        (person,) = people(1, uuid.uuid4().int % 2**32)
        put(self.parts, faces_of(person, 4, 1))
        clusterer.cluster(self.parts)
        newest = max(self.app.get("/api/v1/clusters").json()["clusters"], key=lambda each: each["created_at"])
        return str(newest["id"])

    def _made(self, path: str, **body: Any) -> str:
        answer = self.app.request("POST", f"/api/v1/{path}", json=body)
        assert answer.ok, answer.text
        return str(answer.json()["id"])

    def filled(self, command: str) -> str:
        """A command with what HOST, ID and … stand for where they are."""
        command = command.replace("https://HOST", self.app.url)
        kinds = "photos|faces|persons|batches|clusters|keys|sessions|hooks|merges|collections"
        command = re.sub(
            rf"(api/v1/(?:{kinds}))/[A-Z][A-Z_]+\b",
            lambda found: f"{found[1]}/{self.new(found[1].rpartition('/')[2])}",
            command,
        )
        command = re.sub(
            r"(person|face)_id=ID\b", lambda found: f"{found[1]}_id={self.new(f'{found[1]}s')}", command
        )
        command = re.sub(
            r'"((?:other_)?(person|face)_id)": "…"',
            lambda found: f'"{found[1]}": "{self.new(f"{found[2]}s")}"',
            command,
        )
        command = re.sub(
            r'"photo_ids": \["…", "…"\]',
            lambda _: f'"photo_ids": ["{self.new("photos")}", "{uuid.uuid4()}"]',
            command,
        )
        command = re.sub(r'"from": "[A-Z_]+"', lambda _: f'"from": "{self.new("persons")}"', command)
        command = re.sub(r"batch=BATCH\b", lambda _: f"batch={self.new('batches')}", command)
        command = re.sub(r"(hooks \w+) ID\b", lambda found: f"{found[1]} {self.new('hooks')}", command)
        return re.sub(r"--whom ID\b", lambda _: f"--whom {uuid.uuid4()}", command)


def _nothing(_: World) -> None:
    """The page needs nothing that is not made as it goes on."""


def _as_it_is(_: World, command: str) -> str:
    return command


@dataclass(frozen=True)
class Page:
    """A page whose examples are run.

    before: makes what its examples speak of; also: puts in what stands for things that only it has; goes_on:
    its examples are about what the first of them made; prelude, after: what its programs in Python take as
    given, and what is true after them; files: those that are others than everywhere.
    """

    name: str
    before: Callable[[World], None] = _nothing
    also: Callable[[World, str], str] = _as_it_is
    goes_on: bool = False
    prelude: str = ""
    after: str = ""
    has_programs: bool = True
    files: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)


def _search(world: World) -> None:
    world.put("Anna")
    for name in ("staff", "visitors"):
        world.put("Anna", name)
    world.told["faces"], world.told["persons"] = _face_of(world, "default")
    world.told["collections"] = "default"
    one = world.app.get(f"/api/v1/faces/{world.told['faces']}/embedding").json()
    told = {"contract_id": one["contract_id"], "embeddings": [one["embedding"]]}
    (world.home / "embeddings.json").write_text(json.dumps(told))


def _face_of(world: World, collection: str) -> tuple[str, str]:
    (photo,) = world.app.get("/api/v1/photos", params={"collection": collection}).json()["photos"]
    shown = world.app.get(f"/api/v1/photos/{photo['id']}").json()
    return shown["faces"][0]["id"], shown["person"]["id"]


def _searched(world: World, command: str) -> str:
    one = json.loads((world.home / "embeddings.json").read_text())
    command = command.replace("[0.0123, …]", json.dumps(one["embeddings"][0]))
    # A face is compared with another one than itself.
    other = re.compile(r'(other_face_id(?:=|": "))[-0-9a-f]{36}')
    if other.search(command):
        command = other.sub(lambda found: f"{found[1]}{_face_of(world, 'staff')[0]}", command)
    if "/verify" in command and '"person_id"' in command:
        command = command.replace(world.told["faces"], _face_of(world, "visitors")[0])
    return command.replace("insightface-…", one["contract_id"])


def _clusters(world: World) -> None:
    for _ in range(3):
        world.new("clusters")


def _people(world: World, command: str) -> str:
    if "cover_face_id" in command:
        (person,) = re.findall(r"/api/v1/persons/(\S+)", command)
        (face,) = stock.faces_of(world.parts, stock.photo(world.parts, uuid.UUID(person)))
        command = command.replace('"cover_face_id": "…"', f'"cover_face_id": "{face}"')
    if "If-Match" in command:
        (path,) = re.findall(r"/api/v1/persons/\S+", command)
        command = command.replace("'If-Match: \"3\"'", f"'If-Match: {world.app.get(path).headers['ETag']}'")
    return command


def _erasure(world: World) -> None:
    world.collection("default")
    world.collection("family")


def _erased(world: World, command: str) -> str:
    if "photo_ids" in command and command.endswith("/retry"):
        failed = [str(stock.photo(world.parts, state="failed")) for _ in range(2)]
        command = re.sub(r'"photo_ids": \[.+?\]', f'"photo_ids": {json.dumps(failed)}', command)
    elif command.endswith("/retry") and "photos/retry" not in command:
        failed = stock.photo(world.parts, state="failed")
        command = re.sub(r"photos/[-0-9a-f]{36}", f"photos/{failed}", command)
    return command


def _failed(world: World) -> None:
    stock.photo(world.parts, state="failed")


def _audited(world: World) -> None:
    world.new("sessions")
    world.app.get(f"/api/v1/photos/{world.new('photos')}")
    world.app.upload(("a.jpg", astronaut_jpeg(41)), person="Anna")
    for key in world.app.get("/api/v1/keys?state=active").json()["keys"]:
        if key["name"] == "door camera":
            world.app.request("DELETE", f"/api/v1/keys/{key['id']}")


def _keyed(world: World, command: str) -> str:
    # The same name is made by the API and at a shell.
    return (
        command.replace("'door camera'", "'door at a shell'")
        .replace("since=2027", "since=2020")
        .replace("limit=100", "limit=1")
    )


def _exported(world: World) -> None:
    world.put("Anna", "staff")
    data = astronaut_jpeg(42)
    sha256 = hashlib.sha256(data).hexdigest()
    record = {"kind": "photo", "id": str(uuid.uuid4()), "sha256": sha256, "filename": "anna.jpg",
              "state": "received", "faces": []}  # fmt: skip
    (world.home / "anna.jpg").write_bytes(data)
    (world.home / "some.jsonl").write_text(json.dumps(record) + "\n")
    world.told["collections"] = "staff"


def _exporting(world: World, command: str) -> str:
    contract = world.app.get("/api/v1/collections/staff").json()["contract_id"]
    sha256 = hashlib.sha256((world.home / "anna.jpg").read_bytes()).hexdigest()
    return re.sub(r"filename=[0-9a-f]{64}", f"filename={sha256}", command).replace("$CONTRACT", contract)


def _album(world: World) -> None:
    for number, name in enumerate(("Pictures/1.jpg", "staff/Anna/1.jpg", "photos/1.jpg", "anna.jpg")):
        path = world.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(astronaut_jpeg(60 + number))
    with zipfile.ZipFile(world.home / "photos.zip", "w") as archive:
        archive.write(world.home / "photos/1.jpg", "1.jpg")
    (world.home / "photos.csv").write_text("path,person\nanna.jpg,Anna\n")
    (world.home / ".config/fish/completions").mkdir(parents=True)
    world.put("Anna", number=43)
    world.put("Anna", "guests", number=44)
    _audited(world)


def _client(world: World) -> None:
    (world.home / "album").mkdir()
    (world.home / "album/anna.jpg").write_bytes(astronaut_jpeg(70))
    for name in ("a", "b"):
        (world.home / name).mkdir()
        (world.home / name / "1.jpg").write_bytes(astronaut_jpeg(71 + ord(name)))
    (world.home / "ca.crt").write_text(Path(certifi.where()).read_text())
    world.put("Anna", number=45)


def _old_server(world: World) -> None:
    """This service stands in for a CompreFace, whose contract its calls for such clients have."""
    for key in world.app.get("/api/v1/keys?state=active").json()["keys"]:
        if key["name"].startswith("door"):
            world.app.request("DELETE", f"/api/v1/keys/{key['id']}")
    key = new_key(world.app.installation, "recognition", "old")
    (world.home / "old.key").write_text(key)
    CompreFace(world.app, key).add("Ann", astronaut_jpeg(80))
    (world.home / "images/Ann").mkdir(parents=True)
    (world.home / "images/Ann/1.jpg").write_bytes(astronaut_jpeg(81))


def _moving(world: World, command: str) -> str:
    return command.replace("http://OLD:8000", world.app.url)


PROGRAM = """
import os, sys
from pathlib import Path
key, url = Path("key").read_text().strip(), os.environ["FACE_URL"]
"""
LISTENER = """
from face_pipeline.client import Client
saved = Client(url, key).events(limit=1, kind="photo.done").next_cursor
opened = []
def open_door(person):
    print("opened for", person.name)
    opened.append(person)
    if len(opened) == 1:
        raise SystemExit
"""
SIGNED = """
import base64, hashlib, hmac
secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
body = b"{}"
mac = hmac.digest(b"k" * 32, b"1.2." + body, "sha256")
headers = {"webhook-id": "1", "webhook-timestamp": "2",
           "webhook-signature": "v1,x v1," + base64.b64encode(mac).decode()}
"""

PAGES = (
    Page("api.md", goes_on=True),
    Page("enrolment.md", files={"anna-2.jpg": two_faces}),
    Page("people.md", also=_people),
    Page("search.md", before=_search, also=_searched),
    Page("clusters.md", before=_clusters),
    Page("erasure.md", before=_erasure, also=_erased),
    Page("jobs.md", also=lambda _, command: command.replace("/REASON", "/broken_image")),
    Page("overview.md", before=_failed),
    Page("events.md", prelude=SIGNED, after="assert good"),
    Page("keys.md", before=_audited, also=_keyed),
    Page("export.md", before=_exported, also=_exporting),
    Page("cli.md", before=_album),
    Page("client.md", before=_client, prelude=LISTENER),
    # Its programs are run by tests/compreface/test_moving.py, which has a database like CompreFace's.
    Page("from-compreface.md", before=_old_server, also=_moving, has_programs=False),
)
# Pages of operators: what they do happens on a host.
ON_HOSTS = (
    "backup.md", "flower.md", "installing.md", "logs.md", "operations.md", "originals.md", "reembedding.md",
)  # fmt: skip


def _examples(name: str) -> list[Example]:
    return list(pages.examples(DOCS / name))


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_example_of_the_page_answers_as_it_says(
    page: Page, live_app: App, parts: Parts, tmp_path: Path
) -> None:
    world = World(live_app, parts, tmp_path)
    for name, data in {**FILES, **page.files}.items():
        (tmp_path / name).write_bytes(data())
    reader = Reader(person_at(live_app.url, tmp_path, live_app.api_key), live_app.api_key)
    page.before(world)
    wrong = []
    for example in _examples(page.name):
        if example.why_not is not None:
            continue
        command = page.also(world, world.filled(example.command))
        status, given = reader.does(command)
        place = f"docs/{page.name}:{example.line}: {example.command}"
        is_error = isinstance(example.answer, dict) and "error" in example.answer
        if is_error == (status == 0 or 200 <= status < 300):
            wrong.append(f"{place}: {status} {given}")
        elif example.answer is not None:
            wrong.extend(f"{place}: {each}" for each in differences(example.answer, given))
        if page.goes_on:
            world.note(given)
    wrong.extend(_of_programs(page, reader))
    assert wrong == []


def _of_programs(page: Page, reader: Reader) -> list[str]:
    """What its programs in Python, one after the other, say where they fail."""
    found = pages.programs(DOCS / page.name)
    if not found or not page.has_programs:
        return []
    text = "\n".join(each.text for each in found).replace('"https://HOST"', "url")
    status, said = reader.runs(f"{PROGRAM}{page.prelude}\n{text}\n{page.after}")
    return [] if status == 0 else [f"docs/{page.name}:{found[0].line}: {said}"]


def test_no_page_has_examples_that_nothing_runs() -> None:
    run = {page.name for page in PAGES}
    for path in sorted(DOCS.glob("*.md")):
        if path.name not in run and path.name not in ON_HOSTS:
            assert _examples(path.name) == [], f"{path.name}: add it to PAGES"


def test_what_is_not_run_says_why() -> None:
    for page in PAGES:
        for block in pages.blocks(DOCS / page.name):
            assert block.why_not is None or len(block.why_not.split()) > 2, f"{page.name}:{block.line}"


def test_the_page_has_an_example_of_what_is_used_most() -> None:
    commands = "\n".join(each.command for each in _examples("api.md"))
    for part in (
        "photos=@",
        "/search",
        "/verify",
        "/persons",
        "/faces/",
        "/keys",
        "/events",
        "/audit",
        "DELETE",
    ):
        assert part in commands, part


@pytest.mark.parametrize(
    ("told", "given"),
    [
        ('{"a": 1}', {"a": 1, "b": 2}),
        ('{"a": 1, "b": 2}', {"b": 2, "a": 1}),
        ('{"a": "…"}', {"a": None}),
        ('{"a": [{"b": 1}, …]}', {"a": [{"b": 1}, {"c": 1}]}),
        ('{"a": true}', {"a": 1}),
        ('{"a": []}', {"a": [1]}),
        ('{"a": [1]}', {"a": []}),
    ],
)
def test_another_shape_is_told(told: str, given: Any) -> None:
    assert differences(elided(told), given)


def test_the_same_shape_is_taken() -> None:
    told = elided('{"a": […], "b": {…}, "c": 0.5, "d": [{"e": "…"}, …], "f": null, "g": []}')
    given = {"a": [1, 2], "b": {"x": 1}, "c": 1, "d": [{"e": "x"}, {"e": "y"}], "f": None, "g": []}
    assert differences(told, given) == []


def test_the_comparison_names_calls_that_there_are() -> None:
    known = {
        (method.upper(), re.sub(r"{\w+}", "{}", path))
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
    }
    # What a comment stands before is not there yet.
    text = re.sub(r"^<!--.*-->\n(.+\n)+", "", COMPARISON.read_text(), flags=re.MULTILINE)
    named = {
        (method, re.sub(r"{\w+}", "{}", f"/api/v1{path}"))
        for method, path in re.findall(r"`(GET|POST|PATCH|DELETE)\s(/[\w/{}]+)", text)
    }
    assert len(named) > 20
    assert named - known == set()


def test_the_comparison_says_of_every_feature_what_is_here() -> None:
    rows = re.findall(r"^\| \[[^]]+\]\(#([\w-]+)\) \|(.*)\|$", COMPARISON.read_text(), re.MULTILINE)
    headings = re.findall(r"^### (.*)$", COMPARISON.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\s-]", "", each.lower()).replace(" ", "-") for each in headings}
    assert {anchor for anchor, _ in rows} == anchors
    for anchor, cells in rows:
        values = [each.strip() for each in cells.split("|")]
        assert len(values) == 8, anchor
        assert set(values) <= {"yes", "part", "–", "?"}, anchor
