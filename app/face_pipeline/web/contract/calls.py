"""The calls there are: one entry for each method of each address that programs use."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import BaseModel

from face_pipeline.store.models import Scope
from face_pipeline.web.contract import answers, requests

ERRORS = {
    400: "A parameter is missing or wrong.",
    401: "No valid API key.",
    403: "The key lacks the scope.",
    404: "There is no such thing.",
    409: "The collection belongs to another engine contract.",
    413: "A file or the request is too large.",
    415: "Not a JPEG, PNG, WebP, HEIC or AVIF.",
    422: "No file can be used.",
    503: "A part is down; try again after Retry-After seconds.",
    507: "A disk is full (disk_full); nothing was kept, and sending again helps once there is room.",
}
BROKEN_PHOTO = {422: "The photo cannot be decoded."}


@dataclass(frozen=True)
class Reply:
    """A success: what it is in words, and a model of JSON or the types of other bodies; neither: no body."""

    text: str
    body: type[answers.Answer] | tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """One call. `scope`: what the key must be allowed; None: the call needs no key.

    Several models of a query or a form are taken as one.
    """

    method: str
    path: str
    operation: str
    summary: str
    replies: dict[int, Reply]
    description: str = ""
    scope: Scope | None = None
    query: tuple[type[BaseModel], ...] = ()
    form: tuple[type[BaseModel], ...] = ()
    body: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    # Other words for an error than those of ERRORS.
    words: dict[int, str] = field(default_factory=dict)


CALLS = (
    Call(
        "post", "/api/v1/photos", "upload_photos", "Upload photos",
        {202: Reply("Accepted; files that cannot be used are named.", answers.Upload)},
        "An accepted photo is on disk and in the ledger when the answer comes, and is processed whatever "
        "dies afterwards.",
        scope=Scope.WRITE,
        form=(requests.PhotoFiles, requests.UploadForm),
        errors=(400, 409, 413, 422, 503, 507),
    ),
    Call(
        "get", "/api/v1/photos", "list_photos", "List photos, newest first",
        {200: Reply("A page.", answers.Photos)},
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
        words=BROKEN_PHOTO,
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
        query=(requests.CropQuery,),
        errors=(400, 404, 422, 503),
        words=BROKEN_PHOTO,
    ),
    Call(
        "post", "/api/v1/renditions", "make_rendition", "An upright JPEG of a photo that is not kept",
        {200: Reply("A JPEG.", ("image/jpeg",))},
        "The picture that a search of the same photo looks for faces in. For pages: browsers cannot show "
        "some photos and turn others differently.",
        scope=Scope.READ,
        form=(requests.PhotoFile, requests.RenditionSize),
        errors=(400, 413, 415, 422, 503),
    ),
    Call(
        "post", "/api/v1/search", "search", "Find who is on a photo",
        {200: Reply("The faces and their matches.", answers.SearchAnswer)},
        "Answers for every face on the photo. The photo is not kept.",
        scope=Scope.READ,
        form=(requests.PhotoFile, requests.SearchForm),
        errors=(400, 404, 409, 413, 415, 422, 503),
    ),
    Call(
        "post", "/session", "sign_in", "Sign the page in",
        {204: Reply("Signed in; a cookie is set.")},
        body=requests.SignIn,
        errors=(400, 401, 413, 503),
        words={413: "A sign-in takes 64 kB."},
    ),
    Call(
        "delete", "/session", "sign_out", "Sign the page out",
        {204: Reply("Signed out.")},
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
