"""What a video's container says of its frames without decoding them: their times, and where decoding may begin.

An MP4's index says it alone; elsewhere every packet's header is looked at. Only in codecs and files of a proved kind is
a packet known to be a frame; in all others the decoder must say how many frames there are (`video_reader.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sparrow.core.errors import MediaError
from sparrow.core.tables import counted
from sparrow.media.h264 import HEAD_BYTES, Start, has_whole_frames, start_at

NO_TIME = np.iinfo(np.int64).min
_FRAME_PER_PACKET = {
    *("h264", "hevc", "vp8", "vp9", "av1", "libdav1d"),
    *("mjpeg", "prores", "dnxhd", "png", "ffv1", "huffyuv", "ffvhuff", "rawvideo"),
}
_TOLERANCE_S = 0.5  # by which a stream may end before its stated duration
_BACKWARDS_S = 0.1  # by which a clock that starts again goes back at least
_PART_BYTES = 1 << 16  # of the beginning or the end of a file: more than a page of Ogg
_FILE_SIZES = {  # what stands before a number of bytes that the file holds at least, how far, and the number's form
    "asf": (bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"), 40, "<u8"),
    "flv": (b"\0\x08filesize\0", 11, ">f8"),
    "mxf": (bytes.fromhex("060e2b34020501010d0102010102040083"), 44, ">u8"),  # where the footer is
}
_SEGMENT, _CUES = 0x18538067, b"\x1c\x53\xbb\x6b"
_EBML_PARTS = {  # of a file, a segment and a cluster (RFC 9559, 5)
    *(_SEGMENT, 0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0x1941A469),
    *(0x1043A770, 0x1254C367, 0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xEC, 0xBF, 0x5854),
}


@dataclass
class VideoIndex:
    """The packets of a stream in order of decoding; times in units of its time base, `NO_TIME` where there is none.

    Args:
        pts: Presentation times, int64 [n].
        dts: Decoding times, int64 [n].
        is_key: What the container calls key frames, bool [n].
        is_shown: False for what an edit list or the codec hides, bool [n].
        starts: Where decoding may begin, `Start` [n]; `NONE` for what is no key frame.
        last_duration: How long the last packet's frame stays.
        has_places: Whether the container says where packets are; else a seek would read all that lies before.
        is_joined: Whether the clock starts again, so that the container's own times find no frame.
        is_proved: Whether each shown packet is known to be one frame at its time, so that frames may be sought.
    """

    pts: np.ndarray
    dts: np.ndarray
    is_key: np.ndarray
    is_shown: np.ndarray
    starts: np.ndarray
    last_duration: int
    has_places: bool = True
    is_joined: bool = False
    is_proved: bool = False

    @property
    def times(self) -> np.ndarray:
        """Times of the shown frames, ascending."""
        return np.sort(self.pts[self.is_shown])

    @property
    def is_sought(self) -> bool:
        """Whether a frame is decoded from a start near it, where there are several key frames."""
        return self.is_proved and bool(self.is_key.sum() < 2 or (self.starts[1:] >= Start.OPEN).any())

    @property
    def is_cut(self) -> bool:
        """Whether frames at the beginning may lack what was cut off before them, which a strict decoder refuses."""
        return self.begins_within or self.num_leading > 1

    @property
    def begins_within(self) -> bool:
        """Whether it was cut out of a stream that is refreshed bit by bit, so that its first frames are not whole."""
        return bool(self.starts[int(np.argmax(self.is_key))] == Start.GRADUAL)

    @property
    def num_leading(self) -> int:
        """Packets up to the first one shown after the first key frame: what they refer to may have been cut off."""
        first = int(np.argmax(self.is_key)) if self.is_key.any() else 0
        later = np.flatnonzero(self.pts[first:] > self.pts[first])
        return first + (int(later[0]) if len(later) else 0)

    def start_before(self, position: int) -> int:
        """Position of the last clean start from which a packet's frame can be decoded; 0 where there is none."""
        usable = (self.starts[: position + 1] >= Start.OPEN) & (self.pts[: position + 1] <= self.pts[position])
        return int(np.flatnonzero(usable)[-1]) if usable.any() else 0


