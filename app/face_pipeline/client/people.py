"""People, the collections they are in, and groups of unknown faces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from face_pipeline.client.answers import (
    Cluster,
    ClusterNamed,
    Collection,
    Enrolment,
    FacesGiven,
    KnownPerson,
    ListedCollection,
    ListedPhoto,
    Merged,
    OneFace,
    Quota,
    Receipt,
    Retention,
    StoredFace,
    Unmerged,
)
from face_pipeline.client.base import Calls, Id, form, part
from face_pipeline.client.multipart import Source, file_of


class PeopleCalls(Calls):
    def collections(self) -> Iterator[ListedCollection]:
        return self._pages(ListedCollection, "/collections", "collections")

    def collection(self, name: str) -> Collection:
        return self._read(Collection, f"/collections/{part(name)}")

    def create_collection(self, name: str) -> Collection:
        return self._make(Collection, "/collections", {"name": name})

    def erase_collection(self, name: str, *, dry_run: bool = False) -> Receipt:
        """With all that is in it; dry_run: only say what that would be."""
        return self._erase(Receipt, f"/collections/{part(name)}", dry_run=dry_run)

    def retention(self, name: str) -> Retention:
        return self._read(Retention, f"/collections/{part(name)}/retention")

    def change_retention(self, name: str, *, dry_run: bool = False, **days: int | None) -> Retention:
        """originals_days, unknown_faces_days: None keeps for good; dry_run: only say what would go."""
        return self._change(Retention, f"/collections/{part(name)}/retention", {**days, "dry_run": dry_run})

    def change_quota(self, name: str, **at_most: int | None) -> Quota:
        """photos, bytes: how many a collection may hold; None: any number."""
        return self._change(Quota, f"/collections/{part(name)}/quota", at_most)

    def persons(
        self,
        *,
        collection: str | None = None,
        name: str | None = None,
        external_id: str | None = None,
        sort: str | None = None,
    ) -> Iterator[KnownPerson]:
        """All persons; name: a part of it. sort: by `name`, `faces` (most first) or `newest`."""
        return self._pages(
            KnownPerson, "/persons", "persons",
            collection=collection, name=name, external_id=external_id, sort=sort,
        )  # fmt: skip

    def person(self, person_id: Id) -> KnownPerson:
        return self._read(KnownPerson, f"/persons/{part(person_id)}")

    def create_person(
        self,
        name: str,
        *,
        collection: str | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> KnownPerson:
        body: dict[str, Any] = {"name": name}
        for field, value in (("collection", collection), ("external_id", external_id)):
            if value is not None:
                body[field] = value
        if metadata is not None:
            body["metadata"] = dict(metadata)
        return self._make(KnownPerson, "/persons", body)

    def change_person(self, person_id: Id, **fields: Any) -> KnownPerson:
        """Give a person another `name`, `external_id`, `metadata` or `cover_face_id`.

        None takes an external_id off, or a chosen cover.
        """
        return self._change(KnownPerson, f"/persons/{part(person_id)}", fields)

    def merge_persons(self, person_id: Id, other_id: Id) -> Merged:
        """What belongs to the other person becomes this one's; undo_merge() takes them apart again."""
        return self._make(Merged, f"/persons/{part(person_id)}/merge", {"from": str(other_id)})

    def undo_merge(self, merge_id: Id) -> Unmerged:
        return self._make(Unmerged, f"/merges/{part(merge_id)}/undo")

    def erase_person(self, person_id: Id, *, dry_run: bool = False) -> Receipt:
        """With their faces and the photos that show nobody else; dry_run: only say what that would be."""
        return self._erase(Receipt, f"/persons/{part(person_id)}", dry_run=dry_run)

    def photos_of(self, person_id: Id) -> Iterator[ListedPhoto]:
        return self._pages(ListedPhoto, f"/persons/{part(person_id)}/photos", "photos")

    def faces_of(self, person_id: Id, *, sort: str | None = None) -> Iterator[StoredFace]:
        """sort: `newest` photo first, or `least_sure` with the `certainty` of each, wrong ones first."""
        return self._pages(StoredFace, f"/persons/{part(person_id)}/faces", "faces", sort=sort)

    def face(self, face_id: Id) -> OneFace:
        return self._read(OneFace, f"/faces/{part(face_id)}")

    def give_face(self, face_id: Id, person: str | None = None, *, person_id: Id | None = None) -> OneFace:
        """Say whose a face is: a person by id, or by a name, who is made where it is new."""
        body = {"person": person} if person_id is None else {"person_id": str(person_id)}
        return self._change(OneFace, f"/faces/{part(face_id)}", body)

    def give_faces(
        self, face_ids: Iterable[Id], person: str | None = None, *, person_id: Id | None = None
    ) -> FacesGiven:
        """Say whose 1 to 200 faces are: a person by id, or by a name; neither: they are nobody's."""
        body: dict[str, Any] = {"face_ids": [str(each) for each in face_ids]}
        if person is not None:
            body["person"] = person
        else:
            body["person_id"] = None if person_id is None else str(person_id)
        return self._make(FacesGiven, "/faces/assign", body)

    def take_off_face(self, face_id: Id) -> OneFace:
        """Say that a face is nobody's."""
        return self._change(OneFace, f"/faces/{part(face_id)}", {"person_id": None})

    def erase_face(self, face_id: Id, *, dry_run: bool = False) -> Receipt:
        """A face; its photo stays."""
        return self._erase(Receipt, f"/faces/{part(face_id)}", dry_run=dry_run)

    def enrol(
        self,
        person_id: Id,
        photos: Mapping[str, Source] | Iterable[tuple[str, Source]],
        *,
        on_conflict: str | None = None,
        min_quality: float | None = None,
        which: str | None = None,
    ) -> Enrolment:
        """Say that a person is on these photos, 1 to 20; they are analysed before the answer comes."""
        named = photos.items() if isinstance(photos, Mapping) else photos
        files = [("photos", file_of(source, name)) for name, source in named]
        sent = form(files, on_conflict=on_conflict, min_quality=min_quality, which=which)
        return self._make(Enrolment, f"/persons/{part(person_id)}/photos", sent)

    def clusters(self, *, collection: str | None = None, hidden: str | None = None) -> Iterator[Cluster]:
        """Groups of unknown faces, biggest first; hidden: `true`, `false` or `all`."""
        return self._pages(Cluster, "/clusters", "clusters", collection=collection, hidden=hidden)

    def faces_of_cluster(self, cluster_id: Id) -> Iterator[StoredFace]:
        """Best first."""
        return self._pages(StoredFace, f"/clusters/{part(cluster_id)}", "faces")

    def hide_cluster(self, cluster_id: Id, hidden: bool = True) -> Cluster:
        return self._change(Cluster, f"/clusters/{part(cluster_id)}", {"hidden": hidden})

    def name_cluster(
        self, cluster_id: Id, name: str | None = None, *, person_id: Id | None = None
    ) -> ClusterNamed:
        """Its faces become those of a person, who is made where the name is new."""
        body = {"name": name} if person_id is None else {"person_id": str(person_id)}
        return self._make(ClusterNamed, f"/clusters/{part(cluster_id)}/name", body)
