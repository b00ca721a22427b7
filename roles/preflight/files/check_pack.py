"""Check a model pack on the controller: check_pack.py APP_DIRECTORY NAME_OR_DIRECTORY ACCEPTED_LICENCE.

Prints the pack's name, or one line that says what is wrong (exit status 1). Uses the application's own
reader, without the packages an installed application has.
"""

import sys
import types
from pathlib import Path


def main(app: Path, wanted: str, accepted: str) -> int:
    sys.path.insert(0, str(app))
    package = types.ModuleType("face_pipeline.engine")
    package.__path__ = [str(app / "face_pipeline" / "engine")]
    sys.modules["face_pipeline.engine"] = package
    from face_pipeline.engine import pack as packs

    try:
        if "/" in wanted:
            pack = packs.read_pack(Path(wanted))
            packs.verify_pack(pack)
        else:
            pack = packs.known_pack(wanted)
        packs.check_licence(pack, accepted)
    except packs.PackError as error:
        message = str(error)
        if "/" in wanted and not isinstance(error, packs.LicenceNotAccepted):
            # The reader's own advice is for a pack that is installed.
            message = (
                message.partition("; ")[0] + "; name a directory with a whole pack in face_model_pack_source"
            )
        print(message)
        return 1
    print(pack.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
