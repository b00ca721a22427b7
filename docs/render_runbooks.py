"""Make the pages that an installation shows at /runbooks/: render_runbooks.py [SOURCE [TARGET]].

They are kept in git, as openapi.json is: no host and no controller needs a Markdown library, and nginx shows
them while everything else is down. After a change of docs/runbooks/*.md:

    .venv/bin/python docs/render_runbooks.py
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

SOURCE = Path(__file__).parent / "runbooks"
INDEX = "README"
# As the pages have it (web/ui/templates/ui/_logo.html).
LOGO = (
    '<svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">'
    '<path d="M4 11V6.5A2.5 2.5 0 0 1 6.5 4H11M21 4h4.5A2.5 2.5 0 0 1 28 6.5V11M28 21v4.5a2.5 2.5 0 0 '
    '1-2.5 2.5H21M11 28H6.5A2.5 2.5 0 0 1 4 25.5V21"/><circle cx="16" cy="13" r="4"/>'
    '<path d="M9 23.5c1-3.8 3.7-5.5 7-5.5s6 1.7 7 5.5"/></svg>'
)
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Face Pipeline</title>
<link rel="stylesheet" href="runbooks.css">
<a class="skip" href="#text">Skip to the text</a>
<header>
<nav aria-label="Where you are"><a class="brand" href="/">{logo}Face Pipeline</a>\
<span aria-hidden="true">/</span><a href="./">Runbooks</a>{here}</nav>
</header>
<main id="text">
{body}</main>
</html>
"""


def slug(text: str) -> str:
    """The anchor of a heading, as forges make it."""
    return re.sub(r"[^\w -]", "", text.lower()).strip().replace(" ", "-")


def address(link: str) -> str:
    """Where a link of a runbook leads among the pages."""
    page, mark, anchor = link.partition("#")
    if not re.fullmatch(r"\w+\.md", page):
        return link
    name = page.removesuffix(".md")
    return ("./" if name == INDEX else f"{name}.html") + mark + anchor


def _prepare(tokens: list[Token]) -> None:
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", slug(tokens[number + 1].content))
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("href", address(str(child.attrGet("href"))))


def _severities(body: str) -> str:
    """Behind the name of an alert in the index stands how grave it is."""
    return re.sub(
        r"(<li><a [^>]*>\w+</a>) \((critical|warning|none)\): ",
        r'\1 <span class="severity \2">\2</span><br>',
        body,
    )


def _sections(body: str) -> str:
    """Each heading with what follows it is a part of its own, named by it."""
    start, *parts = re.split(r'(?=<h2 id=")', body)
    named = (f'<section aria-labelledby="{part.split(chr(34), 2)[1]}">\n{part}</section>\n' for part in parts)
    return start + "".join(named)


def severities_of(index: str) -> dict[str, str]:
    """How grave each alert is, by its name, as the index says it."""
    return dict(re.findall(r"\[(\w+)\]\(\w+\.md\) \((critical|warning|none)\)", index))


def render(name: str, text: str, severity: str | None = None) -> str:
    """The page of a runbook. Markup in its text is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False})
    tokens = markdown.parse(text)
    _prepare(tokens)
    title = next(line for line in text.splitlines() if line.startswith("# ")).removeprefix("# ")
    here = "" if name == INDEX else f'<span aria-hidden="true">/</span><span>{html.escape(title)}</span>'
    body = markdown.renderer.render(tokens, markdown.options, {})
    # Long lines scroll within; whoever has no mouse gets there by Tab.
    body = body.replace("<pre>", '<pre tabindex="0">')
    if severity is not None:
        body = body.replace("</h1>", f'</h1>\n<p><span class="severity {severity}">{severity}</span></p>', 1)
    return PAGE.format(title=html.escape(title), logo=LOGO, here=here, body=_sections(_severities(body)))


def main(source: Path, target: Path) -> None:
    index = source / f"{INDEX}.md"
    severities = severities_of(index.read_text(encoding="utf-8")) if index.is_file() else {}
    for page in sorted(source.glob("*.md")):
        name = "index" if page.stem == INDEX else page.stem
        text = render(page.stem, page.read_text(encoding="utf-8"), severities.get(page.stem))
        (target / f"{name}.html").write_text(text, encoding="utf-8")
    there = {"index" if page.stem == INDEX else page.stem for page in source.glob("*.md")}
    for old in target.glob("*.html"):
        if old.stem not in there:
            old.unlink()


if __name__ == "__main__":
    given = [Path(each) for each in sys.argv[1:]]
    source = given[0] if given else SOURCE
    main(source, given[1] if len(given) > 1 else source / "pages")
