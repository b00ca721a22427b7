"""What a host that keeps copies of originals answers web hosts. It knows no database, and needs none.

    PUT    /copies/SHA256          201 {"name"}: the bytes of the request survive a power cut;
                                   409: removed meanwhile
    GET    /copies/SHA256          200, or 404 where there is no such copy, or only a damaged one
    GET    /copies?prefix=ab       {"names": {"SHA256": AGE}}: ages in seconds
    GET    /copies/doubtful        {"names": [...]}: arrived perhaps after their removal
    POST   /copies/check           {"names": [...]} -> {"faults": {"SHA256": "missing" or "damaged"}}
    POST   /copies/remove          {"names": [...]} -> {"removed": NUMBER}
    POST   /copies/aside           {"names": [...], "mark": MARK} -> {"aside": NUMBER}; of web hosts, as are
    POST   /copies/back            the same -> {"back": NUMBER}: a row names them after all
    POST   /copies/drop            {"names": [...]} -> {"removed": NUMBER}: none does, whoever put them aside
    GET    /health                 {"status": "ok"}, for whoever asks

A web host beside others answers, too: it takes uploads itself, and another one that erases a photo only puts
the file aside here, looks once more whether a row names it, and then says what becomes of it.

Who puts or removes says when it began (`store.copies.MOMENT_HEADER`). Of a copy that arrived late nobody here
can always tell whether its photo was erased meanwhile, and whoever sent it may have given up: a web host asks
for such names, and removes what no row names. All but the last want the token. Errors are
{"error": {"code", "message"}}: 400, 401, 404, 409, 413, 422, 507.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from face_pipeline.config import get_settings
from face_pipeline.copies.removals import Removals, Since
from face_pipeline.errors import (
    BadRequest,
    ConfigurationError,
    Conflict,
    FacePipelineError,
    Unauthorized,
    Unprocessable,
)
from face_pipeline.parts import Parts
from face_pipeline.store.copies import MOMENT_HEADER, Moment
from face_pipeline.store.models import OriginalFault
from face_pipeline.store.originals import OriginalDamaged, OriginalMissing, Originals

log = logging.getLogger(__name__)

NAME = re.compile(r"[0-9a-f]{64}")
PREFIX = re.compile(r"[0-9a-f]{2}")
MARK = re.compile(r"[0-9a-f]{32}")
# Of one request.
NAMES_MOST = 1000


class _Asked:
    """Answers of one process; `is_web`: this host takes uploads, too."""

    def __init__(self, originals: Originals, tokens: tuple[str, ...], *, is_web: bool) -> None:
        self._originals = originals
        self._is_web = is_web
        self._tokens = [token.encode() for token in tokens]
        self._removals = Removals()

    def check_token(self) -> None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.encode("latin-1", "replace") if kind == "Bearer" else b""
        known = sum(hmac.compare_digest(given, each) for each in self._tokens)
        if not known and request.path != "/health":
            raise Unauthorized("the token is missing or is not that of this installation")

    def put(self, name: str) -> tuple[Response, int]:
        data = request.get_data(cache=False)
        if hashlib.sha256(data).hexdigest() != _checked(name):
            raise Unprocessable("these are not the bytes of that name; send them again")
        began = _began()
        if began:
            self._removals.forget(name, began)
        self._originals.write({name: data})
        # A removal notes itself first: either it finds the file, or it is found here.
        if began and self._removals.since(name, began, lambda: self._undo(name)) is Since.REMOVED:
            raise Conflict("it was removed after you began to send it")
        return jsonify(name=name), 201

    def _undo(self, name: str) -> bool:
        # On a web host an upload to it may need the file: whoever knows the rows looks.
        if self._is_web:
            return False
        self._originals.remove([name], lambda _: ())
        return True

    def get(self, name: str) -> Response:
        return Response(self._originals.read(_checked(name)), mimetype="application/octet-stream")

    def names(self) -> Response:
        prefix = request.args.get("prefix", "")
        if not PREFIX.fullmatch(prefix):
            raise BadRequest("prefix has to be two hexadecimal digits")
        return jsonify(names=self._originals.names(prefix))

    def doubtful(self) -> Response:
        return jsonify(names=self._removals.doubtful())

    def check(self) -> Response:
        faults = {}
        for name in _names():
            try:
                self._originals.check(name)
            except OriginalDamaged:
                faults[name] = OriginalFault.DAMAGED
            except OriginalMissing:
                faults[name] = OriginalFault.MISSING
        return jsonify(faults=faults)

    def remove(self) -> Response:
        names = _names()
        if began := _began():
            self._removals.note(names, began)
        return jsonify(removed=self._originals.remove(names, lambda _: ()).removed)

    def put_aside(self) -> Response:
        names, mark = _names(), _mark()
        if began := _began():
            self._removals.note(names, began)
        return jsonify(aside=self._originals.put_aside(names, mark))

    def put_back(self) -> Response:
        return jsonify(back=self._originals.put_back(_names(), _mark()))

    def drop(self) -> Response:
        return jsonify(removed=self._originals.drop(_names()))


def create_app() -> Flask:
    """Make the application of one process, from its settings.

    Raises ConfigurationError, also for a directory that cannot be written to.
    """
    parts = Parts(get_settings())
    settings = parts.settings
    if not parts.disk.writable():
        raise ConfigurationError(
            f"configuration: FACE_ORIGINALS_DIR: {settings.originals_dir} is not writable; run"
            " ./face-ansible site.yml, which makes it"
        )
    is_web = bool(settings.copies_own_url)
    asked = _Asked(parts.disk, settings.credentials("copies_token"), is_web=is_web)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.upload_max_bytes
    app.before_request(asked.check_token)
    app.add_url_rule("/health", view_func=lambda: jsonify(status="ok"), endpoint="health")
    app.add_url_rule("/copies/<name>", view_func=asked.put, methods=["PUT"])
    app.add_url_rule("/copies/<name>", view_func=asked.get)
    app.add_url_rule("/copies", view_func=asked.names)
    app.add_url_rule("/copies/doubtful", view_func=asked.doubtful)
    app.add_url_rule("/copies/check", view_func=asked.check, methods=["POST"])
    if is_web:
        app.add_url_rule("/copies/aside", view_func=asked.put_aside, methods=["POST"])
        app.add_url_rule("/copies/back", view_func=asked.put_back, methods=["POST"])
        app.add_url_rule("/copies/drop", view_func=asked.drop, methods=["POST"])
    else:
        app.add_url_rule("/copies/remove", view_func=asked.remove, methods=["POST"])
    app.register_error_handler(FacePipelineError, _expected)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)
    return app


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise BadRequest("a name has to be a SHA-256 in hexadecimal digits")
    return name


def _began() -> Moment | None:
    return Moment.read(request.headers.get(MOMENT_HEADER, ""))


def _names() -> list[str]:
    told: Any = request.get_json()
    names = told.get("names") if isinstance(told, dict) else None
    if not isinstance(names, list) or len(names) > NAMES_MOST:
        raise BadRequest(f'the body has to be {{"names": [...]}}, with {NAMES_MOST} names at most')
    return [_checked(str(name)) for name in names]


def _mark() -> str:
    mark = str(request.get_json().get("mark", ""))
    if not MARK.fullmatch(mark):
        raise BadRequest("mark has to be 32 hexadecimal digits")
    return mark


def _answer(status: int, code: str, message: str) -> tuple[Response, int]:
    return jsonify(error={"code": code, "message": message}), status


def _expected(error: FacePipelineError) -> tuple[Response, int]:
    if error.status >= 500 or isinstance(error, OriginalDamaged):
        log.error("%s", error, extra={"operation": "copies", "reason_code": error.code})
    return _answer(error.status, error.code, error.message)


def _http(error: HTTPException) -> tuple[Response, int]:
    return _answer(error.code or 500, error.name.lower().replace(" ", "_"), error.description or error.name)


def _unexpected(_: Exception) -> tuple[Response, int]:
    log.exception("a request failed", extra={"operation": "copies"})
    return _answer(500, "internal_error", "something went wrong; the log of face-copies on this host has it")
