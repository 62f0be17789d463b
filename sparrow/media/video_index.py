"""What a video's container says of its frames without decoding them: their times, and where decoding may begin.

An MP4's index says it alone; elsewhere every packet's header is looked at. Only in codecs and files of a proved kind is
a packet known to be a frame; in all others the decoder must say how many frames there are (`video_reader.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sparrow.core.errors import MediaError
from sparrow.media.h264 import has_whole_frames

NO_TIME = np.iinfo(np.int64).min
_FRAME_PER_PACKET = {
    *("h264", "hevc", "vp8", "vp9", "av1", "libdav1d"),
    *("mjpeg", "prores", "dnxhd", "png", "ffv1", "huffyuv", "ffvhuff", "rawvideo"),
}
_TOLERANCE_S = 0.5  # by which a stream may end before its stated duration


@dataclass
class VideoIndex:
    """The packets of a stream in order of decoding; times in units of its time base, `NO_TIME` where there is none.

    Args:
        pts: Presentation times, int64 [n].
        dts: Decoding times, int64 [n].
        is_key: What the container calls key frames, bool [n].
        is_shown: False for what an edit list or the codec hides, bool [n].
        last_duration: How long the last packet's frame stays.
        source: `header` if it was read from the container's index, `packets` if from the packets' headers.
        is_proved: Whether each shown packet is known to be one frame at its time, so that frames may be sought.
    """

    pts: np.ndarray
    dts: np.ndarray
    is_key: np.ndarray
    is_shown: np.ndarray
    last_duration: int
    source: str
    is_proved: bool = False

    @property
    def times(self) -> np.ndarray:
        """Times of the shown frames, ascending."""
        return np.sort(self.pts[self.is_shown])

    @property
    def num_leading(self) -> int:
        """Packets up to the first one shown after the first key frame: what they refer to may have been cut off."""
        first = int(np.argmax(self.is_key)) if self.is_key.any() else 0
        later = np.flatnonzero(self.pts[first:] > self.pts[first])
        return first + (int(later[0]) if len(later) else 0)

    def start_before(self, position: int) -> int:
        """Position of the last key frame from which the packet at a position can be decoded; 0 where there is none."""
        usable = self.is_key[: position + 1] & (self.pts[: position + 1] <= self.pts[position])
        return int(np.flatnonzero(usable)[-1]) if usable.any() else 0


def read_index(path: Path, container: Any, stream: Any) -> VideoIndex:
    """The index of a container's video stream, which must just have been opened.

    Raises:
        MediaError: If the file ends earlier than its container says.
    """
    kind: str = container.format.name
    index = None
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if kind.startswith("mov"):
            index = _from_header(file, size, container, stream)
        elif kind.startswith("matroska"):
            _refuse_cut_segment(file, size)
    if index is None:
        index = _from_packets(container, stream)
    num_found = len(index.pts)
    if kind == "avi" and (index.dts != NO_TIME).all():  # counts frames that were dropped
        steps = np.diff(np.sort(index.dts))
        num_found = int(index.dts.max(initial=-1)) + max(int(np.median(steps)) if len(steps) else 1, 1)
    # Only AVI counts what it holds: MP4 counts what an edit list hides too, IVF units of time.
    if num_found < (max(stream.frames, 1) if kind == "avi" else 1):
        raise _cut_short(f"it holds {num_found} of {stream.frames} frames" if stream.frames else "it holds no frames")
    if kind.startswith(("matroska", "flv")):
        _refuse_short(index, container, stream)
    index.is_proved = kind.startswith(("mov", "matroska")) and _is_proved(index, stream.codec_context)
    return index


def _is_proved(index: VideoIndex, codec: Any) -> bool:
    """Whether packets are frames, with distinct times and a key frame that is shown first."""
    if codec.name not in _FRAME_PER_PACKET or not index.is_key[0] or not index.is_shown.any():
        return False
    in_order = index.pts.min() == index.pts[0] != NO_TIME and (np.diff(index.times) > 0).all()
    has_units = codec.name != "hevc" or (codec.extradata or b"")[:1] == b"\x01"  # with their lengths before them
    return bool(in_order) and has_units and (codec.name != "h264" or has_whole_frames(codec))


def _from_packets(container: Any, stream: Any) -> VideoIndex:
    codec = stream.codec_context.name
    packets = [
        (
            packet.pts,
            packet.dts,
            packet.is_keyframe,
            not packet.is_discard and _is_shown(codec, packet),
            packet.duration,
        )
        for packet in container.demux(stream)
        if packet.size
    ]
    pts, dts, is_key, is_shown, durations = zip(*packets, strict=True) if packets else ((),) * 5
    presented, decoded = (np.array([NO_TIME if time is None else time for time in of], np.int64) for of in (pts, dts))
    flags = np.array(is_key, bool), np.array(is_shown, bool)
    return VideoIndex(presented, decoded, *flags, durations[-1] or 0 if durations else 0, "packets")


def _is_shown(codec: str, packet: Any) -> bool:
    """Whether a packet holds a frame to be shown; VP8 and VP9 have some that others only refer to.

    The bits are those of RFC 6386, 9.1, and of the VP9 bitstream specification, 6.2; a VP9 superframe shows one frame.
    """
    first = memoryview(packet)[0]
    if codec == "vp8":
        return bool(first & 0x10)
    if codec == "vp9" and memoryview(packet)[-1] & 0xE0 != 0xC0:
        after_profile = first << (1 if first & 0x30 == 0x30 else 0)
        return bool(after_profile & 0x08) or bool(after_profile & 0x02)
    return True


def _from_header(file: BinaryIO, size: int, container: Any, stream: Any) -> VideoIndex | None:
    """The index that an MP4 holds; None where it comes in fragments or an edit list hides some of it."""
    boxes = list(_top_boxes(file, size))
    moov = next((box for box in boxes if box[0] == b"moov"), None)
    entries = [(e.timestamp, e.is_keyframe, e.is_discard, e.pos + e.size) for e in stream.index_entries]
    if moov is None or not entries:
        return None
    dts, is_key, is_hidden, ends = map(np.array, zip(*entries, strict=True))
    if ends.max() > size:
        raise _cut_short(f"it holds {(ends <= size).sum()} of {len(ends)} frames")
    if any(end > size for kind, _, end in boxes if kind in (b"mdat", b"moof")):
        raise _cut_short("its last part is incomplete")
    file.seek(moov[1])
    offsets = _composition_offsets(file.read(moov[2] - moov[1]), stream.id)
    if is_hidden.any() or offsets is None or len(offsets) != len(dts):
        return None
    first = next(container.demux(stream))
    if first.dts != dts[0] or first.pts is None:
        return None
    pts = dts + offsets
    last_duration = int(first.duration if len(dts) == 1 else dts[-1] - dts[-2])
    return VideoIndex(pts + (first.pts - pts[0]), dts, is_key, ~is_hidden, last_duration, "header")


def _top_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning of the content, and end of the boxes of an MP4 (ISO 14496-12, 4.2)."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        head = file.read(16)
        length, kind, header = int.from_bytes(head[:4]), head[4:8], 8
        if length == 1:
            length, header = int.from_bytes(head[8:]), 16
        if length == 0:
            length = size - start
        if length < header:
            return
        yield kind, start + header, start + length
        start += length


def _composition_offsets(moov: bytes, track_id: int) -> np.ndarray | None:
    """How much later than decoded each frame of a track is shown, int64 [n]; None where fragments follow."""
    if _inner(moov, b"mvex"):
        return None
    for trak in _inner(moov, b"trak"):
        (tkhd,) = _inner(trak, b"tkhd")
        if int.from_bytes(tkhd[20:24] if tkhd[0] else tkhd[12:16]) != track_id:
            continue
        (table,) = _inner(trak, b"mdia", b"minf", b"stbl")
        (sizes,) = _inner(table, b"stsz") or _inner(table, b"stz2")
        tables = _inner(table, b"ctts")
        if not tables:
            return np.zeros(int.from_bytes(sizes[8:12]), np.int64)
        runs = np.frombuffer(tables[0], ">i4", 2 * int.from_bytes(tables[0][4:8]), 8).reshape(-1, 2).astype(np.int64)
        if runs[:, 0].min(initial=0) < 0 or runs[:, 0].sum() > int.from_bytes(sizes[8:12]):
            return None
        return np.repeat(runs[:, 1], runs[:, 0])
    return None


def _inner(content: bytes, *path: bytes) -> list[bytes]:
    """Contents of the boxes at a path within a box."""
    found, start = [], 0
    while start + 8 <= len(content):
        length = int.from_bytes(content[start : start + 4])
        if length < 8:
            break
        if content[start + 4 : start + 8] == path[0]:
            inner = content[start + 8 : start + length]
            found += _inner(inner, *path[1:]) if path[1:] else [inner]
        start += length
    return found


def _refuse_cut_segment(file: BinaryIO, size: int) -> None:
    """Raise if a Matroska file ends before an element of it does; what is of unknown length is looked into."""
    at = 0
    while at + 2 < size:
        file.seek(at)
        head = file.read(12)
        id_width = 9 - head[0].bit_length()  # of both numbers, zeros at the beginning tell the bytes (RFC 8794, 4)
        width = 9 - head[id_width].bit_length() if id_width <= 4 else 9
        if width > 8:  # no element: FFmpeg looks for the next one
            return
        length = int.from_bytes(head[id_width : id_width + width]) & (1 << 7 * width) - 1
        at += id_width + width
        if length != (1 << 7 * width) - 1:
            at += length
    if at > size:
        raise _cut_short(f"it holds {size:,} of at least {at:,} bytes")


def _refuse_short(index: VideoIndex, container: Any, stream: Any) -> None:
    """Raise if the last frame ends well before the duration that is stated of the stream."""
    stated_s = None
    if stated := stream.metadata.get("DURATION"):
        hours, minutes, seconds = stated.split(":")
        stated_s = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    elif container.duration and len(container.streams) == 1:
        stated_s = container.duration / 1e6
    end_s = float((index.pts.max() + index.last_duration) * stream.time_base)
    if stated_s is not None and end_s < stated_s - _TOLERANCE_S - 2 * float(index.last_duration * stream.time_base):
        raise _cut_short(f"it ends at {end_s:.1f} of {stated_s:.1f} s")


def _cut_short(what: str) -> MediaError:
    return MediaError("the video is cut short", remedy=f"{what}: fetch it again")
