"""The size that compressed pictures have by their own headers, which decoders believe more than the file's:
HEVC (ITU-T H.265, 7.3.2.2) and AV1 (https://aomediacodec.github.io/av1-spec, 5.5)."""

from __future__ import annotations

# NAL unit type of a sequence parameter set; OBU types of a sequence header and a temporal delimiter.
HEVC_SPS, AV1_SEQUENCE, AV1_DELIMITER = 33, 1, 2
HVCC_FIXED_BYTES = 22
# Longer ones are damaged.
MOST_ZEROS = 32


class _Bits:
    """Reads numbers from the most significant bit on; raises IndexError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise IndexError("no bits left")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def exponential(self) -> int:
        """An unsigned Exp-Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > MOST_ZEROS:
                raise IndexError("no such number")
        return (1 << zeros) - 1 + self.take(zeros)


def hevc_size(configuration: bytes) -> tuple[int, int] | None:
    """Width and height of the pictures that an `hvcC` box describes; None where it holds no description.
    Raises IndexError for a damaged one."""
    at = HVCC_FIXED_BYTES + 1
    for _ in range(configuration[HVCC_FIXED_BYTES]):
        kind = configuration[at] & 0x3F
        count, at = int.from_bytes(configuration[at + 1 : at + 3], "big"), at + 3
        for _ in range(min(count, len(configuration))):
            length, at = int.from_bytes(configuration[at : at + 2], "big"), at + 2
            if kind == HEVC_SPS:
                return _sps_size(configuration[at + 2 : at + length])
            at += length
    return None


def _sps_size(sps: bytes) -> tuple[int, int]:
    bits = _Bits(sps.replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    # Nesting flag, the general profile of 88 bits, and its level.
    bits.take(1 + 88 + 8)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.exponential()
    if bits.exponential() == 3:
        bits.take(1)
    return bits.exponential(), bits.exponential()


def av1_size(item: bytes) -> tuple[int, int] | None:
    """Width and height of the largest frame in the sequence header that AV1 data begin with; None where they
    begin with something else. Raises IndexError for damaged data."""
    at = 0
    while at < len(item):
        kind, extended, sized = item[at] >> 3 & 15, item[at] >> 2 & 1, item[at] >> 1 & 1
        at += 1 + extended
        length = len(item) - at
        if sized:
            length, at = _leb128(item, at)
        if kind == AV1_SEQUENCE:
            return _sequence_size(item[at : at + length])
        if kind != AV1_DELIMITER:
            return None
        at += length
    return None


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for number in range(8):
        value |= (data[at + number] & 0x7F) << 7 * number
        if not data[at + number] & 0x80:
            return value, at + number + 1
    raise IndexError("no such number")


def _sequence_size(header: bytes) -> tuple[int, int]:
    bits = _Bits(header)
    bits.take(3 + 1)
    if bits.take(1):
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            bits.exponential()
        if bits.take(1):
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if display_delay and bits.take(1):
            bits.take(4)
