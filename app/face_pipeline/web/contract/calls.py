"""The calls there are, of all subjects: one entry for each method of each address that programs use."""

from __future__ import annotations

from types import ModuleType

from face_pipeline.store.models import Scope
from face_pipeline.web.contract import (
    answers,
    audit,
    batches,
    clusters,
    collections,
    embeddings,
    enrolment,
    erasure,
    events,
    faces,
    failures,
    hooks,
    idempotency,
    jobs,
    keys,
    overview,
    persons,
    proofs,
    requests,
    search,
    sessions,
    several,
    system,
    trails,
    transfer,
    upkeep,
    verification,
)
from face_pipeline.web.contract.call import PICTURE, Call, Codes, Reply

# Modules of this package with CALLS and CODES of their own.
SUBJECTS: tuple[ModuleType, ...] = (
    search,
    verification,
    embeddings,
    collections,
    persons,
    batches,
    enrolment,
    faces,
    idempotency,
    keys,
    sessions,
    audit,
    erasure,
    proofs,
    upkeep,
    several,
    trails,
    clusters,
    events,
    hooks,
    transfer,
    overview,
    failures,
    jobs,
    system,
)

# By the status they come with; gunicorn and nginx, which answer for the service, may have others.
_CODES: Codes = {
    400: (
        "bad_request", "parameter", "photo_missing", "photos_missing", "too_many_photos", "too_many_fields",
        "field_header_too_large", "form_malformed", "collection_name", "person_name", "api_key_missing",
        "body_malformed",
    ),
    401: ("unauthorized", "api_key_missing", "api_key_invalid", "api_key_expired"),
    403: ("forbidden", "scope_missing", "csrf_token", "collection_forbidden", "quota_exceeded"),
    404: (
        "not_found", "photo_not_found", "batch_not_found", "face_not_found", "collection_not_found",
        "original_missing", "original_damaged", "original_expired", "thumbnail_not_there",
    ),
    405: ("method_not_allowed",),
    409: ("conflict", "contract_mismatch"),
    412: ("precondition_failed",),
    413: ("request_too_large", "field_too_large", "too_large"),
    415: ("unsupported_type",),
    422: ("unprocessable", "photos_rejected", *answers.REJECTIONS),
    429: ("too_many_requests", "search_busy"),
    499: ("client_gone",),
    500: ("internal_error",),
    503: (
        "unavailable", "database_unavailable", "database_busy", "audit_unavailable", "queue_unavailable",
        "search_unavailable", "search_timeout", "search_failed", "decoding_busy", "picture_not_ready",
        "original_unavailable", "pack_unavailable", "pack_changing", "copies_away",
        "originals_away",
    ),
    507: ("disk_full", "storage_full"),
}  # fmt: skip

