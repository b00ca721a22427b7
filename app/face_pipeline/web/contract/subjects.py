"""What calls are about: the tags of openapi.json, and the pages at /docs."""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """`name`: its tag and its page. `begins`: first words of addresses, under /api/v1 or outside."""

    name: str
    title: str
    text: str
    begins: tuple[str, ...]


SUBJECTS = (
    Subject(
        "photos",
        "Photos",
        "Put photos in, see what was found on them, look at them, process them again, take them out.",
        ("photos", "renditions"),
    ),
    Subject(
        "batches",
        "Batches",
        "Progress of an upload, or of many uploads that belong together.",
        ("batches",),
    ),
    Subject(
        "persons",
        "Persons",
        "Who is there: make, find, enrol, rename, merge with an undo, erase.",
        ("persons", "merges"),
    ),
    Subject(
        "faces",
        "Faces",
        "Say whose a face is, look at it, take its embedding out, erase it.",
        ("faces",),
    ),
    Subject(
        "search",
        "Search, verify, detect",
        "Who is on a photo, whether two faces are one person's, which faces there are. Photos that are sent "
        "to these calls are not kept.",
        ("search", "verify", "detect"),
    ),
    Subject(
        "clusters",
        "Clusters",
        "Groups of unknown faces that look like one person. Naming one makes a person of it.",
        ("clusters",),
    ),
    Subject(
        "collections",
        "Collections",
        "Photos, faces and persons that belong together; a search looks in the collections it names.",
        ("collections",),
    ),
    Subject("events", "Events", "What happened to photos, from a place on.", ("events",)),
    Subject("hooks", "Web hooks", "Receivers that are told of events, signed and retried.", ("hooks",)),
    Subject(
        "keys",
        "Keys",
        "API keys with scopes, collections and expiry, and who is signed in.",
        ("keys", "sessions"),
    ),
    Subject("audit", "Audit", "Who did what, on whom, when, from where.", ("audit", "audit.csv")),
    Subject(
        "jobs",
        "Jobs",
        "What waits and who works on it; photos that failed, by reason: as a table, or out with them.",
        ("jobs", "failures", "failures.csv"),
    ),
    Subject(
        "system", "System", "What is installed, how it is set, and whether each part is well.", ("system",)
    ),
    Subject(
        "overview",
        "Overview",
        "How the installation is: its numbers, what needs somebody, charts, alerts and their silences.",
        ("overview",),
    ),
    Subject(
        "service",
        "Service",
        "Health, metrics, and how the page signs in. Programs send a key instead.",
        ("session", "health", "metrics"),
    ),
)
# Of a call that no subject names yet.
OTHER = Subject("other", "Other", "What belongs to none of these.", ())


def of_path(path: str) -> Subject:
    """The subject of a call, by its path as in the contract."""
    first = path.removeprefix("/api/v1").strip("/").split("/")[0]
    return next((subject for subject in SUBJECTS if first in subject.begins), OTHER)
