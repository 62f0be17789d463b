"""What headers of H.264 and HEVC say (ITU-T H.264 and H.265): frames or fields, and where decoding may begin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import islice
from typing import Any

HEAD_BYTES = 4096  # of a key frame's packet, in which its parameters and messages lie, and its first slice begins
_SLICE, _IDR, _SEI, _SEQUENCE = 1, 5, 6, 7  # kinds of H.264's units (7.3.1)
_RECOVERY_POINT = 6  # kind of a supplemental message (D.1)
_HEVC_RANDOM_ACCESS = range(16, 24)  # kinds of HEVC's pictures after which nothing refers to what came before
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


class Start(IntEnum):
    """Whether decoding may begin at a key frame, so that all frames shown from it on are those of a whole decode."""

    FIELDS = -1  # packets may be fields from here on, whatever the file's header says
    NONE = 0
    GRADUAL = 1  # periodic intra refresh takes some frames to recover
    OPEN = 2  # exact at once, but what is shown before may be missing: a strict decoder refuses it
    NEW = 3  # nothing refers to what came before


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
    parameters = [*islice(_split(config, 6, 2), config[5] & 31)]
    return bool(parameters) and _are_frames_only(parameters)


def _are_frames_only(parameters: Iterable[bytes]) -> bool:
    try:
        return all(map(_is_frames_only, parameters))
    except (ValueError, IndexError):  # some end too early
        return False


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


def start_at(codec: Any, head: bytes) -> Start:
    """What a key frame's packet, or its first `HEAD_BYTES`, says of beginning there.

    Of other codecs than H.264 and HEVC the decoder says it.
    """
    units = list(_units(codec, head)) if codec.name in ("h264", "hevc") else []
    if codec.name == "hevc":
        return Start.NEW if any(unit[0] >> 1 & 63 in _HEVC_RANDOM_ACCESS for unit in units) else Start.NONE
    if not _are_frames_only(unit for unit in units if unit[0] & 31 == _SEQUENCE):
        return Start.FIELDS
    if codec.name != "h264" or any(unit[0] & 31 == _IDR for unit in units):
        return Start.NEW
    return max((_recovery(unit) for unit in units if unit[0] & 31 == _SEI), default=Start.NONE)


def is_disposable(codec: Any, packet: bytes) -> bool:
    """Whether no frame refers to an H.264 packet's, so that it need not be decoded (7.4.1); never of damaged units."""
    kinds = [(unit[0] >> 5 & 3, unit[0] & 31) for unit in _units(codec, packet)]
    return any(kind == _SLICE for _, kind in kinds) and all(not refers and 0 < kind < 24 for refers, kind in kinds)


def _units(codec: Any, packet: bytes) -> Iterator[bytes]:
    config: bytes = codec.extradata or b""
    if config[:1] != b"\1":  # start codes stand between them
        return filter(None, packet.split(b"\0\0\1")[1:])
    return _split(packet, 0, (config[21 if codec.name == "hevc" else 4] & 3) + 1)


def _split(content: bytes, at: int, width: int) -> Iterator[bytes]:
    """What stands behind lengths of so many bytes."""
    while at + width < len(content):
        length = int.from_bytes(content[at : at + width])
        if unit := content[at + width : at + width + length]:
            yield unit
        at += width + length


def _recovery(unit: bytes) -> Start:
    """What a supplemental unit's recovery point promises, of how many frames and whether they are exact (D.1.8)."""
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
            return Start.OPEN if bits.ue() == 0 and bits.u() else Start.GRADUAL
        at += size
    return Start.NONE
