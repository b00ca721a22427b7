"""Requests that come again: a double click, or a retry after a connection was cut, is answered and not done.

Every POST that makes or changes something takes the header Idempotency-Key; no view knows of it. Source:
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from flask import Response, current_app, g, make_response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_input_stream

from face_pipeline.broker.exchange import ClientGone
from face_pipeline.errors import BadRequest, Conflict, FacePipelineError
from face_pipeline.parts import Parts
from face_pipeline.store import idempotency
from face_pipeline.store.idempotency import Answer, Held
from face_pipeline.web.contract.idempotency import HEADER, KEY, REPLAYED, SECRET, takes_key
from face_pipeline.web.current import parts

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# Of an answer that is given again.
HEADERS = ("Content-Type", "ETag", "Location")
# A body that is no form is held in memory while it is read; calls have smaller bounds of their own.
BODY_MAX_BYTES = 32 * 1024**2
HASHED_AT_ONCE = 1024 * 1024
# A request that hangs holds its key no longer.
LONGEST_SECONDS = 600.0


def once(view: Callable[P, R]) -> Callable[P, R]:
    """The view, which a request with a key that was answered already does not reach."""

    @wraps(view)
    def answered(*args: P.args, **kwargs: P.kwargs) -> R:
        if HEADER not in request.headers or not takes_key(request.method, _path()):
            return view(*args, **kwargs)
        return cast(R, _answer(lambda: view(*args, **kwargs)))

    return answered


def _path() -> str:
    """The call's path as the contract writes it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(request.url_rule))


def _answer(view: Callable[[], Any]) -> Response:
    key = request.headers[HEADER]
    if not re.fullmatch(KEY, key):
        raise BadRequest(
            f"{HEADER} must be 1 to 255 visible ASCII characters; a UUID is a good one",
            code="idempotency_key",
        )
    key_id: uuid.UUID = g.api_key.id
    fingerprint = _fingerprint()
    used = parts()
    found = used.database.in_statements(
        lambda connection: idempotency.begin(connection, key_id, key, fingerprint)
    )
    if isinstance(found, Answer):
        return _again(found)
    kept = False
    try:
        with _renewed(used, found):
            response, error = _made(view)
            if response is not None:
                kept = _keep(used, found, response)
    finally:
        if not kept:
            _give_up(used, found)
    if error is not None:
        raise error
    assert response is not None
    return response


def _made(view: Callable[[], Any]) -> tuple[Response | None, Exception | None]:
    """The answer, and the error that it comes of; no answer where it is none to keep."""
    try:
        return make_response(view()), None
    except (FacePipelineError, HTTPException) as error:
        status = error.status if isinstance(error, FacePipelineError) else error.code
        if (status or 500) >= ClientGone.status:
            return None, error
        # As the client gets it; the error goes on to those who wait for it.
        return make_response(current_app.handle_user_exception(error)), error


def _keep(used: Parts, held: Held, response: Response) -> bool:
    """Keep the answer; False where it is one of those after which the request may be sent again."""
    if response.status_code >= 500 or "Retry-After" in response.headers:
        return False
    headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
    body = response.get_data(as_text=True)
    answer = Answer(response.status_code, headers, body)
    if response.status_code < 400 and _path() in SECRET:
        answer = Answer(response.status_code, headers, None, json.loads(body).get("id"))
    try:
        used.database.in_statements(lambda connection: idempotency.keep(connection, held, answer))
    except FacePipelineError as error:
        # It was done all the same: this client gets its answer, and one who asks again has to wait.
        log.warning("an answer is not kept: %s", error.message, extra={"reason_code": error.code})
    return True


def _give_up(used: Parts, held: Held) -> None:
    with suppress(FacePipelineError):
        used.database.in_statements(lambda connection: idempotency.give_up(connection, held))


def _again(answer: Answer) -> Response:
    if answer.body is None:
        raise Conflict(
            f"this request was done, and answered with {answer.status}; the answer is not kept, because it "
            "held a secret or told of what was erased since. Read what there is now, and rotate a secret "
            "that never reached you",
            code="idempotency_not_kept",
            details={"status": answer.status, "id": answer.made},
        )
    response = make_response(answer.body, answer.status)
    response.headers.update(answer.headers)
    response.headers[REPLAYED] = "true"
    return response


@contextmanager
def _renewed(used: Parts, held: Held) -> Iterator[None]:
    """Keep the key for as long as this lasts, also where that is longer than a lease."""
    ended = threading.Event()
    end = time.monotonic() + LONGEST_SECONDS

    def renew() -> None:
        while not ended.wait(idempotency.LEASE_SECONDS / 3) and time.monotonic() < end:
            with suppress(FacePipelineError):
                used.database.in_statements(lambda connection: idempotency.renew(connection, held))

    threading.Thread(target=renew, name="idempotency", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _fingerprint() -> str:
    """What is equal for a request that is sent again: SHA-256 of its call and of all that it says.

    A form is compared by its fields and files, since each sending has a boundary of its own.
    """
    told: list[Any] = [request.method, request.path, sorted(request.args.items(multi=True))]
    if request.mimetype == "multipart/form-data":
        told += [
            sorted(request.form.items(multi=True)),
            [
                (field, file.filename, _hash(file.stream))
                for field, file in request.files.items(multi=True)
                if file.filename is not None
            ],
        ]
    else:
        body = get_input_stream(request.environ, max_content_length=BODY_MAX_BYTES).read()
        # For the view, with bounds of its own.
        request.environ["wsgi.input"] = io.BytesIO(body)
        told.append(hashlib.sha256(body).hexdigest())
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _hash(stream: Any) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(HASHED_AT_ONCE):
        digest.update(chunk)
    stream.seek(0)
    return digest.hexdigest()
