"""Clusters: groups of unknown faces that wait for a name."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from face_pipeline.actions import clusters as actions
from face_pipeline.store import collections
from face_pipeline.store.clusters import FacePlace, Place, Shown, Wanted
from face_pipeline.store.models import Face, Scope
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract import clusters as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("clusters", __name__)

HIDDEN = {"false": False, "true": True, "all": None}


@bp.get("/clusters")
@requires(Scope.READ)
def list_clusters() -> Response:
    query = parameters.read(contract.ClustersQuery, request.args)
    by = actor()
    collection = collections.check_name(query.collection) if query.collection else None
    after = None
    if query.cursor is not None:
        after = Place(*cursors.read(query.cursor, cursors.number, cursors.identifier))
    wanted = Wanted(collection, HIDDEN[query.hidden], query.min_faces, by.collections)
    page, following = actions.listing(parts(), wanted, limit=query.limit, after=after, by=by)
    return views.answer(
        contract.Clusters.model_construct(
            clusters=[_item(each) for each in page],
            next_cursor=cursors.make(following.face_count, following.cluster_id) if following else None,
        )
    )


@bp.get("/clusters/<cluster_id>")
@requires(Scope.READ)
def show(cluster_id: str) -> Response:
    wanted = parameters.identifier(cluster_id, "cluster")
    query = parameters.read(contract.ClusterFacesQuery, request.args)
    after = None
    if query.cursor is not None:
        after = FacePlace(*cursors.read(query.cursor, _quality, cursors.identifier))
    found, faces, following = actions.describe(parts(), wanted, limit=query.limit, after=after, by=actor())
    return views.answer(
        contract.Cluster.model_construct(
            **_cluster(found),
            faces=[_face(each) for each in faces],
            next_cursor=cursors.make(repr(following.quality), following.face_id) if following else None,
        )
    )


@bp.patch("/clusters/<cluster_id>")
@requires(Scope.ENROL)
def change(cluster_id: str) -> Response:
    wanted = parameters.identifier(cluster_id, "cluster")
    hidden = parameters.body(contract.HideCluster).hidden
    return views.answer(_item(actions.hide(parts(), wanted, hidden, by=actor())))


@bp.post("/clusters/<cluster_id>/name")
@requires(Scope.ENROL)
def name(cluster_id: str) -> Response:
    wanted = parameters.identifier(cluster_id, "cluster")
    body = parameters.body(contract.NameCluster)
    if body.person_id is not None:
        named = actions.name(parts(), wanted, parameters.identifier(body.person_id, "person"), by=actor())
    else:
        named = actions.name(parts(), wanted, body.name or "", by=actor())
    return views.answer(
        contract.ClusterNamed.model_construct(
            person=answers.Person.model_construct(id=str(named.person.id), name=named.person.name),
            face_count=named.face_count,
        )
    )


def _quality(value: Any) -> float:
    quality = float(cursors.text(value))
    if not 0 <= quality <= 1:
        raise ValueError
    return quality


def _cluster(value: Shown) -> dict[str, Any]:
    """What a cluster alone and one of a list have in common."""
    return {
        "id": str(value.cluster.id),
        "collection": value.cluster.collection.name,
        "face_count": value.face_count,
        "hidden": value.cluster.hidden,
        "created_at": views.time(value.cluster.created_at),
        "updated_at": views.time(value.cluster.updated_at),
    }


def _item(value: Shown) -> contract.ClusterItem:
    return contract.ClusterItem.model_construct(**_cluster(value), faces=[str(face) for face in value.best])


def _face(value: Face) -> contract.ClusterFace:
    return contract.ClusterFace.model_construct(
        id=str(value.id),
        photo_id=str(value.photo_id),
        bbox=value.bbox,
        landmarks=value.landmarks,
        detection_score=value.detection_score,
        quality=value.quality,
    )
