"""Video files: decord where frames can be counted, PyAV by presentation times elsewhere; one thread, opened per use.

decord counts packets from the key frame before. It gives other frames than those asked for, without an error, where
groups of pictures are open, an edit list cuts frames off, or the container has no index (avi, mpeg, transport
streams), and turns frames that are to be mirrored. Headers tell such files apart. Times are right in all of them but
avi, which holds only the order of decoding: there frames are counted as the decoder gives them.
"""

from __future__ import annotations

import errno
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparrow.core.errors import MediaError
from sparrow.core.files import is_machine_fault
from sparrow.media.frame_choice import Clock, clock

_DAMAGED = "it may be truncated or damaged: fetch it again or encode it anew"
_SKIPPING_CODECS = ("h264", "hevc")  # decoders that leave out exactly the frames that no other frame needs
# Only containers of their own frames: FFmpeg also reads playlists, whose files may lie outside the media root.
_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,rm,mxf,nut,dv,ivf,h263,h264,hevc,obu,av1,mjpeg,"
    "yuv4mpegpipe,apng,mp3,flac,wav"
)
_INDEXED_CONTAINERS = ("mov", "matroska")


class Packet(NamedTuple):
    """Header of one packet; times are ints in units of the stream's time base, None where the container holds none."""

    pts: Any
    dts: Any
    duration: int
    is_key: bool
    is_shown: bool


