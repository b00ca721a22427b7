"""The runbooks as pages: made of the texts, served by the role's own nginx, without a dead link."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import pytest
import requests

from tests.photos import ROOT
from tests.services import Nginx

RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = RUNBOOKS / "pages"
RENDER = ROOT / "docs" / "render_runbooks.py"
TEMPLATE = ROOT / "roles/nginx/templates/face-pipeline.conf.j2"
SITE = """
events {{}}
http {{
    server {{
        listen 127.0.0.1:{{port}};
        {locations}
    }}
}}
"""


class Page(HTMLParser):
    """What a page links to, the anchors it has, and what may not be in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[name] or "" for name in ("href", "src") if name in given]
        self.anchors |= {given["id"] or ""} if "id" in given else set()
        if tag in ("script", "style") or "style" in given or any(name.startswith("on") for name in given):
            self.inline.append(tag)


def render(source: Path, target: Path) -> None:
    subprocess.run([sys.executable, str(RENDER), str(source), str(target)], check=True)


def names() -> list[str]:
    return sorted(page.stem for page in RUNBOOKS.glob("*.md"))


def test_the_pages_are_those_of_the_texts(tmp_path: Path) -> None:
    render(RUNBOOKS, tmp_path)
    made = {page.name: page.read_text() for page in tmp_path.glob("*.html")}
    kept = {page.name: page.read_text() for page in PAGES.glob("*.html")}
    assert made == kept, f"run: python {RENDER.relative_to(ROOT)}"
    assert len(made) == len(names())


def test_a_page_of_a_text_that_is_gone_goes_and_markup_is_shown_as_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Runbooks\n\n- [One](One.md) (critical): a & b <img src=x>\n")
    (tmp_path / "Old.html").write_text("old")
    render(tmp_path, tmp_path)
    assert sorted(page.name for page in tmp_path.glob("*.html")) == ["index.html"]
    text = (tmp_path / "index.html").read_text()
    assert '<a href="One.html">One</a> <span class="severity critical">critical</span>' in text
    assert "&lt;img src=x&gt;" in text


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The runbooks as the role's nginx serves them."""
    found = re.findall(
        r"^    location (?:~ \^)?/runbooks/.*?^    \}", TEMPLATE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(found) == 2
    locations = "\n".join(found).replace("{{ nginx_runbooks }}", "{directory}/runbooks")
    nginx = Nginx(SITE.format(locations=re.sub(r"\{\{.*?\}\}", "", locations)))
    try:
        shutil.copytree(PAGES, nginx.directory / "runbooks" / "pages")
        for path in (nginx.directory / "runbooks").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (nginx.directory / "runbooks").chmod(0o755)
        nginx.start()
        yield f"http://127.0.0.1:{nginx.port}/runbooks/"
    finally:
        nginx.close()


def test_the_address_that_an_alert_names_leads_to_its_page(served: str) -> None:
    for name in names():
        answer = requests.get(f"{served}{name}.md", timeout=30)
        assert answer.status_code == 200, name
        if name == "README":
            assert answer.url == served
        else:
            assert answer.url == f"{served}{name}.html"
            assert f"<title>{name} · Face Pipeline</title>" in answer.text
    # Relative, so that it stays with the port and the name that the reader came by.
    first = requests.get(f"{served}README.md", timeout=30, allow_redirects=False)
    assert first.headers["Location"] == "/runbooks/"


def test_every_link_of_every_page_is_answered_and_its_anchor_is_there(served: str) -> None:
    pages: dict[str, Page] = {}

    def page(url: str) -> Page | None:
        if url not in pages:
            answer = requests.get(url, timeout=30)
            if answer.status_code != 200:
                return None
            pages[url] = Page(answer.text if "html" in answer.headers["Content-Type"] else "")
        return pages[url]

    dead = []
    for name in names():
        url = served if name == "README" else f"{served}{name}.html"
        this = page(url)
        assert this is not None, url
        for link in this.links:
            if link == "/":
                continue
            target, anchor = urldefrag(urljoin(url, link))
            there = page(target)
            if there is None or (anchor and anchor not in there.anchors) or "/runbooks/" not in target:
                dead.append(f"{name}: {link}")
    assert dead == []


def test_a_page_runs_and_styles_nothing_inline_and_its_policy_lets_its_style_in(served: str) -> None:
    answer = requests.get(f"{served}Watchdog.html", timeout=30)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "style-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert not any("unsafe" in each for each in policy)
    for name in names():
        text = (PAGES / f"{'index' if name == 'README' else name}.html").read_text()
        assert Page(text).inline == [], name
    style = requests.get(f"{served}runbooks.css", timeout=30)
    assert (style.status_code, style.headers["Content-Type"]) == (200, "text/css")
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_nothing_but_the_pages_is_served(served: str) -> None:
    for path in ("None.html", "../README.md", "pages/", "%2e%2e/README.md"):
        session = requests.Session()
        request = requests.Request("GET", served + path).prepare()
        request.url = served + path
        assert session.send(request, timeout=30).status_code in (400, 404), path
