"""The pages at /docs: what openapi.json says, for people. They hold no data and need no key, nor a script."""

from __future__ import annotations

import re

from flask import Blueprint, Response, make_response, render_template, request
from markupsafe import Markup

from face_pipeline.errors import NotFound
from face_pipeline.web import ui
from face_pipeline.web.contract import examples
from face_pipeline.web.current import parts
from face_pipeline.web.docs import reading

bp = Blueprint(
    "docs", __name__, url_prefix="/docs", template_folder="templates", static_folder="static",
    static_url_path="/static",
)  # fmt: skip
bp.after_request(ui.protect)

# Of a search; no word of the document is longer.
QUERY_MAX = 200
_NAMES = "|".join(sorted((name.upper() for name in (*examples.IDS, "collection")), key=len, reverse=True))
# Where a name stands for an id that the reader has.
_PLACEHOLDER = re.compile(rf'(?<=[/"=])({_NAMES})\b')


@bp.get("", strict_slashes=False)
def index() -> Response:
    query = request.args.get("q", "")[:QUERY_MAX].strip()
    return _page(
        "docs/index.html",
        query=query,
        found=reading.search(query),
        codes=reading.codes(query) if query else {},
    )


@bp.get("/errors")
def errors() -> Response:
    return _page("docs/errors.html", codes=reading.codes())


@bp.get("/<subject>")
def calls(subject: str) -> Response:
    found = reading.subjects().get(subject)
    if found is None:
        raise NotFound("there is no page of this name; /docs lists those there are")
    return _page("docs/calls.html", subject=found[0], calls=found[1])


@bp.app_template_filter("code_words")
def code_words(text: str) -> Markup:
    """Words of the document: what stands between backticks is code."""
    return _marked("code", text.split("`"))


@bp.app_template_filter("placeholders")
def placeholders(text: str) -> Markup:
    """A command, in which the names that stand for ids are marked."""
    return _marked("var", _PLACEHOLDER.split(text))


def _marked(tag: str, pieces: list[str]) -> Markup:
    """The pieces as one text, every second one in an element."""
    element = Markup("<{0}>{1}</{0}>")
    return Markup("").join(
        element.format(tag, each) if number % 2 else each for number, each in enumerate(pieces)
    )


def _page(template: str, **values: object) -> Response:
    url = parts().settings.public_url.rstrip("/")
    response = make_response(
        render_template(
            template, subjects=reading.subjects(), info=reading.document()["info"], url=url, **values
        )
    )
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
