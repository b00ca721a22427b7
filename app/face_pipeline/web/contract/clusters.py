"""The calls of groups of unknown faces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.models import Scope
from face_pipeline.store.persons import NAME_MAX
from face_pipeline.web.contract.answers import Answer, Box, Count, Id, Landmarks, Person, Share, Time
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import COLLECTION_OR_EMPTY, AsWhole, Body, Request, Text

MIN_FACES_MOST = 1_000_000


class _Page(Request):
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class ClustersQuery(_Page):
    collection: Text = Field(
        "", json_schema_extra={"pattern": COLLECTION_OR_EMPTY}, description="Only this collection."
    )
    hidden: Literal["false", "true", "all"] = Field(
        "false", description="Those that are not hidden, those that are, or all."
    )
    min_faces: Annotated[int, AsWhole] = Field(
        2, ge=1, le=MIN_FACES_MOST, description="Only those with so many faces and more."
    )


class ClusterFacesQuery(_Page):
    pass


class HideCluster(Body):
    hidden: bool = Field(description="true: the group stays out of the list, however it grows.")


class NameCluster(Body):
    """One of the two."""

    name: str | SkipJsonSchema[None] = Field(
        None,
        json_schema_extra={"maxLength": NAME_MAX},
        description="Of the person, who is made if the collection has nobody of that name.",
    )
    person_id: Id | SkipJsonSchema[None] = Field(None, description="A person of the collection.")

    @model_validator(mode="after")
    def _one(self) -> NameCluster:
        if (self.name is None) == (self.person_id is None):
            raise ValueError("send either name or person_id")
        return self


class _Cluster(Answer):
    id: Id
    collection: str
    face_count: Annotated[int, Field(ge=1, description="Unknown faces that are in it now.")]
    hidden: bool
    created_at: Time | None
    updated_at: Time | None


class ClusterItem(_Cluster):
    """A group of unknown faces that look like one person."""

    faces: list[Id] = Field(description="The best of them, for pictures: GET /faces/{id}/crop.")


class Clusters(Answer):
    clusters: list[ClusterItem]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


class ClusterFace(Answer):
    id: Id
    photo_id: Id
    bbox: Box
    landmarks: Landmarks
    detection_score: Share
    quality: Share


class Cluster(_Cluster):
    """A group of unknown faces, with a page of them, best first."""

    faces: list[ClusterFace]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page of faces.")


class ClusterNamed(Answer):
    person: Person
    face_count: Count = Field(description="Faces of the group that are theirs now.")


CALLS = (
    Call(
        "get", "/api/v1/clusters", "list_clusters", "Groups of unknown faces, largest first",
        {200: Reply("A page.", Clusters)},
        "Unknown faces that look like one person are in a group; new photos are looked at every minute. A "
        "group keeps its id while it grows; of two that turn out to be one person the larger one stays.",
        scope=Scope.READ,
        query=(ClustersQuery,),
        errors=(400, 503),
    ),
    Call(
        "get", "/api/v1/clusters/{cluster_id}", "get_cluster", "The faces of a group, best first",
        {200: Reply("The group, and a page of its faces.", Cluster)},
        scope=Scope.READ,
        query=(ClusterFacesQuery,),
        errors=(400, 404, 503),
    ),
    Call(
        "patch", "/api/v1/clusters/{cluster_id}", "hide_cluster", "Hide a group, or show it again",
        {200: Reply("The group as it is now.", ClusterItem)},
        scope=Scope.ENROL,
        body=HideCluster,
        errors=(400, 404, 413, 503),
    ),
    Call(
        "post", "/api/v1/clusters/{cluster_id}/name", "name_cluster", "Say who a group is",
        {200: Reply("All its faces are theirs.", ClusterNamed)},
        "All at once, or none. Sending it again changes nothing.",
        scope=Scope.ENROL,
        body=NameCluster,
        errors=(400, 404, 409, 413, 503),
        words={409: "Others gave its faces other names meanwhile (cluster_changed)."},
    ),
)  # fmt: skip

CODES: Codes = {404: ("cluster_not_found", "person_not_found"), 409: ("cluster_changed",)}
