"""What compreface-sdk says to a server, run by a Python that has it. Arguments: URL, a file with the rest."""

import json
import sys
from pathlib import Path

from compreface import CompreFace
from compreface.collections import FaceCollection, Subjects

server, told = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
domain, _, port = server.rpartition(":")
photos, keys = told["photos"], told["keys"]
cf = CompreFace(domain, port, {})
recognition = cf.init_face_recognition(keys["recognition"])
detection = cf.init_face_detection(keys["detection"])
verification = cf.init_face_verification(keys["verification"])
faces: FaceCollection = recognition.get_face_collection()
subjects: Subjects = recognition.get_subjects()
NO_FACE = {"message": "No face is found in the given image", "code": 28}
LOW = told["det_prob_threshold"]


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def count(name):
    print(name, flush=True)


# 1, 2
same(subjects.add("Ann"), {"subject": "Ann"})
same(subjects.add("ann"), {"message": "Subject already exists", "code": 43})
same(subjects.list(), {"subjects": ["Ann"]})
count("subjects")

# 3, 4
first = faces.add(photos["a1"], "Ann")
same(first["subject"], "Ann")
second = faces.add(photos["b1"], "Bob Lee", {"det_prob_threshold": LOW})
same(second["subject"], "Bob Lee")
count("add")

# 5
same(faces.add(photos["group"], "X")["code"], 31)
same(faces.add(photos["none"], "X"), NO_FACE)
same(sorted(subjects.list()["subjects"]), ["Ann", "Bob Lee"])
count("refused")

# 6
page = faces.list()
same(
    {name: page[name] for name in page if name != "faces"},
    {"page_number": 0, "page_size": 20, "total_pages": 1, "total_elements": 2},
)
same(
    sorted(each["image_id"] for each in page["faces"]),
    sorted(each["image_id"] for each in (first, second)),
)
count("list")

# 7
options = {
    "limit": 0, "det_prob_threshold": LOW, "prediction_count": 2, "status": "true",
    "face_plugins": "age,gender,landmarks,calculator,mask",
}  # fmt: skip
found = recognition.recognize(photos["a2"], options)
(face,) = found["result"]
same(set(face), {"box", "landmarks", "embedding", "execution_time", "subjects"})
assert found["plugins_versions"]["detector"]
assert 0 < face["box"]["probability"] <= 1
assert all(isinstance(value, int) for name, value in face["box"].items() if name != "probability")
best, other = face["subjects"]
same(best["subject"], "Ann")
assert 1 >= best["similarity"] > 0.5 > other["similarity"], face["subjects"]
same(round(best["similarity"], 5), best["similarity"])
same([len(point) for point in face["landmarks"]], [2] * 5)
assert len(face["embedding"]) == told["dimension"]
count("recognize")

# 8
plain = recognition.recognize(Path(photos["a2"]).read_bytes())
same(set(plain), {"result"})
same([(set(each), len(each["subjects"])) for each in plain["result"]], [({"box", "subjects"}, 1)])
count("bytes")

# 9
same(recognition.recognize(photos["none"]), NO_FACE)
(largest,) = recognition.recognize(photos["group"], {"limit": 1})["result"]
count("limit")

# 10
(alike,) = faces.verify(photos["a2"], first["image_id"], {"limit": 1})["result"]
same(alike["subject"], "Ann")
same(alike["similarity"], best["similarity"])
(unlike,) = faces.verify(photos["b1"], first["image_id"])["result"]
assert unlike["similarity"] < 0.5
count("verify")

# 11
group = detection.detect(photos["group"], {"face_plugins": "landmarks", "status": "True"})["result"]
assert len(group) >= 2
areas = [
    (each["box"]["x_max"] - each["box"]["x_min"]) * (each["box"]["y_max"] - each["box"]["y_min"])
    for each in group
]
same(areas, sorted(areas, reverse=True))
same(group[0]["box"], largest["box"])
assert all(set(each) == {"box", "landmarks", "execution_time"} for each in group)
count("detect")

# 12
(pair,) = verification.verify(photos["a1"], photos["a2"])["result"]
assert pair["source_image_face"]["box"]
assert pair["face_matches"][0]["similarity"] > 0.5
same(verification.verify(photos["group"], photos["a2"])["code"], 31)
same(verification.verify(photos["a1"], photos["none"]), NO_FACE)
count("verification")

# 13
same(subjects.update("Bob Lee", "Ann"), {"updated": True})
same(subjects.list(), {"subjects": ["Ann"]})
same(faces.list()["total_elements"], 2)
same(subjects.update("nobody", "z"), {"message": "Subject nobody not found", "code": 42})
count("update")

# 14
same(faces.delete(first["image_id"]), {"image_id": first["image_id"], "subject": "Ann"})
same(faces.delete(first["image_id"])["code"], 44)
same(faces.delete_all("Ann"), {"deleted": 1})
same(subjects.delete("Ann")["code"], 42)
subjects.add("Zoe")
same(subjects.delete("Zoe"), {"subject": "Zoe"})
subjects.add("Yve")
same(subjects.delete_all(), {"deleted": 1})
same(faces.delete_all("")["code"], 26)
count("delete")

# 15
same(cf.init_face_recognition("abc").get_subjects().list()["code"], 26)
same(cf.init_face_recognition(keys["detection"]).recognize(photos["a1"])["code"], 10)
count("keys")
