"""What a client notices when it searches."""

from __future__ import annotations

import concurrent.futures

import pytest

from tests.installation import App
from tests.photos import (
    LABELLED,
    astronaut,
    astronaut_again,
    astronaut_jpeg,
    jpeg,
    labelled,
    no_face,
)

pytestmark = pytest.mark.one_worker


def _upload(app: App, *photos: tuple[str, bytes], **form: str) -> list[str]:
    body = app.upload(*photos, **form).json()
    app.wait_finished(body["batch_id"])
    return [photo["id"] for photo in body["photos"]]


def test_another_photo_of_a_person_finds_them(live_app: App) -> None:
    (photo_id,) = _upload(live_app, ("a.jpg", astronaut_jpeg()), person="Eileen Collins")
    answer = live_app.search(astronaut_again())
    assert answer.status_code == 200
    (face,) = answer.json()["faces"]
    (match,) = face["matches"]
    assert (match["photo_id"], match["person_name"]) == (photo_id, "Eileen Collins")
    assert match["similarity"] >= answer.json()["threshold"]


def test_nobody_is_found_in_an_empty_collection_and_no_face_is_an_empty_answer(live_app: App) -> None:
    (face,) = live_app.search(astronaut_jpeg()).json()["faces"]
    assert face["matches"] == []
    assert live_app.search(no_face()).json()["faces"] == []


def test_every_labelled_face_finds_its_person_and_nobody_else(live_app: App) -> None:
    photos = labelled()
    known = {"obama_1.jpg": "obama", "biden_1.jpg": "biden", "leslie_1.jpg": "leslie"}
    for name, person in known.items():
        _upload(live_app, (name, (LABELLED / name).read_bytes()), person=person)
    queries = {
        name: who
        for name, who in photos.items()
        if name not in known and None not in who and not name.endswith(".png")
    }
    for name, who in queries.items():
        faces = live_app.search((LABELLED / name).read_bytes(), limit=1).json()["faces"]
        found = {face["matches"][0]["person_name"] for face in faces if face["matches"]}
        expected = {person for person in who if person in known.values()}
        # HOG misses half-hidden and turned faces; whoever is found must be on the photo.
        assert found <= expected, name
        if len(who) == 1 and expected and "partial" not in name:
            assert found == expected, name


def test_each_face_of_a_photo_gets_its_own_matches(live_app: App) -> None:
    labelled()
    for person in ("obama", "biden"):
        _upload(live_app, (person, (LABELLED / f"{person}_1.jpg").read_bytes()), person=person)
    faces = live_app.search((LABELLED / "obama_and_biden.jpg").read_bytes(), limit=1).json()["faces"]
    found = [match["person_name"] for face in faces for match in face["matches"]]
    assert sorted(found) == ["biden", "obama"]


def test_the_second_search_is_cached_and_a_new_photo_ends_the_cached_answer(live_app: App) -> None:
    query = astronaut_again()
    first = live_app.search(query).json()
    assert (first["cache"], first["faces"][0]["matches"]) == ("miss", [])
    assert live_app.search(query).json()["cache"] == "hit"
    assert live_app.search(query, limit=7).json()["cache"] == "miss", "other parameters, another answer"
    (photo_id,) = _upload(live_app, ("a.jpg", astronaut_jpeg()))
    after = live_app.search(query).json()
    assert after["cache"] == "miss"
    assert after["faces"][0]["matches"][0]["photo_id"] == photo_id


def test_limit_threshold_and_quality_shape_the_answer(live_app: App) -> None:
    _upload(live_app, *((f"{n}.jpg", astronaut_jpeg(n)) for n in range(4)))
    query = astronaut_again()

    def matches(**form: float) -> int:
        return len(live_app.search(query, **form).json()["faces"][0]["matches"])

    assert matches(limit=3) == 3
    assert matches(limit=10) == 4
    assert matches(threshold=0.9999) == 0
    assert matches(min_quality=1) == 0


