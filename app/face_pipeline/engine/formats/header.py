"""What the header of a photo says, and the words in which a format refuses one."""

from __future__ import annotations

from dataclasses import dataclass

from face_pipeline.engine.types import PhotoRejected

# Orientations that turn the photo by a quarter: width and height change places.
QUARTER_TURNS = {5, 6, 7, 8}
# What pixels take once they are 8-bit BGR.
BGR_BYTES = 3
# More parts than any program writes: stepping over them alone would take seconds.
MOST_PARTS = 50_000


@dataclass(frozen=True)
class Header:
    """One photo before it is decoded.

    width, height: pixels as stored. `turn`: 1 to 8, how it is turned upright, in EXIF's numbers (TIFF 6.0,
    tag 274). `working`: bytes a pixel that the decoder takes beside the result. `scans`: how often its
    pixels are gone over. `ended`: the file has its end mark; without it, only decoding can tell whether all
    pixels are there. `file_bytes`: size of the file.
    """

    media_type: str
    width: int
    height: int
    turn: int = 1
    working: float = 0.0
    scans: int = 1
    ended: bool = True
    file_bytes: int = 0

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height once it is turned upright."""
        return (self.height, self.width) if self.turn in QUARTER_TURNS else (self.width, self.height)

    def decode_bytes(self, reduction: int = 1) -> int:
        """The most memory that decoding and turning takes; at `reduction` the sides are divided by it."""
        pixels = self.width * self.height
        result = BGR_BYTES * pixels / reduction**2
        # OpenCV hands on a copy, and turning makes one, both after the decoder gave its own memory back.
        return int(result + max(self.working * pixels, result)) + self.file_bytes


def too_many_parts() -> PhotoRejected:
    return PhotoRejected(
        f"the file has more than {MOST_PARTS} parts; export it again as an ordinary photo",
        code="too_much_work",
    )


def broken(message: str) -> PhotoRejected:
    return PhotoRejected(f"{message}; copy or export it again", code="broken_image")


def truncated(message: str = "the file is cut off") -> PhotoRejected:
    return PhotoRejected(f"{message}; copy it again", code="truncated")
