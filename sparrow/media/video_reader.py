"""Video files: frames by presentation time, decoded from points that are known to be clean.

Where the container's index and the codec prove which packet is which frame, only the groups of pictures around the
wanted frames are decoded, and what comes out must be what the index says. All other files are decoded from the
beginning to the end, and the frames counted as the decoder shows them. What a decoder reports as damaged is an error.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.stream import Discard, Disposition

from sparrow.core.errors import MediaError, SparrowError
from sparrow.core.files import is_machine_fault
from sparrow.media.colour import Hdr, hdr_transfer, refuse_hdr, to_rgb
from sparrow.media.frame_choice import Clock, clock
from sparrow.media.h264 import is_clean_start
from sparrow.media.images import MAX_PIXELS
from sparrow.media.video_index import NO_TIME, VideoIndex, read_index

Decoder = Literal["auto", "pyav", "decord"]

_DAMAGED = "it may be truncated or damaged: fetch it again or encode it anew"
# Only containers of their own frames: FFmpeg also reads playlists, whose files may lie outside the media root.
_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,rm,mxf,nut,dv,ivf,h263,h264,hevc,obu,av1,mjpeg,"
    "jpeg_pipe,yuv4mpegpipe,apng,mp3,flac,wav"
)
_ASPECT_TOLERANCE = 0.01  # of square pixels: encoders round the shape of a scaled picture
_INTERLACED = (2, 3, 4, 5)  # FFmpeg's `AVFieldOrder`
_OUTPUT_CORRUPT = 8  # FFmpeg's `AV_CODEC_FLAG_OUTPUT_CORRUPT`: what is damaged comes out, and says so


class ClockChanged(Exception):
    """Decoding showed other frames or times than the container had stated; the reader's clock is right now."""


class _Disproved(Exception):
    """A decoder gave other frames than the container's index says."""


