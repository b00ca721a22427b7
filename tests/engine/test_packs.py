"""Model packs: what is wrong with one is said before it is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.engine import PackDamaged, PackInvalid, PackMissing, contract_id, load_engine, read_pack
from face_pipeline.engine.pack import KNOWN_PACKS, LicenceNotAccepted, check_licence, known_pack, verify_pack


def write_pack(directory: Path, **changes: Any) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "d.onnx").write_bytes(b"detector")
    (directory / "r.onnx").write_bytes(b"recogniser")
    manifest: dict[str, Any] = {
        "manifest_version": 2,
        "model_id": "tiny",
        "license": "MIT",
        "tasks": {
            "detection": {
                "file": "d.onnx",
                "sha256": hashlib.sha256(b"detector").hexdigest(),
                "preprocessing": {"mean": 127.5, "std": 128.0},
            },
            "recognition": {
                "file": "r.onnx",
                "sha256": hashlib.sha256(b"recogniser").hexdigest(),
                "embedding_dimension": 128,
                "preprocessing": {"mean": 127.5, "std": 127.5},
            },
        },
    }
    manifest.update(changes)
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def test_a_good_pack_is_read_and_verified(tmp_path: Path) -> None:
    pack = read_pack(write_pack(tmp_path))
    verify_pack(pack)
    assert (pack.name, pack.engine, pack.dimension) == ("tiny", "insightface", 128)


def test_a_directory_without_a_pack_is_missing_and_nothing_is_downloaded(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(PackMissing, match=r"site\.yml"):
            load_engine(directory, threads=1)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"manifest_version": 1, "model_id": "x", "tasks": {}}']
)
def test_a_damaged_manifest_is_invalid(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(PackInvalid):
        read_pack(tmp_path)


@pytest.mark.parametrize(
    ("ours", "named"),
    [
        ({"match_threshold": 7}, "match_threshold"),
        ({"match_threshold": 0}, "match_threshold"),
        ({"detector_side": 100}, "detector_side"),
        ({"detector_side": 0}, "detector_side"),
        ({"hog_side": 79}, "hog_side"),
        ({"engine": "other"}, "other"),
        ({"engine": "dlib"}, "landmarks"),
    ],
)
def test_a_setting_no_engine_can_use_is_named(tmp_path: Path, ours: dict[str, Any], named: str) -> None:
    with pytest.raises(PackInvalid, match=named):
        read_pack(write_pack(tmp_path, face_pipeline=ours))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    manifest = json.loads((write_pack(tmp_path) / "manifest.json").read_text())
    del manifest["tasks"]["recognition"]["sha256"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackInvalid, match=r"sha256.* is missing"):
        read_pack(tmp_path)


@pytest.mark.parametrize("name", ["../d.onnx", "/etc/passwd", "sub/d.onnx", ".hidden"])
def test_a_file_outside_the_pack_is_refused(tmp_path: Path, name: str) -> None:
    manifest = json.loads((write_pack(tmp_path) / "manifest.json").read_text())
    manifest["tasks"]["detection"]["file"] = name
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackInvalid):
        read_pack(tmp_path)


def test_a_changed_or_missing_file_is_named_with_both_hashes(tmp_path: Path) -> None:
    pack = read_pack(write_pack(tmp_path))
    (tmp_path / "r.onnx").write_bytes(b"another")
    with pytest.raises(PackDamaged, match=hashlib.sha256(b"another").hexdigest()) as changed:
        verify_pack(pack)
    assert hashlib.sha256(b"recogniser").hexdigest() in str(changed.value)
    (tmp_path / "r.onnx").unlink()
    with pytest.raises(PackDamaged, match=r"r\.onnx"):
        load_engine(tmp_path, threads=1)


def test_the_contract_changes_with_every_ingredient_and_with_nothing_else(tmp_path: Path) -> None:
    base = json.loads((write_pack(tmp_path / "a") / "manifest.json").read_text())
    same = contract_id(read_pack(tmp_path / "a"))
    assert contract_id(read_pack(write_pack(tmp_path / "b", model_id="renamed", license="other"))) == same
    ids = {same}
    for number, (role, key, value) in enumerate(
        [
            ("detection", "sha256", "0" * 64),
            ("recognition", "sha256", "1" * 64),
            ("recognition", "embedding_dimension", 256),
            ("recognition", "preprocessing", {"mean": 0.0, "std": 1.0}),
            ("detection", "preprocessing", {"mean": 127.5, "std": 127.5}),
        ]
    ):
        tasks = json.loads(json.dumps(base["tasks"]))
        tasks[role][key] = value
        ids.add(contract_id(read_pack(write_pack(tmp_path / f"c{number}", tasks=tasks))))
    ids.add(contract_id(read_pack(write_pack(tmp_path / "d", face_pipeline={"detector_side": 320}))))
    ids.add(contract_id(read_pack(write_pack(tmp_path / "e", face_pipeline={"hog_side": 480}))))
    assert len(ids) == 8


def test_every_pack_we_ship_a_manifest_for_is_complete() -> None:
    names = sorted(path.stem for path in KNOWN_PACKS.glob("*.json"))
    assert names == ["buffalo_l", "dlib", "yunet_sface"]
    for name in names:
        pack = known_pack(name)
        assert pack.name == name
        assert pack.files
    with pytest.raises(PackMissing, match="buffalo_l, dlib, yunet_sface"):
        known_pack("../dlib")


def test_a_restricted_licence_has_to_be_accepted_by_name() -> None:
    restricted = known_pack("buffalo_l")
    for accepted in ("", "yes", "dlib"):
        with pytest.raises(LicenceNotAccepted, match="face_accept_model_licence"):
            check_licence(restricted, accepted)
    check_licence(restricted, "buffalo_l")
    check_licence(known_pack("dlib"), "")
    check_licence(known_pack("yunet_sface"), "")
