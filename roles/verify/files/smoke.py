"""The smoke test of a web host, run by its own Python as root: smoke.py JSON. Prints what is wrong.

The photo is NASA's portrait of the astronaut Eileen Collins (public domain), which scikit-image ships. It
goes into the collection _verify, where it stays: the next test finds it there and puts in nothing.
"""

import http.client
import io
import json
import socket
import ssl
import sys
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

from face_pipeline.config import get_settings
from face_pipeline.engine import contract_id
from face_pipeline.ops.doctor import examine
from face_pipeline.parts import Parts
from face_pipeline.store.models import Collection
from PIL import Image
from sqlalchemy import delete

COLLECTION = "_verify"
PERSON = "Eileen Collins"
READY_SECONDS = 30
PARTS = Parts(get_settings())


class Connection(http.client.HTTPSConnection):
    """To an address, with the name the certificate must have."""

    def __init__(self, address, port, host, context):
        super().__init__(host, port, timeout=60, context=context)
        self.address, self.tls = address, context

    def connect(self):
        plain = socket.create_connection((self.address, self.port), self.timeout)
        self.sock = self.tls.wrap_socket(plain, server_hostname=self.host)


class Service:
    def __init__(self, wanted):
        context = ssl.create_default_context(cadata=wanted["trusted"] or None)
        # An operator's own certificate is trusted by itself, whoever signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.target = (wanted["address"], int(wanted["port"]), wanted["host"], context)
        self.headers = {
            "Authorization": f"Bearer {PARTS.settings.credential('admin_api_key')}",
            # The web service counts these requests apart from those of users.
            "User-Agent": "face-pipeline-verify",
        }

    def call(self, method, path, form=None, photo=None):
        body, headers = None, dict(self.headers)
        if form is not None:
            boundary = uuid.uuid4().hex
            headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            body = multipart(boundary, form, *photo)
        connection = Connection(*self.target)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, method, path, form=None, photo=None):
        status, body = self.call(method, path, form, photo)
        if status not in (200, 202):
            raise SystemExit(f"{method} {path} answered {status}: {body.decode(errors='replace').strip()}")
        return json.loads(body)


def multipart(boundary, form, field, content):
    head = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in form.items()]
    parts.append(f'{head}"{field}"; filename="verify.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'.encode())
    return b"".join([*parts, content, f"\r\n--{boundary}--\r\n".encode()])


def sample():
    source = Path(find_spec("skimage").origin).parent / "data" / "astronaut.png"
    data = io.BytesIO()
    with Image.open(source) as photo:
        # Without the badges on the suit, in which a detector may see a second face.
        photo.convert("RGB").crop((60, 0, 512, 330)).save(data, "JPEG", quality=92)
    return data.getvalue()


def wait_until_ready(service):
    end = time.monotonic() + READY_SECONDS
    while True:
        status, body = service.call("GET", "/health/ready")
        if status == 200:
            return
        if time.monotonic() > end:
            raise SystemExit(f"/health/ready answers {status}: {body.decode(errors='replace').strip()}")
        time.sleep(1)


def forget_other_contract():
    """What an earlier model pack left in our own collection can no longer be compared."""
    installed = contract_id(PARTS.pack)
    with PARTS.database.transaction() as session:
        session.execute(
            delete(Collection).where(Collection.name == COLLECTION, Collection.contract_id != installed)
        )


def consult_doctor():
    unwell = [each for each in examine(PARTS) if not each.ok]
    # Another model pack is a decision, not a fault: what it means for old collections is said.
    for each in unwell:
        if each.check == "collections":
            print(each.message)
    wrong = [f"{each.check}: {each.message}" for each in unwell if each.check != "collections"]
    if wrong:
        raise SystemExit("\n".join(wrong))


def try_photo(service, seconds):
    photo = sample()
    answer = service.json(
        "POST", "/api/v1/photos", {"collection": COLLECTION, "person": PERSON}, ("photos", photo)
    )
    identity = answer["photos"][0]["id"]
    end = time.monotonic() + seconds
    while (state := service.json("GET", f"/api/v1/photos/{identity}"))["state"] != "done":
        if state["state"] == "failed":
            raise SystemExit(f"the photo was not processed: {state['reason']}")
        if time.monotonic() > end:
            raise SystemExit(f"the photo is still {state['state']} after {seconds} s; are workers running?")
        time.sleep(0.3)
    found = service.json("POST", "/api/v1/search", {"collection": COLLECTION}, ("photo", photo))
    names = {match["person_name"] for face in found["faces"] for match in face["matches"]}
    if PERSON not in names:
        raise SystemExit(f"the search did not find {PERSON} on her own photo: {found}")


def main(wanted):
    service = Service(wanted)
    wait_until_ready(service)
    forget_other_contract()
    consult_doctor()
    status, body = service.call("GET", "/metrics")
    if wanted["address"] == "127.0.0.1" and (status != 200 or b"face_recognition_" not in body):
        raise SystemExit(f"/metrics answers {status} on this host")
    if wanted["photo"]:
        try_photo(service, float(wanted["seconds"]))


try:
    main(json.loads(sys.argv[1]))
except OSError as error:
    raise SystemExit(f"the service cannot be asked over HTTPS: {error}") from error
