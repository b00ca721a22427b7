"""Requests that nobody thought of, made by schemathesis from openapi.json, before the running service.

Each answer must be one that the document names, in its shape; no request may end in an error of the server.
The same requests come in every run, and others in each of `./check campaign`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from schemathesis.config import (
    ChecksConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)
from schemathesis.transport.serialization import Binary

from tests.app.test_contract import DOCUMENT
from tests.app.test_telemetry import environment
from tests.installation import CAMPAIGN, App, Installation, start_web
from tests.photos import astronaut_jpeg, no_face

# Hypothesis takes values from the source files that are loaded: each edit of one, and each other test in the
# process, would ask something else.
providers._get_local_constants = lambda: providers._local_constants

# Of each call; there are many of them.
EXAMPLES = 12 * CAMPAIGN
# Beyond what the library takes for "accepted": some of the files are no photos.
ACCEPTED = ["2xx", "401", "403", "404", "409", "415", "422"]

# Parameters and keys whose rules have errors of their own.
OF_RULES = {
    "cursor",
    "after",
    "person",
    "name",
    "external_id",
    "metadata",
    "url",
    "embeddings",
    "since",
    "until",
    "expires_at",
}
# A face or an embedding, of verify one thing of two with one of three, one of several fields at least.
EITHER = {
    ("/api/v1/collections/{collection}/retention", "application/json"),
    ("/api/v1/overview/silences", "application/json"),
    ("/api/v1/photos/retry", "application/json"),
    ("/api/v1/clusters/{cluster_id}/name", "application/json"),
    ("/api/v1/search", "application/json"),
    ("/api/v1/verify", "application/json"),
    ("/api/v1/verify", "multipart/form-data"),
}

FILES = [no_face(), astronaut_jpeg(), no_face()[:300], b"", b"no photo"]
schemathesis.openapi.format("binary", st.sampled_from(FILES).map(Binary))


def _with_files(node: Any) -> Any:
    """The document with its files marked as schemathesis knows them."""
    if isinstance(node, list):
        return [_with_files(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "contentMediaType" in node:
        return {"type": "string", "format": "binary"}
    return {name: _with_files(each) for name, each in node.items()}


api = schemathesis.openapi.from_dict(
    _with_files(DOCUMENT),
    config=SchemathesisConfig(
        projects=ProjectsConfig(
            default=ProjectConfig(
                checks=ChecksConfig(
                    positive_data_acceptance=PositiveDataAcceptanceConfig(expected_statuses=ACCEPTED)
                )
            )
        )
    ),
)


@pytest.fixture(scope="module")
def fuzzed(installation: Installation) -> Iterator[App]:
    # What the document says that an installation takes.
    with environment(installation, FACE_UPLOAD_MAX_PHOTOS="100", FACE_LIMIT_FAILED_SIGN_INS_PER_MINUTE="0"):
        app = App(installation, *start_web(installation, "fuzzed.log"))
        app.start_worker(9)
    yield app
    installation.end(app.workers[9])
    installation.end(app.web)


@api.parametrize()
@settings(
    max_examples=EXAMPLES, derandomize=CAMPAIGN == 1, print_blob=True, deadline=None, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_every_answer_is_one_that_the_document_names(case: Any, fuzzed: App) -> None:
    case.call_and_validate(
        base_url=fuzzed.url,
        headers={"Authorization": f"Bearer {fuzzed.api_key}"},
        timeout=60,
        excluded_checks=[
            *[positive_data_acceptance] * _has_rules_of_its_own(case),
            *[unsupported_method, allow_header_conformance] * _is_an_id_too(case.operation.path),
            # Each line that is no record is told in the answer, with its number.
            *[negative_data_rejection] * case.operation.path.endswith("/import"),
        ],
    )


def _is_an_id_too(path: str) -> bool:
    """Whether another method finds the last word in the place of an id, as `assign` of /faces/{face_id}."""
    parent, _, last = path.rpartition("/")
    siblings = (each.rpartition("/") for each in DOCUMENT["paths"])
    return not last.startswith("{") and any(
        above == parent and word.startswith("{") for above, _, word in siblings
    )


def _has_rules_of_its_own(case: Any) -> bool:
    """Whether it holds a value that no pattern tells good from bad: a cursor, a name, an embedding;
    or one thing of several that no call takes together."""
    body = case.body if isinstance(case.body, dict) else {}
    either = (case.operation.path, case.media_type) in EITHER
    return either or bool(OF_RULES & {*(case.query or {}), *body})
