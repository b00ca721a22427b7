"""Bodies of requests as somebody would send them: in openapi.json, and in the curl lines of /docs."""

from __future__ import annotations

from typing import Any

# One thing has one id in all examples; the pages show the name instead.
IDS = {
    "photo_id": "0197c2a4-5b1e-7d30-9a6f-3c5e8b1d2f40",
    "batch_id": "0197c2a4-4f02-7c11-8d2e-6a9b0c3d5e71",
    "face_id": "0197c2a4-9c77-7e52-b0d4-1f2a3b4c5d6e",
    "person_id": "0197c2a5-01d8-7a93-8e1c-7b6a5d4c3e2f",
    "merge_id": "0197c2a5-6e3b-7f64-a2b5-9d8c7e6f5a4b",
    "cluster_id": "0197c2a5-b2c9-7045-93d6-2e1f0a9b8c7d",
    "hook_id": "0197c2a6-14fa-71b6-84e7-5c4d3b2a1f0e",
    "key_id": "0197c2a6-7d05-7227-b5f8-8a7b6c5d4e3f",
    "silence_id": "0197c2a6-a91b-72d4-8c3f-4b5a69788796",
    "other_face_id": "0197c2a6-d316-7398-a609-0b1c2d3e4f5a",
    "other_person_id": "0197c2a7-2e27-74a9-971a-3d4e5f6a7b8c",
}

# By operation; without one here a body has what is required, made of the schema.
BODIES: dict[str, dict[str, Any]] = {
    "search": {"face_id": IDS["face_id"], "limit": 20, "group_by": "person"},
    "verify": {"face_id": IDS["face_id"], "person_id": IDS["person_id"]},
    "create_collection": {"name": "visitors"},
    "change_retention": {"originals_days": 30, "dry_run": True},
    "create_person": {"name": "Anna Berg", "external_id": "hr-17", "metadata": {"team": "red"}},
    "change_person": {"name": "Anna Lund", "metadata": {"team": "blue"}},
    "merge_persons": {"from": IDS["other_person_id"]},
    "make_batch": {"collection": "visitors"},
    "give_face": {"person_id": IDS["person_id"]},
    "make_key": {"name": "camera-1", "scopes": ["write"], "collections": ["door"]},
    "change_key": {"scopes": ["read", "write"], "expires_at": "2030-01-31T12:00:00Z"},
    "rotate_key": {"grace_seconds": 86400},
    "retry_photos": {"collection": "visitors", "reason": "engine_error"},
    "erase_photos": {"photo_ids": [IDS["photo_id"]], "dry_run": True},
    "move_photos": {"photo_ids": [IDS["photo_id"]], "collection": "visitors"},
    "give_faces": {"face_ids": [IDS["face_id"], IDS["other_face_id"]], "person": "Anna Berg"},
    "move_photo": {"collection": "visitors"},
    "hide_cluster": {"hidden": True},
    "name_cluster": {"name": "Anna Berg"},
    "make_hook": {"url": "https://receiver.example.org/faces", "kinds": ["person.seen", "face.unknown"]},
    "change_hook": {"enabled": True, "kinds": ["person.seen"]},
    "silence_alerts": {"alert": "HighDiskUsage", "labels": {"host": "web1"}, "minutes": 120},
    "add_embeddings": {"contract_id": "insightface-…", "embeddings": [[0.0123, -0.0456]]},
}
# Fields of forms and of queries, beside those that are required.
FORMS: dict[str, dict[str, str]] = {
    "upload_photos": {"person": "Anna Berg"},
    "verify": {"photo": "@photo.jpg", "person_id": IDS["person_id"]},
    "detect": {"min_face_size": "40"},
    "make_rendition": {"size": "800"},
    "import_records": {"records": "@records.jsonl", "contract_id": "insightface-…"},
}
QUERIES: dict[str, dict[str, str]] = {
    "list_photos": {"state": "failed", "limit": "20"},
    "get_photo_image": {"rendition": "upright", "size": "800"},
    "get_face_crop": {"size": "160"},
    "list_persons": {"name": "berg"},
    "list_clusters": {"collection": "default"},
    "list_events": {"kind": "person.seen"},
    "list_batches": {"collection": "default"},
    "read_audit": {"action": "person.erase", "since": "2026-11-01T00:00:00Z"},
    "erase_photo": {"dry_run": "true"},
    "erase_face": {"dry_run": "true"},
    "erase_person": {"dry_run": "true"},
    "erase_collection": {"dry_run": "true"},
    "list_failures": {"collection": "default"},
    "export_failures": {"reason": "engine_error"},
    "erase_failures": {"dry_run": "true"},
    "export_audit": {"action": "person.erase", "since": "2026-11-01T00:00:00Z"},
}