_CALLS = (
    Call(
        "post", "/api/v1/photos", "upload_photos", "Upload photos",
        {202: Reply("Accepted; files that cannot be used are named.", answers.Upload)},
        "An accepted photo is on disk and in the ledger when the answer comes, and is processed whatever "
        "dies afterwards.",
        scope=Scope.WRITE,
        form=(requests.PhotoFiles, requests.UploadForm),
        errors=(400, 404, 409, 413, 422, 503, 507),
    ),
    Call(
        "get", "/api/v1/photos", "list_photos", "List photos, newest first",
        {200: Reply("A page.", answers.Photos)},
        "Filters are put together: a photo fits all of them. A cursor belongs to the filters and the order "
        "that it came with.",
        scope=Scope.READ,
        query=(requests.PhotosQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "get", "/api/v1/photos/{photo_id}", "get_photo", "State and faces of a photo",
        {200: Reply("The photo.", answers.Photo)},
        scope=Scope.READ,
        errors=(404, 503),
    ),
    Call(
        "get", "/api/v1/photos/{photo_id}/image", "get_photo_image",
        "The original file, or an upright picture of it",
        {200: Reply("The bytes that were uploaded, or a JPEG.", ("image/*",))},
        "Boxes and landmarks are in pixels of the photo as `rendition=upright` shows it, at the photo's full "
        "size. Browsers cannot show some originals and turn others differently.",
        scope=Scope.READ,
        query=(requests.ImageQuery, requests.RenditionSize),
        errors=(400, 404, 422, 503),
        words=PICTURE,
    ),
    Call(
        "get", "/api/v1/photos/{photo_id}/thumbnail", "get_photo_thumbnail",
        "A small square picture with the faces on it",
        {200: Reply("A JPEG of at most 320 pixels.", ("image/jpeg",))},
        "In its middle are the faces, where they fit into the square, or else the largest one. Workers make "
        "it with the faces; for a photo of an earlier release one does when it is asked for.",
        scope=Scope.READ,
        query=(requests.PictureVersion,),
        errors=(400, 404, 422, 503),
        words=PICTURE | {404: "There is no such photo, or it is not done (thumbnail_not_there)."},
    ),
    Call(
        "get", "/api/v1/batches/{batch_id}", "get_batch", "Progress of an upload",
        {200: Reply("How far its photos are.", answers.Batch)},
        scope=Scope.READ,
        errors=(404, 503),
    ),
    Call(
        "get", "/api/v1/faces/{face_id}/crop", "get_face_crop", "Picture of a face",
        {200: Reply("A JPEG.", ("image/jpeg",))},
        scope=Scope.READ,
        query=(requests.CropQuery, requests.PictureVersion),
        errors=(400, 404, 422, 503),
        words=PICTURE,
    ),
    Call(
        "post", "/api/v1/renditions", "make_rendition", "An upright JPEG of a photo that is not kept",
        {200: Reply("A JPEG.", ("image/jpeg",))},
        "The picture that a search of the same photo looks for faces in. For pages: browsers cannot show "
        "some photos and turn others differently.",
        scope=Scope.READ,
        form=(requests.PhotoFile, requests.RenditionSize),
        errors=(400, 413, 415, 422, 503),
        words=PICTURE,
    ),
    Call(
        "post", "/session", "sign_in", "Sign the page in",
        {200: Reply("Signed in; a cookie is set.", answers.Session)},
        body=requests.SignIn,
        errors=(400, 401, 413, 429, 503),
        words={413: "A sign-in takes 64 kB."},
    ),
    Call(
        "get", "/session", "get_session", "Who is signed in to the page",
        {200: Reply("The session that the cookie stands for.", answers.Session)},
        errors=(401, 503),
        words={401: "There is no session, or its key is no longer valid."},
    ),
    Call(
        "delete", "/session", "sign_out", "Sign the page out",
        {204: Reply("Signed out; the browser is told to empty its cache of this service.")},
    ),
    Call(
        "get", "/health/live", "live", "The process answers",
        {200: Reply("It does.", answers.Live)},
    ),
    Call(
        "get", "/health/ready", "ready", "Every part it needs answers",
        {200: Reply("All do.", answers.Ready), 503: Reply("One does not.", answers.Ready)},
    ),
    Call(
        "get", "/metrics", "metrics", "Metrics for Prometheus",
        {200: Reply("Prometheus' text format.", ("text/plain", "application/openmetrics-text"))},
        "From the host itself and the monitoring hosts only.",
        query=(requests.MetricsQuery,),
        errors=(403,),
        words={403: "Asked from elsewhere."},
    ),
)  # fmt: skip

CALLS: tuple[Call, ...] = (*_CALLS, *(call for subject in SUBJECTS for call in subject.CALLS))


def _all_codes() -> Codes:
    told: dict[int, tuple[str, ...]] = {}
    for codes in (_CODES, *(subject.CODES for subject in SUBJECTS)):
        for status, some in codes.items():
            told[status] = (*told.get(status, ()), *some)
    return told


CODES: Codes = _all_codes()