def read_index(path: Path, container: Any, stream: Any) -> VideoIndex:
    """The index of a container's video stream, which must just have been opened.

    Raises:
        MediaError: If the file ends earlier than its container says.
    """
    kind: str = container.format.name
    with open(path, "rb", buffering=0) as file:  # small parts, far apart
        size = os.fstat(file.fileno()).st_size
        if (promised := _promised_bytes(kind, file, size)) > size:
            raise _cut_short(f"it holds {size:,} of at least {promised:,} bytes")
        index = _from_header(file, size, container, stream) if kind.startswith("mov") else None
        index = index or _from_packets(container, stream, size)
        if kind.startswith("matroska"):
            file.seek(0)
            index.has_places = _CUES in file.read(_PART_BYTES)  # its table of contents names them
    num_found = len(index.pts)
    if kind == "avi" and (index.dts != NO_TIME).all():  # counts frames that were dropped
        steps = np.diff(np.sort(index.dts))
        num_found = int(index.dts.max(initial=-1)) + max(int(np.median(steps)) if len(steps) else 1, 1)
    # Only AVI counts what it holds: MP4 counts what an edit list hides too, IVF units of time.
    if num_found < (max(stream.frames, 1) if kind == "avi" else 1):
        raise _cut_short(f"it holds {num_found} of {counted(max(stream.frames, 1), 'frame')}")
    if kind.startswith(("matroska", "flv", "ivf")):
        _refuse_short(index, container, stream)
    index.is_proved = kind.startswith(("mov", "matroska")) and _is_proved(index, stream.codec_context)
    return index


def packets_of(container: Any, stream: Any) -> Iterator[tuple[Any, int]]:
    """The packets of a stream, and how much later they are than they say.

    Where its clock starts again, as in joined recordings, their times go on.
    """
    end, step, later = NO_TIME, 1, 0
    for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
            is_back = packet.pts + later < end - _BACKWARDS_S / stream.time_base
            if is_back and packet.is_keyframe:  # elsewhere a key frame is shown after all that came before it
                later = end + step - packet.pts
            packet.pts += later
            if packet.dts is not None:
                packet.dts += later
            end, step = max(end, packet.pts), packet.duration or step
        yield packet, later


def _is_proved(index: VideoIndex, codec: Any) -> bool:
    """Whether packets are frames, with distinct times and a key frame that is shown first."""
    is_clean = len(index.starts) and index.starts[0] >= Start.OPEN and index.starts.min() > Start.FIELDS
    if codec.name not in _FRAME_PER_PACKET or index.is_joined or not is_clean or not index.is_shown.any():
        return False
    in_order = index.pts.min() == index.pts[0] != NO_TIME and (np.diff(index.times) > 0).all()
    has_units = codec.name != "hevc" or (codec.extradata or b"")[:1] == b"\x01"  # with their lengths before them
    return bool(in_order) and has_units and (codec.name != "h264" or has_whole_frames(codec))


