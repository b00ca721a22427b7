"""Check a model pack on the controller: check_pack.py APP_DIRECTORY NAME_OR_DIRECTORY ACCEPTED_LICENCE [...].

  --unnamed         the inventory names no pack: NAME is the product's default
  --installed NAME  the pack of the installation that is there already
  --values FILE     where the inventory keeps an operator's values, so that a choice is made once

Prints the pack's name, then what is to be known of a change; or, with exit status 1, what is wrong and the
lines to type. Uses the application's own reader, without the packages an installed application has.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path


def main(
    app: Path, wanted: str, accepted: str, named: bool = True, installed: str = "", values: str = ""
) -> int:
    sys.path.insert(0, str(app))
    package = types.ModuleType("face_pipeline.engine")
    package.__path__ = [str(app / "face_pipeline" / "engine")]
    sys.modules["face_pipeline.engine"] = package
    from face_pipeline.engine import pack as packs

    file = Path(values or "inventory/group_vars/all.yml")
    if not named and installed not in ("", wanted):
        known = (packs.KNOWN_PACKS / f"{installed}.json").is_file()
        print("\n".join(_exchanged(wanted, installed, known, _adding(file, app.parent))))
        return 1
    try:
        if "/" in wanted:
            pack = packs.read_pack(Path(wanted))
            packs.verify_pack(pack)
        else:
            pack = packs.known_pack(wanted)
        packs.check_licence(pack, accepted)
    except packs.LicenceNotAccepted as error:
        lines = [] if named else ["no model pack is chosen yet. Choose one, once, and run this again"]
        reason = str(error).partition(": set ")[0] if pack.name in str(error) else str(error)
        print("\n".join([*lines, *_restricted(pack.name, wanted, reason, _adding(file, app.parent))]))
        return 1
    except packs.PackError as error:
        message = str(error)
        if "/" in wanted:
            # The reader's own advice is for a pack that is installed.
            message = (
                message.partition("; ")[0] + "; name a directory with a whole pack in face_model_pack_source"
            )
        print(message)
        return 1
    print(pack.name)
    if installed not in ("", pack.name):
        print(
            f"the model pack {installed} is exchanged for {pack.name}, as the inventory says: collections"
            f" that still have embeddings of {installed} answer 409 contract_mismatch until it is back;"
            " docs/reembedding.md says how to move them without another upload"
        )
    return 0


def _adding(file: Path, project: Path) -> tuple[list[str], str]:
    """To be pasted: what makes the file's directory where it is missing, and how a line gets into it."""
    shown = os.path.relpath(file, project) if file.is_relative_to(project) else str(file)
    directory = [] if file.parent.is_dir() else [f"  mkdir -p {shlex.quote(str(Path(shown).parent))}"]
    return directory, f">> {shlex.quote(shown)}"


def _exchanged(wanted: str, installed: str, known: bool, adding: tuple[list[str], str]) -> Iterator[str]:
    directory, to = adding
    yield (
        f"this installation has the model pack {installed}, and the inventory names none, so that {wanted}"
        " would take its place; the stored embeddings do not fit another pack, and nothing was changed"
    )
    yield f"To keep {installed}, type:"
    yield from directory
    if known:
        yield f"  echo 'face_model_pack: {installed}' {to}"
    else:
        yield f"  echo 'face_model_pack_source: /the/directory/with/{installed}' {to}"
    yield f"To have {wanted} instead, name it in the same way"


def _restricted(name: str, wanted: str, reason: str, adding: tuple[list[str], str]) -> Iterator[str]:
    directory, to = adding
    chosen = f"face_model_pack_source: {wanted}" if "/" in wanted else f"face_model_pack: {name}"
    yield f"{reason}. If you accept it, type:"
    yield from directory
    yield f"  echo '{chosen}' {to}"
    yield f"  echo 'face_accept_model_licence: {name}' {to}"
    yield "Two packs are free for any use, yunet_sface and (from Python's package index) dlib. For one, type:"
    yield from directory
    yield f"  echo 'face_model_pack: yunet_sface' {to}"
    yield f"or, in its place, echo 'face_model_pack: dlib' {to}"
    yield "Nothing was changed"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("app", type=Path)
    parser.add_argument("wanted")
    parser.add_argument("accepted")
    parser.add_argument("--unnamed", action="store_true")
    parser.add_argument("--installed", default="")
    parser.add_argument("--values", default="")
    given = parser.parse_args()
    sys.exit(main(given.app, given.wanted, given.accepted, not given.unnamed, given.installed, given.values))
