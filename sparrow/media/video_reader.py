"""Video files: frames by presentation time, decoded from points that are known to be clean.

Where the container's index and the codec prove which packet is which frame, only the groups of pictures around the
wanted frames are decoded, and what comes out must be what the index says. All other files are decoded from the
beginning to the end, and the frames counted as the decoder shows them. What a decoder reports as damaged is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from av.sidedata.sidedata import Type

from sparrow.core.errors import MediaError
from sparrow.media.colour import Hdr, hdr_transfer, refuse_hdr, to_rgb
from sparrow.media.frame_choice import Clock, clock
from sparrow.media.h264 import Start
from sparrow.media.images import MAX_PIXELS
from sparrow.media.video_decoding import ClockChanged, Decoding, Disproved, all_frames, open_stream
from sparrow.media.video_index import NO_TIME, read_index

Decoder = Literal["auto", "pyav", "decord"]

_ASPECT_TOLERANCE = 0.01  # of square pixels: encoders round the shape of a scaled picture
_SAME = 2  # grey levels by which two decoders' pictures of a frame differ at most, on average
_INTERLACED = (2, 3, 4, 5)  # FFmpeg's `AVFieldOrder`


class VideoFileReader:
    """The best video stream of a file.

    `is_proved` says whether the header proves its frames, `is_sought` whether they are decoded from starts near them;
    else every reading begins at the beginning. `is_fallback` says whether PyAV read it although decord was asked for,
    which showed other frames.

    Raises:
        MediaError: If the file is no video, is truncated or damaged, or has no video stream; from any method.
    """

    def __init__(self, path: Path, *, hdr: Hdr = "refuse", decoder: Decoder = "auto") -> None:
        self._path, self._hdr, self._decoder = path, hdr, decoder
        with open_stream(path) as (container, stream):
            codec = stream.codec_context
            refuse_hdr(codec.color_trc, hdr)
            self._index = read_index(path, container, stream)
            self._size_px = _displayed_size(codec.width, codec.height, stream.sample_aspect_ratio)
            self._fps = float(stream.average_rate or stream.guessed_rate or 1)
            self._time_base = float(stream.time_base)
            self._is_avi = container.format.name == "avi"
            self.is_interlaced = codec.field_order in _INTERLACED
            self._stated_transfer = codec.color_trc
            self.transfer = hdr_transfer(codec.color_trc)
        self.is_proved, self.is_sought, self.is_fallback = self._index.is_proved, self._index.is_sought, False
        self.clock = self._clock_of(self._stated_times())

    def size(self) -> tuple[int, int]:
        """Height and width in pixels as shown, of the first frame."""
        with open_stream(self._path, is_strict=not self._index.is_cut) as (container, stream):
            height, width, _ = self._rgb(next(all_frames(container, stream, self._index))).shape
        return height, width

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames of ascending indices: uint8 RGB [n, height, width, 3], as they are to be seen.

        Where the size changes within the video, all are scaled to the one that the file states.

        Raises:
            ClockChanged: If the clock was not that of the frames; which ones are wanted must be chosen anew.
        """
        if self.is_proved:
            try:
                return self._checked(indices, self._at_times(indices))
            except Disproved:
                self.is_proved = self.is_sought = False
        return self._checked(indices, self._from_all(indices))

    def _at_times(self, indices: Sequence[int]) -> np.ndarray:
        """Frames decoded from the clean starts before them."""
        index = self._index
        order = np.flatnonzero(index.is_shown)[np.argsort(index.pts[index.is_shown])]
        positions = order[list(indices)].tolist()
        starts = [index.start_before(position) for position in positions]
        is_strict = bool((index.starts[starts] == Start.NEW).all())
        frames: list[np.ndarray] = []
        with open_stream(self._path, is_strict=is_strict) as (container, stream):
            decoding = Decoding(container, stream, index, set(index.pts[positions].tolist()))
            for position, start in zip(positions, starts, strict=True):
                if start > decoding.position:
                    decoding.seek(start)
                frames.append(self._rgb(decoding.frame_of(position)))
        return np.stack(frames)

    def _from_all(self, indices: Sequence[int]) -> np.ndarray:
        """Frames counted in a decode of the whole file."""
        wanted = set(indices)
        frames: list[np.ndarray] = []
        times: list[int | None] = []
        with open_stream(self._path, is_strict=not self._index.is_cut) as (container, stream):
            for frame in all_frames(container, stream, self._index):
                if len(times) in wanted:
                    frames.append(self._rgb(frame))
                times.append(frame.pts)
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
        starts_s = (times - times[0]) * self._time_base
        last_s = self._index.last_duration * self._time_base or 1 / self._fps
        return clock(starts_s, float(starts_s[-1]) + last_s, self._fps, self._time_base)

    def _rgb(self, frame: Any) -> np.ndarray:
        self.is_interlaced |= frame.interlaced_frame
        image = to_rgb(frame, self._size_px, self._hdr, self._stated_transfer)
        rotation, is_mirrored = _orientation(frame)
        return np.rot90(image[::-1] if is_mirrored else image, round(rotation / 90) % 4)

    def _checked(self, indices: Sequence[int], frames: np.ndarray) -> np.ndarray:
        """The frames, or with `decord` its own of them: it shows what is damaged, so they must look the same."""
        if self._decoder != "decord":
            return frames
        import decord

        try:
            theirs = decord.VideoReader(str(self._path), num_threads=1).get_batch(list(indices)).asnumpy()
            pairs = zip(theirs.astype(np.int16), frames, strict=True)
            is_same = theirs.shape == frames.shape and all(np.abs(a - b).mean() < _SAME for a, b in pairs)
        except Exception:  # what it cannot read
            is_same = False
        self.is_fallback = not is_same
        return theirs if is_same else frames


def _displayed_size(width: int, height: int, aspect: Any) -> tuple[int, int]:
    """Width and height in square pixels, given the shape of the stored ones."""
    shown = max(1, round(width * aspect)) if aspect and abs(aspect - 1) > _ASPECT_TOLERANCE else width
    if shown * height > MAX_PIXELS:
        raise MediaError(
            f"the video's frames have {shown} x {height} pixels, at most {MAX_PIXELS} are read", remedy="scale it down"
        )
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