class VideoFileReader:
    """The best video stream of a file.

    `is_proved` says whether frames are sought; else every reading decodes the file from beginning to end.

    Raises:
        MediaError: If the file is no video, is truncated or damaged, or has no video stream; from any method.
    """

    def __init__(self, path: Path, *, hdr: Hdr = "refuse", decoder: Decoder = "auto") -> None:
        self._path, self._hdr, self._decoder = path, hdr, decoder
        with _open_stream(path) as (container, stream):
            codec = stream.codec_context
            refuse_hdr(codec.color_trc, hdr)
            self._index = read_index(path, container, stream)
            self._size_px = _displayed_size(codec.width, codec.height, stream.sample_aspect_ratio)
            self._fps = float(stream.average_rate or stream.guessed_rate or 1)
            self._time_base = float(stream.time_base)
            self._is_avi = container.format.name == "avi"
            self.is_interlaced = codec.field_order in _INTERLACED
            self.transfer = hdr_transfer(codec.color_trc)
        self.is_proved = self._index.is_proved
        self.clock = self._clock_of(self._stated_times())

    def size(self) -> tuple[int, int]:
        """Height and width in pixels as shown, of the first frame."""
        with _open_stream(self._path) as (container, stream):
            frame = next(_all_frames(container, stream, self._index), None)
            if frame is None:
                raise MediaError("no frame of the video can be decoded", remedy=_DAMAGED)
            height, width, _ = self._rgb(frame).shape
        return height, width

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames of ascending indices: uint8 RGB [n, height, width, 3], as they are to be seen.

        Where the size changes within the video, all are scaled to the one that the file states.

        Raises:
            ClockChanged: If the clock was not that of the frames; which ones are wanted must be chosen anew.
        """
        if self.is_proved:
            counted = self._counted(indices) if self._decoder == "decord" else None
            if counted is not None:
                return counted
            try:
                return self._at_times(indices)
            except _Disproved:
                self.is_proved = False
        return self._from_all(indices)

    def _at_times(self, indices: Sequence[int]) -> np.ndarray:
        """Frames decoded from the clean starts before them; two decoders take turns, so that one can look ahead."""
        index = self._index
        order = np.flatnonzero(index.is_shown)[np.argsort(index.pts[index.is_shown])]
        positions = order[list(indices)].tolist()
        wanted = set(index.pts[positions].tolist())
        frames: list[np.ndarray] = []
        with ExitStack() as stack:
            current: _Decoding | None = None
            ahead: _Decoding | None = None
            for position in positions:
                start = index.start_before(position)
                while start > (current.position if current else 0):
                    ahead = ahead or _Decoding(*stack.enter_context(_open_stream(self._path)), index, wanted)
                    if ahead.starts_at(start):
                        current, ahead = ahead, current
                        break
                    start = index.start_before(start - 1)
                current = current or _Decoding(*stack.enter_context(_open_stream(self._path)), index, wanted)
                frames.append(self._rgb(current.frame_of(position)))
        return np.stack(frames)

    def _from_all(self, indices: Sequence[int]) -> np.ndarray:
        """Frames counted in a decode of the whole file."""
        wanted = set(indices)
        frames: list[np.ndarray] = []
        times: list[int | None] = []
        with _open_stream(self._path) as (container, stream):
            for frame in _all_frames(container, stream, self._index):
                if len(times) in wanted:
                    frames.append(self._rgb(frame))
                times.append(frame.pts)
        if not times:
            raise MediaError("no frame of the video can be decoded", remedy=_DAMAGED)
        seen = self._clock_of(self._seen_times(times))
        if seen != self.clock:
            self.clock = seen
            raise ClockChanged
        return np.stack(frames)

    def _stated_times(self) -> np.ndarray | int:
        """Times of the frames as the container states them; only their number where it states no times."""
        index = self._index
        if self._is_avi:  # holds only the order of decoding, as far apart as frames are shown
            return len(index.dts) if (index.dts == NO_TIME).any() else np.sort(index.dts)
        times = index.times
        return times[times != NO_TIME] if (times != NO_TIME).any() else len(times)

    def _seen_times(self, times: list[int | None]) -> np.ndarray | int:
        """Times of decoded frames, in the order in which the decoder shows them."""
        stated = self._stated_times()
        known = [time for time in times if time is not None]
        if not isinstance(stated, int) and len(stated) == len(times) and (self._is_avi or known != sorted(set(known))):
            return stated
        return np.sort(known) if len(set(known)) == len(times) else len(times)

    def _clock_of(self, times: np.ndarray | int) -> Clock:
        if isinstance(times, int) or not len(times):
            count = times if isinstance(times, int) else 0
            return Clock(num_frames=count, fps=self._fps, duration_s=count / self._fps)
        fps, steps = self._fps, np.diff(times)
        if len(times) != len(self._index.pts) and len(steps):  # the container's rate counts packets
            fps = 1 / (float(np.median(steps)) * self._time_base)
        starts_s = (times - times[0]) * self._time_base
        last_s = self._index.last_duration * self._time_base or 1 / fps
        return clock(starts_s, float(starts_s[-1]) + last_s, fps)

    def _rgb(self, frame: Any) -> np.ndarray:
        self.is_interlaced |= frame.interlaced_frame
        image = to_rgb(frame, self._size_px, self._hdr)
        rotation, is_mirrored = _orientation(frame)
        return np.rot90(image[::-1] if is_mirrored else image, round(rotation / 90) % 4)

    def _counted(self, indices: Sequence[int]) -> np.ndarray | None:
        """The frames as decord gives them; None where it cannot read the file or would count other frames."""
        import decord

        index = self._index
        keys = index.pts[index.is_key]
        group = np.cumsum(index.is_key) - 1
        if not index.is_shown.all() or (index.pts < keys[group]).any():  # it counts packets from the key frame before
            return None
        with _open_stream(self._path) as (container, stream):
            first = next(_all_frames(container, stream, index))
            upright = first.to_ndarray(format="rgb24").shape[1::-1] == self._size_px and not _orientation(first)[1]
        try:
            reader = decord.VideoReader(str(self._path), num_threads=1)
            if not upright or len(reader) != self.clock.num_frames:
                return None
            return reader.get_batch(list(indices)).asnumpy()
        except Exception:  # AV1, say; PyAV reads it or says what is wrong
            return None


class _Decoding:
    """A decoder that runs through a proved file from a clean start on; `position` is that of the packet to come."""

    def __init__(self, container: Any, stream: Any, index: VideoIndex, wanted: set[int]) -> None:
        self._container, self._stream, self._index, self._wanted = container, stream, index, wanted
        self._times = index.times
        self._num_given = 0  # of the frames shown, those before the next one
        self._packets: Iterator[Any] = container.demux(stream)
        self._found: dict[int, Any] = {}
        self._has_begun = False
        self._first_pts = self._last_pts = int(index.pts[0])
        self._start = self.position = 0

    def starts_at(self, position: int) -> bool:
        """Seek to a key frame and say whether decoding can begin there.

        The decoder sees the file's first packet before, which tells some decoders whose encoder's faults to follow.
        """
        if not self._has_begun:
            self._has_begun = True
            with suppress(av.error.FFmpegError):
                next(self._packets).decode()
        pts, dts = int(self._index.pts[position]), int(self._index.dts[position])
        for time in (pts, dts):  # some containers are sought by presentation times, some by decoding times
            self._container.seek(time, stream=self._stream)
            packets = self._container.demux(self._stream)
            packet = next((p for p in packets if p.pts is None or p.pts >= pts), None)
            if packet is not None and packet.pts == pts:
                break
        else:
            raise _Disproved
        self._first_pts = self._last_pts = pts
        self._num_given = int(np.searchsorted(self._times, pts))
        self._start = self.position = position
        if not (packet.is_keyframe and is_clean_start(self._stream.codec_context, bytes(packet))):
            return False
        self._packets, self._found = chain([packet], packets), {}
        return True

    def frame_of(self, position: int) -> Any:
        """The frame of a wanted packet, whose time lies after those of the ones before.

        What was decoded before it and is shown later, as what it refers to, must have come out undamaged too.
        """
        pts = int(self._index.pts[position])
        latest = int(self._index.pts[self._start : position + 1].max())
        self._has_begun = True
        while pts not in self._found or self._last_pts < latest:
            packet = next(self._packets, None)
            if pts not in self._found and (packet is None or self._last_pts > pts):
                raise _Disproved
            if packet is None:
                break
            self._decode(packet)
        return self._found[pts]

    def _decode(self, packet: Any) -> None:
        codec = self._stream.codec_context
        if packet.size:
            if self.position >= len(self._index.pts) or packet.pts != self._index.pts[self.position]:
                raise _Disproved
            self.position += 1
            if codec.name == "h264":  # no other frame refers to those that are left out (ITU-T H.264, 7.4.1)
                codec.skip_frame = "DEFAULT" if packet.pts in self._wanted else "NONREF"
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            if packet.size and packet.pts < self._first_pts:  # it may refer to what came before the start
                return
            raise
        for frame in frames:
            if frame.pts is None:
                raise _Disproved
            if frame.pts < self._first_pts:
                continue
            if frame.is_corrupt:
                raise MediaError("a frame of the video cannot be decoded", remedy=_DAMAGED)
            place = int(np.searchsorted(self._times, frame.pts))
            left_out = place - self._num_given
            if place == len(self._times) or self._times[place] != frame.pts or left_out < 0:
                raise _Disproved
            if (left_out and codec.name != "h264") or (frame.pts == self._first_pts and not frame.key_frame):
                raise _Disproved
            self._num_given, self._last_pts = place + 1, frame.pts
            if frame.pts in self._wanted:
                self._found[frame.pts] = frame


def _all_frames(container: Any, stream: Any, index: VideoIndex) -> Iterator[Any]:
    """All frames in the order in which the decoder shows them, without those that lack what was cut off before them.

    Raises:
        MediaError: If one is damaged.
    """
    leading, first_key = index.num_leading, int(np.argmax(index.is_key))
    first_pts = int(index.pts[first_key])
    has_left_out = False
    for position, packet in enumerate(container.demux(stream)):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            if position >= leading or position == first_key:
                raise
            frames, has_left_out = [], True
        for frame in frames:
            is_leading = leading > 0 and (frame.pts is None or frame.pts < first_pts)
            if frame.is_corrupt and is_leading:
                has_left_out = True
            elif frame.is_corrupt or (has_left_out and is_leading):
                raise MediaError("a frame of the video cannot be decoded", remedy=_DAMAGED)
            else:
                yield frame


def _displayed_size(width: int, height: int, aspect: Any) -> tuple[int, int]:
    """Width and height in square pixels, given the shape of the stored ones."""
    shown = max(1, round(width * aspect)) if aspect and abs(aspect - 1) > _ASPECT_TOLERANCE else width
    if shown * height > MAX_PIXELS:
        raise MediaError(f"the video's frames have {shown} x {height} pixels, at most {MAX_PIXELS} are read")
    return shown, height


def _unknown_kind(cls: Any, value: int) -> Any:
    kind = object.__new__(cls)
    kind._name_, kind._value_ = f"UNKNOWN_{value}", value
    return kind


# PyAV names fewer kinds of side data than FFmpeg has, as that of EXIF, and fails at them.
setattr(Type, "_missing_", classmethod(_unknown_kind))  # noqa: B010


def _orientation(frame: Any) -> tuple[int, bool]:
    """By how many degrees a frame is to be turned, after being mirrored if its display matrix says so.

    The matrix [a b u, c d v, x y w], int32, mirrors where its determinant is negative.
    """
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    return frame.rotation, a * d < b * c


@contextmanager
def _open_stream(path: Path) -> Iterator[tuple[Any, Any]]:
    """A file's container and its video stream; whatever PyAV raises inside is a `MediaError`."""
    try:
        with av.open(str(path), metadata_errors="replace", options={"format_whitelist": _CONTAINERS}) as container:
            stream = container.streams.best("video")
            if stream is None or stream.disposition & Disposition.attached_pic:  # the cover of a sound file
                raise MediaError("the file has no video stream", remedy="fix the record's path")
            if stream.codec_context is None:
                raise MediaError("the video's codec is not known", remedy="encode it as H.264")
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all
            stream.codec_context.thread_count = 1
            stream.codec_context.flags |= _OUTPUT_CORRUPT
            if stream.codec_context.name != "h264":  # at a recovery point it would refuse frames that come out right
                stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream
    except (SparrowError, ClockChanged, _Disproved):
        raise
    except av.error.FFmpegError as error:
        if is_machine_fault(error) and error.errno != errno.EIO:  # FFmpeg gives EIO for damaged files too
            raise
        if isinstance(error, av.error.ArgumentError):
            raise MediaError(
                "the file is not in a container of videos",
                remedy="of a list of files, name the video itself; else encode it as MP4",
            ) from error
        raise MediaError("the video cannot be decoded", remedy=f"{_DAMAGED} (FFmpeg: {error.strerror})") from error
    except Exception as error:  # whatever one file does, the others are read
        if is_machine_fault(error):
            raise
        raise MediaError(f"the video cannot be read ({type(error).__name__}: {error})", remedy=_DAMAGED) from error