def test_by_person_everybody_is_named_once_with_their_best_face(live_app: App) -> None:
    """Six photos of one person do not push another one out of five matches."""
    _upload(live_app, *((f"{n}.jpg", astronaut_jpeg(n)) for n in range(6)), person="Eileen Collins")
    (other,) = _upload(live_app, ("other.jpg", astronaut_again()), person="Somebody alike")
    query = jpeg(astronaut().crop((50, 0, 450, 400)))
    (plain,) = live_app.search(query, limit=5).json()["faces"]
    assert [match["person_name"] for match in plain["matches"]] == ["Eileen Collins"] * 5
    assert "face_count" not in plain["matches"][0]
    answer = live_app.search(query, limit=5, group_by="person").json()
    assert answer["cache"] == "miss", "another question than the one without it"
    (face,) = answer["faces"]
    first, second = face["matches"]
    assert (first["person_name"], first["face_count"]) == ("Eileen Collins", 6)
    assert (second["person_name"], second["face_count"]) == ("Somebody alike", 1)
    assert second["photo_id"] == other
    assert first["similarity"] == plain["matches"][0]["similarity"]
    assert live_app.search(query, limit=5, group_by="person").json()["cache"] == "hit"
    (face,) = live_app.search(query, limit=1, group_by="person").json()["faces"]
    assert len(face["matches"]) == 1
    (face,) = live_app.search(query, limit=5, group_by="face").json()["faces"]
    assert face == plain


def test_by_person_a_face_without_a_name_stands_for_itself(live_app: App) -> None:
    _upload(live_app, *((f"{n}.jpg", astronaut_jpeg(n)) for n in range(3)))
    (face,) = live_app.search(astronaut_again(), group_by="person").json()["faces"]
    assert [(match["person_id"], match["face_count"]) for match in face["matches"]] == [(None, 1)] * 3


def test_only_faces_with_a_name_are_another_question_with_another_kept_answer(live_app: App) -> None:
    _upload(live_app, *((f"{n}.jpg", astronaut_jpeg(n)) for n in range(3)))
    _upload(live_app, ("named.jpg", astronaut_jpeg(3)), person="Eileen Collins")
    query = astronaut_again()
    (face,) = live_app.search(query, limit=10).json()["faces"]
    assert len(face["matches"]) == 4
    answer = live_app.search(query, limit=10, named="true").json()
    assert answer["cache"] == "miss"
    (face,) = answer["faces"]
    assert [match["person_name"] for match in face["matches"]] == ["Eileen Collins"]
    assert live_app.search(query, limit=10, named="true").json() | {"duration_seconds": 0} == answer | {
        "cache": "hit", "duration_seconds": 0,
    }  # fmt: skip
    (face,) = live_app.search(query, limit=10, named="false").json()["faces"]
    assert len(face["matches"]) == 4


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"limit": "0"}, 400, "parameter"),
        ({"limit": "x"}, 400, "parameter"),
        ({"threshold": "nan"}, 400, "parameter"),
        ({"threshold": "2"}, 400, "parameter"),
        ({"group_by": "photo"}, 400, "parameter"),
        ({"group_by": ""}, 400, "parameter"),
        ({"named": "yes"}, 400, "parameter"),
        ({"collection": "nowhere"}, 404, "collection_not_found"),
    ],
)
def test_wrong_parameters_are_named(web_app: App, form: dict[str, str], status: int, code: str) -> None:
    answer = web_app.search(astronaut_jpeg(), **form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_bad_photos_are_refused_with_the_right_status(live_app: App) -> None:
    for data, status, code in (
        (b"", 422, "empty_file"),
        (b"no picture", 415, "unsupported_type"),
        (astronaut_jpeg() + b"\0" * 5 * 1024**2, 413, "too_large"),
        (astronaut_jpeg()[:5000], 422, "truncated"),
    ):
        answer = live_app.search(data)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert live_app.request("POST", "/api/v1/search").json()["error"]["code"] == "photo_missing"


def test_without_a_worker_a_search_says_so_in_time(clean, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.installation import start_web

    clean.environment["FACE_SEARCH_TIMEOUT_SECONDS"] = "1"
    try:
        url, web = start_web(clean, "web-no-worker.log")
        answer = App(clean, url, web).search(astronaut_jpeg())
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "search_timeout")
        assert int(answer.headers["Retry-After"]) > 0
        clean.end(web)
    finally:
        del clean.environment["FACE_SEARCH_TIMEOUT_SECONDS"]


def test_many_searches_at_once_each_get_their_own_answer(live_app: App) -> None:
    _upload(live_app, ("a.jpg", astronaut_jpeg()))
    queries = [astronaut_jpeg(100 + n) if n % 2 else no_face() + bytes([n]) for n in range(12)]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(live_app.search, queries))
    for number, answer in enumerate(answers):
        assert answer.status_code == 200
        assert len(answer.json()["faces"]) == number % 2
