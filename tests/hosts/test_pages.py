"""The pages on an installed host, as nginx gives them, and other programs' pages behind the same sign-in."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest
import requests
from face_pipeline.web.ui.pages import PAGES

from tests.hosts.test_host import SUMMARY, Host, wait

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(not SUMMARY, reason="needs an installed host (FACE_HOST_SUMMARY, see ./quickstart)"),
]

# What a browser fetches before it shows a page, as it goes over the line.
FIRST_PAINT = 100 * 1024
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def session(host: Host) -> requests.Session:
    """Somebody who signed in with the admin's key."""
    session = requests.Session()
    # The authority of the host, whatever the environment names.
    session.trust_env = False
    session.verify = host.ca
    session.headers.update(BROWSER)
    answer = session.post(f"{host.url}/session", json={"api_key": host.key}, timeout=300)
    assert answer.status_code == 200, answer.text
    return session


def page_of(session: requests.Session, address: str) -> requests.Response:
    return session.get(address, timeout=300)


def size(session: requests.Session, address: str) -> int:
    """Bytes of the answer's body as they come."""
    with session.get(address, timeout=300, stream=True) as answer:
        assert answer.status_code == 200, address
        return len(answer.raw.read(decode_content=False))


def addresses(text: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, text))


def test_every_page_comes_compressed_and_its_first_paint_is_small(
    host: Host, session: requests.Session
) -> None:
    for page in PAGES:
        answer = page_of(session, host.url + page.path)
        assert answer.status_code == 200, page.path
        assert answer.headers["Content-Encoding"] == "gzip", page.path
        assert "no-store" in answer.headers["Cache-Control"], page.path
        files = addresses(answer.text, r'(?:src|href)="(/static/[^"#]+)')
        assert len(files) > 5, page.path
        together = sum(size(session, host.url + each) for each in (page.path, *sorted(files)))
        assert together < FIRST_PAINT, f"{page.path}: {together} bytes in {len(files) + 1} answers"


def test_the_doors_lead_to_the_programs_that_are_installed(host: Host, session: requests.Session) -> None:
    first = page_of(session, f"{host.url}/").text
    (doors,) = re.findall(r'<ul class="further doors".*?</ul>', first, re.DOTALL)
    paths = addresses(doors, r'<a href="([^"]+)"')
    assert {"/prometheus/", "/alertmanager/", "/flower/"} <= paths
    for path in sorted(paths):
        answer = page_of(session, host.url + path)
        assert answer.status_code == 200, path
        assert "text/html" in answer.headers["Content-Type"], path
    # Debian's Alertmanager has no page of its own: its alerts stand on the first one.
    assert page_of(session, f"{host.url}/alertmanager/").url == f"{host.url}/"


def test_who_has_to_sign_in_first_comes_back_to_what_they_asked_for(host: Host) -> None:
    answer = requests.get(
        f"{host.url}/prometheus/query?g0.expr=up", headers=BROWSER, verify=host.ca, timeout=300
    )
    assert answer.status_code == 200
    assert "/sign-in?next=/prometheus/query" in answer.url
    assert 'data-next="/prometheus/query?g0.expr=up"' in answer.text
    program = requests.get(f"{host.url}/prometheus/api/v1/query", verify=host.ca, timeout=300)
    assert program.status_code == 401
    assert program.json()["error"]["code"] == "unauthorized"


def test_the_overview_sees_prometheus_and_draws(host: Host) -> None:
    def numbers() -> bool:
        charts = host.call("GET", "/api/v1/overview/charts?span=15m").json()
        assert charts["observation"]["state"] == "on", charts["observation"]
        last = {
            f"{chart['name']}.{series['name']}": [value for _, value in series["points"] if value is not None]
            for chart in charts["charts"]
            for series in chart["series"]
        }
        wanted = ("photos.done", "backlog.waiting", "cores.used", "memory.used")
        return all(last.get(each) for each in wanted)

    wait(numbers, 120, "points of photos, backlog, cores and memory")
    overview = host.call("GET", "/api/v1/overview").json()
    assert overview["observation"] == {"state": "on", "message": None}
    assert overview["workers"]["wanted"] is not None
    assert overview["numbers"]["photos"] > 0


def test_a_silence_reaches_the_alertmanager_and_ends(host: Host) -> None:
    wanted = {"alert": "NobodyHasThisAlert", "minutes": 5, "comment": "a test"}
    made = host.call("POST", "/api/v1/overview/silences", json=wanted)
    assert made.status_code == 201, made.text
    where = f"/alertmanager/api/v2/silence/{made.json()['id']}"
    there = host.call("GET", where).json()
    assert there["comment"] == "a test"
    assert there["matchers"][0]["value"] == "NobodyHasThisAlert"
    assert there["status"]["state"] == "active"
    ended = host.call("DELETE", f"/api/v1/overview/silences/{made.json()['id']}")
    assert ended.status_code == 204, ended.text
    assert host.call("GET", where).json()["status"]["state"] == "expired"


def test_the_doctor_finds_the_host_well_from_within_the_service(host: Host) -> None:
    told = host.call("GET", "/api/v1/system/doctor").json()
    bad = [each for each in told["findings"] if each["state"] not in ("ok", "skipped", "warn")]
    assert bad == []
    seen = {each["check"] for each in told["findings"] if each["state"] == "ok"}
    assert len(seen) > 5, told


def test_runbooks_are_pages_and_their_links_lead_somewhere(host: Host) -> None:
    address = f"{host.url}/runbooks/"
    index = requests.get(address, verify=host.ca, timeout=300)
    assert index.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in index.headers["Content-Security-Policy"]
    links = addresses(index.text, r'(?:src|href)="([^"#]+)')
    assert len(links) > 20
    for link in sorted(links):
        answer = requests.get(urljoin(address, link), verify=host.ca, timeout=300)
        assert answer.status_code == 200, link
        assert "X-Content-Type-Options" in answer.headers, link
