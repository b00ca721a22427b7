"""`face-pipeline smoke`: does this installation answer, take a photo and find its person?

Safe on a live system: the photo goes into the collection _verify, where it stays: the next test finds
it there and puts in nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from face_pipeline.actions.doctor import examine
from face_pipeline.client import Client, Refused
from face_pipeline.errors import FacePipelineError
from face_pipeline.ops import sample
from face_pipeline.parts import Parts
from face_pipeline.store import collections

COLLECTION = "_verify"
READY_SECONDS = 30
# The web service counts these requests apart from those of users (web/observe.py).
AGENT = "face-pipeline-verify"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Target:
    """Where the service is asked: at `address`, by the name that its certificate has.

    trusted: certificates, PEM; empty: the system's.
    """

    address: str
    port: int
    host: str
    trusted: str = ""

    def client(self, key: str) -> Client:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return Client(f"https://{host}:{self.port}", key, ca=self.trusted, address=self.address, agent=AGENT)


class Broken(FacePipelineError):
    """What does not work, in words for the operator."""

    code = "smoke"


def test(parts: Parts, target: Target, photo_seconds: float | None) -> list[str]:
    """Try everything; what an operator should know. photo_seconds: what a photo may take, None: without one.

    Raises FacePipelineError where something does not work.
    """
    client = target.client(parts.settings.credential("admin_api_key"))
    _wait_until_ready(client)
    with parts.database.transaction() as session:
        # What an earlier model pack left in our own collection can no longer be compared.
        collections.forget_incomparable(session, COLLECTION, parts.pack)
    remarks = _consult_doctor(parts)
    if target.address == LOOPBACK and "face_recognition_" not in client.metrics():
        raise Broken("/metrics has no numbers of the service")
    if photo_seconds is not None:
        _try_photo(client, photo_seconds)
    return remarks


def _wait_until_ready(client: Client) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            found = client.ready()
            why = ", ".join(f"{name}: {state}" for name, state in found.checks.items() if state != "ok")
        except Refused as error:
            found, why = None, str(error)
        if found and found.ready:
            return
        if time.monotonic() > end:
            raise Broken(f"/health/ready says that the service is not ready ({why})")
        time.sleep(1)


def _consult_doctor(parts: Parts) -> list[str]:
    unwell = [each for each in examine(parts) if not each.ok]
    wrong = [f"{each.check}: {each.message}" for each in unwell if each.check != "collections"]
    if wrong:
        raise Broken("\n".join(wrong))
    # Another model pack is a decision, not a fault: what it means for old collections is said.
    return [each.message for each in unwell]


def _try_photo(client: Client, seconds: float) -> None:
    photo = sample.first()
    taken = client.upload({"verify.jpg": photo}, collection=COLLECTION, person=sample.PERSON)
    processed = client.wait_for_photo(taken.photos[0].id, seconds)
    if processed.state == "failed":
        why = processed.reason.message if processed.reason else "no reason is known"
        raise Broken(f"the photo was not processed: {why}")
    found = client.search(photo, collection=COLLECTION)
    names = {match.person_name for face in found.faces for match in face.matches}
    if sample.PERSON not in names:
        raise Broken(f"the search did not find {sample.PERSON} on her own photo: {found.model_dump_json()}")
