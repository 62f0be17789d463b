"""What headers of H.264 and HEVC say (ITU-T H.264 and H.265): frames or fields, and where decoding may begin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

_SLICE, _IDR, _SEI = 1, 5, 6  # kinds of H.264's units (7.3.1)
_RECOVERY_POINT = 6  # kind of a supplemental message (D.1)
_HEVC_RANDOM_ACCESS = range(16, 24)  # kinds of HEVC's pictures after which nothing refers to what came before
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


class _Bits:
    """Reads numbers from a payload, from which the bytes that prevent start codes are removed."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")
        self._bits = f"{int.from_bytes(data):0{8 * len(data)}b}"
        self._at = 0

    def u(self, count: int = 1) -> int:
        """An unsigned number of so many bits."""
        self._at += count
        return int(self._bits[self._at - count : self._at], 2)

    def ue(self) -> int:
        """An Exp-Golomb number (9.1); a signed one has the same length."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.u(zeros + 1) - 1

    def se(self) -> int:
        """A signed Exp-Golomb number."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def has_whole_frames(codec: Any) -> bool:
    """Whether an H.264 stream states that it holds no fields, so that each packet is a frame."""
    config: bytes = codec.extradata or b""
    if codec.codec_tag == "avc3" or len(config) < 8 or config[0] != 1:
        return False
    at, count = 6, config[5] & 31
    try:
        for _ in range(count):
            length = int.from_bytes(config[at : at + 2])
            if not _is_frames_only(config[at + 2 : at + 2 + length]):
                return False
            at += 2 + length
    except (ValueError, IndexError):  # it ends too early
        return False
    return count > 0


def _is_frames_only(parameters: bytes) -> bool:
    """`frame_mbs_only_flag` of a sequence parameter set (7.3.2.1.1)."""
    bits = _Bits(parameters[4:])
    bits.ue()
    if parameters[1] in _HIGH_PROFILES:
        chroma = bits.ue()
        if chroma == 3:
            bits.u()
        bits.ue(), bits.ue(), bits.u()
        if bits.u():
            for i in range(12 if chroma == 3 else 8):
                if bits.u():
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(), bits.ue(), bits.ue()
        for _ in range(bits.ue()):
            bits.ue()
    bits.ue(), bits.u(), bits.ue(), bits.ue()
    return bool(bits.u())


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last, following = 8, 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def clean_start(codec: Any, packet: bytes) -> Literal["new", "recovery point"] | None:
    """Whether decoding may begin at a key frame: all frames shown from it on come out as in a decode of the whole.

    So it is at an IDR picture, where the decoder begins anew, and where a recovery point states exact recovery at once;
    periodic intra refresh takes frames to recover. Of other codecs than H.264 and HEVC the decoder says it.
    """
    if codec.name == "hevc":
        starts = (unit[0] >> 1 & 63 in _HEVC_RANDOM_ACCESS for unit in _units(packet, codec.extradata[21] & 3))
        return "new" if any(starts) else None
    if codec.name != "h264":
        return "new"
    units = list(_units(packet, codec.extradata[4] & 3))
    if any(unit[0] & 31 == _IDR for unit in units):
        return "new"
    return "recovery point" if any(unit[0] & 31 == _SEI and _recovers_at_once(unit) for unit in units) else None


def is_disposable(codec: Any, packet: bytes) -> bool:
    """Whether no frame refers to an H.264 packet's, so that it need not be decoded (7.4.1); never of damaged units."""
    kinds = [(unit[0] >> 5 & 3, unit[0] & 31) for unit in _units(packet, codec.extradata[4] & 3)]
    return any(kind == _SLICE for _, kind in kinds) and all(not refers and 0 < kind < 24 for refers, kind in kinds)


def _units(packet: bytes, length_bytes_less_1: int) -> Iterator[bytes]:
    at, width = 0, length_bytes_less_1 + 1
    while at + width < len(packet):
        length = int.from_bytes(packet[at : at + width])
        if unit := packet[at + width : at + width + length]:
            yield unit
        at += width + length


def _recovers_at_once(unit: bytes) -> bool:
    """Whether a supplemental unit holds a recovery point of no frames that promises exact frames (D.1.8)."""
    at = 1
    while at + 2 < len(unit):
        numbers = []
        for _ in range(2):
            number = 0
            while at < len(unit) and unit[at] == 255:
                number, at = number + 255, at + 1
            numbers.append(number + unit[min(at, len(unit) - 1)])
            at += 1
        kind, size = numbers
        if kind == _RECOVERY_POINT and at < len(unit):
            bits = _Bits(unit[at:] + b"\x80")
            return bits.ue() == 0 and bool(bits.u())
        at += size
    return False