class VideoFileReader:
    """The best video stream of a file, frame by frame as its packets' times say.

    Looks at every packet once, which takes some microseconds a frame, and decodes only around the frames that are
    asked for.

    Raises:
        MediaError: If the file is no video, is truncated or damaged, or has no video stream; from any method.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _open_stream(path) as (container, stream):
            packets = [
                Packet(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, not packet.is_discard)
                for packet in container.demux(stream)
                if packet.size
            ]
            is_avi = container.format.name == "avi"
            decoding = _decoding_times(packets) if is_avi else None
            num_held = decoding[-1] + 1 if decoding else len(packets)  # avi counts frames that were dropped
            if num_held < max(stream.frames, 1):
                raise MediaError(
                    "the video is cut short",
                    remedy=f"it holds {num_held} of {stream.frames} frames: fetch it again",
                )
            self._codec: str = stream.codec_context.name
            self._size_px = stream.codec_context.width, stream.codec_context.height
            self._has_index = container.format.name.startswith(_INDEXED_CONTAINERS)
            self._keys = [packet for packet in packets if packet.is_key]
            self._pts = None if is_avi else _shown(packets)
            self._can_be_counted = (
                self._has_index
                and self._pts is not None
                and _in_closed_groups(packets)
                and not _begins_mirrored(self._keys[0], container, stream)
            )
            self.clock = _clock(decoding or self._pts, packets, stream)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames of ascending indices: uint8 RGB [n, height, width, 3].

        Where the size changes within the video, all are scaled to the one that the file states, as decord does.
        """
        counted = self._counted(indices) if self._can_be_counted else None
        if counted is not None:
            return counted
        with _open_stream(self._path) as (container, stream):
            if self._pts is None:
                frames = self._nth(container, stream, indices)
            else:
                frames = self._at_times(container, stream, [self._pts[i] for i in indices])
        if len(frames) < len(indices):
            raise MediaError("frames of the video cannot be decoded", remedy=_DAMAGED)
        return np.stack(frames)

    def _counted(self, indices: Sequence[int]) -> np.ndarray | None:
        """The frames as decord gives them; None where it cannot read the file or counts other frames."""
        import decord

        try:
            reader = decord.VideoReader(str(self._path), num_threads=1)
            if len(reader) != self.clock.num_frames:
                return None
            return reader.get_batch(list(indices)).asnumpy()
        except Exception:  # AV1, say; PyAV reads it or says what is wrong
            return None

    def _at_times(self, container: Any, stream: Any, wanted: list[int]) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        if self._has_index:
            for group in self._groups(wanted):
                key = next(key for key in reversed(self._keys) if key.pts <= group[0])
                self._collect(_packets_from(key, container, stream), stream, group, found)
        else:  # a seek would lead somewhere near
            self._collect(container.demux(stream), stream, wanted, found)
        return [found[pts] for pts in wanted if pts in found]

    def _groups(self, wanted: list[int]) -> Iterator[list[int]]:
        """The wanted times cut where a key frame lies between them, so that a seek saves decoding."""
        keys = sorted(key.pts for key in self._keys)
        for _, group in groupby(wanted, key=lambda pts: bisect_right(keys, pts)):
            yield list(group)

    def _collect(self, packets: Iterator[Any], stream: Any, wanted: list[int], found: dict[int, np.ndarray]) -> None:
        """Decode packets until the last wanted time."""
        remaining = set(wanted)
        for packet in packets:
            if self._codec in _SKIPPING_CODECS:
                stream.codec_context.skip_frame = "DEFAULT" if packet.pts in remaining else "NONREF"
            for frame in packet.decode():
                if frame.pts in remaining:
                    found[frame.pts] = _rgb(frame, self._size_px)
                    remaining.discard(frame.pts)
            if not remaining:
                return

    def _nth(self, container: Any, stream: Any, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames of ascending indices, by counting from the beginning."""
        found: list[np.ndarray] = []
        for i, frame in enumerate(container.decode(stream)):
            if i == indices[len(found)]:
                found.append(_rgb(frame, self._size_px))
                if len(found) == len(indices):
                    break
        return found


def _packets_from(key: Packet, container: Any, stream: Any) -> Iterator[Any]:
    """The packets from a key frame on; some indices go by presentation times, some by decoding times."""
    for start in (key.pts, key.dts):
        container.seek(start, stream=stream)
        packets = container.demux(stream)
        first = next(packets)
        if first.pts is not None and first.pts <= key.pts:
            break
    return chain([first], packets)


def _clock(times: list[int] | None, packets: list[Packet], stream: Any) -> Clock:
    fps = float(stream.average_rate or stream.guessed_rate or 1)
    if times is None:
        return Clock(num_frames=len(packets), fps=fps, duration_s=len(packets) / fps)
    base = float(stream.time_base)
    starts = (np.array(times, np.int64) - times[0]) * base
    return clock(starts, float(starts[-1]) + (packets[-1].duration * base or 1 / fps), fps)


def _shown(packets: list[Packet]) -> list[int] | None:
    """Presentation times of the frames that a player shows, ascending; None where the container holds none.

    Packets that an edit list cuts off are left out, and those before the first key frame, which cannot be decoded.
    """
    times = [packet.pts for packet in packets]
    keys = [packet.pts for packet in packets if packet.is_key]
    if None in times or len(set(times)) < len(times) or not keys:
        return None
    return sorted(packet.pts for packet in packets if packet.is_shown and packet.pts >= keys[0]) or None


def _decoding_times(packets: list[Packet]) -> list[int] | None:
    """Decoding times of all frames, ascending: as far apart as they are shown; None where the container lacks some."""
    times = [packet.dts for packet in packets]
    return None if None in times else sorted(times) or None


def _begins_mirrored(key: Packet, container: Any, stream: Any) -> bool:
    """Whether the first frame is to be shown mirrored, which decord takes for turned; only a decoded frame says so."""
    container.seek(key.pts, stream=stream)
    return any(map(_is_mirrored, islice(container.decode(stream), 1)))


def _is_mirrored(frame: Any) -> bool:
    """Whether a frame's display matrix [a b u, c d v, x y w], int32, has a negative determinant."""
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    return a * d < b * c


def _in_closed_groups(packets: list[Packet]) -> bool:
    """Whether every frame is shown, and none after a key frame in the file is shown before it."""
    key_pts = None
    for packet in packets:
        if packet.is_key:
            key_pts = packet.pts
        elif key_pts is None or packet.pts < key_pts:
            return False
    return all(packet.is_shown for packet in packets)


def _rgb(frame: Any, size_px: tuple[int, int]) -> np.ndarray:
    """A decoded frame at a width and height, then mirrored and turned by its display matrix: uint8 RGB [h, w, 3]."""
    width, height = size_px
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    if _is_mirrored(frame):
        image = image[::-1]
    return np.rot90(image, frame.rotation // 90 % 4)


@contextmanager
def _open_stream(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file's container and its video stream; whatever PyAV raises inside is a `MediaError`."""
    import av
    from av.stream import Disposition

    try:
        with av.open(str(path), metadata_errors="replace", options={"format_whitelist": _CONTAINERS}) as container:
            stream = container.streams.best("video")
            if stream is None or stream.disposition & Disposition.attached_pic:  # the cover of a sound file
                raise MediaError("the file has no video stream", remedy="fix the record's path")
            if stream.codec_context is None:
                raise MediaError("the video's codec is not known", remedy="encode it as H.264")
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.error.FFmpegError as error:
        if is_machine_fault(error) and error.errno != errno.EIO:  # FFmpeg gives EIO for damaged files too
            raise
        if isinstance(error, av.error.ArgumentError):
            raise MediaError(
                "the file is not in a container of videos",
                remedy="of a list of files, name the video itself; else encode it as MP4",
            ) from error
        raise MediaError("the video cannot be decoded", remedy=f"{_DAMAGED} (FFmpeg: {error.strerror})") from error