def _from_packets(container: Any, stream: Any, size: int) -> VideoIndex:
    codec, packets, end = stream.codec_context, [], size
    for packet, later in packets_of(container, stream):
        if packet.size:
            end = (packet.pos or 0) + packet.size
            start = start_at(codec, bytes(memoryview(packet)[:HEAD_BYTES])) if packet.is_keyframe else Start.NONE
            is_shown = not packet.is_discard and _is_shown(codec.name, packet)
            times = (NO_TIME if time is None else time for time in (packet.pts, packet.dts))
            packets.append((*times, packet.is_keyframe, is_shown, start, packet.duration or 0, later))
    if container.format.name == "yuv4mpegpipe" and end < size:
        raise _cut_short("its last frame is incomplete")
    pts, dts, keys, shown, starts, durations, later_by = np.array(packets, np.int64).reshape(-1, 7).T
    return VideoIndex(pts, dts, keys > 0, shown > 0, starts, int(durations[-1:].sum()), is_joined=bool(later_by.any()))


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
    boxes = list(_boxes(file, size))
    moov = next((box for box in boxes if box[0] == b"moov"), None)
    entries = [(e.timestamp, e.is_keyframe, e.is_discard, e.pos, e.size) for e in stream.index_entries]
    if moov is None or not entries:
        return None
    dts, is_key, is_hidden, places, sizes = map(np.array, zip(*entries, strict=True))
    is_whole = places + sizes <= size
    if not is_whole.all():
        raise _cut_short(f"it holds {is_whole.sum()} of {counted(len(entries), 'frame')}")
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
    starts = np.where(is_key, Start.NEW, Start.NONE)
    if stream.codec_context.name in ("h264", "hevc"):  # whose key flags prove nothing
        for position in np.flatnonzero(is_key):
            file.seek(places[position])
            starts[position] = start_at(stream.codec_context, file.read(min(HEAD_BYTES, sizes[position])))
    return VideoIndex(pts + (first.pts - pts[0]), dts, is_key, ~is_hidden, starts, last_duration)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning of the content, and end of the boxes in a part of an MP4 (ISO 14496-12, 4.2)."""
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
    found = [content[start:end] for kind, start, end in _boxes(BytesIO(content), len(content)) if kind == path[0]]
    return [inner for box in found for inner in _inner(box, *path[1:])] if path[1:] else found


def _promised_bytes(kind: str, file: BinaryIO, size: int) -> int:
    """How many bytes a file has at least, by what its container says of its parts, of its end or of its size."""
    if kind.startswith("matroska"):
        return _segment_end(file, size)
    if kind.startswith("mov"):
        return max((_subsegments_end(file, *box[1:]) for box in _boxes(file, size) if box[0] == b"sidx"), default=0)
    if kind == "ogg":
        file.seek(max(size - _PART_BYTES, 0))
        tail = file.read()
        page = tail[tail.rfind(b"OggS\0") :]
        if len(page) > 27 and (not page[5] & 4 or len(page) < 27 + sum(page[26 : 27 + page[26]])):  # RFC 3533, 6
            raise _cut_short("its last page is incomplete or not the last of its stream")
    if kind in _FILE_SIZES:
        mark, offset, form = _FILE_SIZES[kind]
        head = file.read(_PART_BYTES)
        if (at := head.find(mark)) >= 0:
            return int(np.frombuffer(head, form, 1, at + offset)[0])
    return 0


def _subsegments_end(file: BinaryIO, start: int, end: int) -> int:
    """Where the parts end that a segment index lists (ISO 14496-12, 8.16.3)."""
    file.seek(start)
    box = file.read(end - start)
    at, width = (20, 8) if box[:1] == b"\1" else (16, 4)
    sizes = [int.from_bytes(box[i : i + 4]) & 0x7FFFFFFF for i in range(at + width + 4, len(box) - 11, 12)]
    return end + int.from_bytes(box[at : at + width]) + sum(sizes)


def _segment_end(file: BinaryIO, size: int) -> int:
    """Where a Matroska file's segment ends, or, if its length is not known, the last element within it."""
    at = 0
    while at + 2 < size:
        file.seek(at)
        head = file.read(12)
        id_width = 9 - head[0].bit_length()  # of both numbers, zeros at the beginning tell the bytes (RFC 8794, 4)
        width = 9 - head[id_width].bit_length() if id_width <= 4 else 9
        name = int.from_bytes(head[:id_width])
        if width > 8 or name not in _EBML_PARTS:  # what stands behind the segment
            return at
        length = int.from_bytes(head[id_width : id_width + width]) & (1 << 7 * width) - 1
        at += id_width + width
        if length != (1 << 7 * width) - 1:
            at += length
            if name == _SEGMENT:
                return at
    return at


def _refuse_short(index: VideoIndex, container: Any, stream: Any) -> None:
    """Raise if the last frame ends well before the duration that is stated of the stream."""
    stated_s = None
    if stated := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "").strip()):
        stated_s = sum(unit * float(number) for unit, number in zip((3600, 60, 1), stated.groups(), strict=True))
    elif container.duration and len(container.streams) == 1:
        stated_s = container.duration / 1e6
    end_s = float((index.pts.max() + index.last_duration) * stream.time_base)
    if stated_s is not None and end_s < stated_s - _TOLERANCE_S - 2 * float(index.last_duration * stream.time_base):
        raise _cut_short(f"it ends at {end_s:.1f} of {stated_s:.1f} s")


def _cut_short(what: str) -> MediaError:
    return MediaError("the video is cut short", remedy=f"{what}: fetch it again")
