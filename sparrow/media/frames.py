"""Frames of a video: which ones a policy asks for, known before decoding, and reading just those."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparrow.core.errors import ConfigError, MediaError

POLICIES = ("uniform", "fps", "all")


@dataclass(frozen=True)
class FramePolicy:
    """Which frames of a video are shown; the defaults are those of Sparrow (arXiv 2411.19951).

    Args:
        policy: `uniform`: `max_frames` spread evenly. `fps`: `fps` frames a second of video, thinned evenly to
            `max_frames` where they are more. `all`: every frame, without a limit.
        max_frames: Most frames of a video; None, with `fps`: no limit.
        fps: Frames a second of the policy `fps`.

    Raises:
        ConfigError: If a setting is out of its range or missing.
    """

    policy: str = "uniform"
    max_frames: int | None = 24
    fps: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.policy not in POLICIES:
            problems.append(f"frames.policy is {self.policy!r}; choose one of {', '.join(POLICIES)}")
        if self.max_frames is not None and self.max_frames < 1:
            problems.append(f"frames.max_frames is {self.max_frames}; use 1 or more")
        if self.policy == "uniform" and self.max_frames is None:
            problems.append("frames.policy is 'uniform' without frames.max_frames; set it, or use the policy 'all'")
        if self.policy == "fps" and (self.fps is None or not self.fps > 0):
            problems.append(f"frames.policy is 'fps' with frames.fps {self.fps}; set it above 0")
        if problems:
            raise ConfigError("\n".join(problems))


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video without decoding it: enough to plan, and plain JSON values.

    Args:
        num_frames: Number of frames.
        fps: Mean frames a second.
        width_px: Width of a frame as shown, after rotation.
        height_px: Height of a frame as shown, after rotation.
        duration_s: Time from the first frame to the end of the last.
        starts_s: Time of each frame from the first where the frame rate varies; None where it is constant.
    """

    num_frames: int
    fps: float
    width_px: int
    height_px: int
    duration_s: float
    starts_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.starts_s is not None:  # a list when it comes from JSON
            object.__setattr__(self, "starts_s", tuple(self.starts_s))

    def start_of(self, index: int) -> float:
        """Time in s, from the first frame, at which a frame comes on screen."""
        return index / self.fps if self.starts_s is None else self.starts_s[index]

    def frame_at(self, time_s: float) -> int:
        """Index of the frame on screen at a time; the first or last outside the video."""
        if self.starts_s is None:
            index = int(time_s * self.fps + 1e-6)
        else:
            index = bisect_right(self.starts_s, time_s + 1e-6) - 1
        return min(max(index, 0), self.num_frames - 1)


def frame_indices(total: int, count: int) -> list[int]:
    """Indices of `count` frames spread evenly over `total`; all of them where they are no more than that.

    With s = (total - 1) / count, index i is (round(s i) + round(s (i + 1))) // 2, halves rounded to even: the rule
    of Sparrow's released code (300 frames, 8: 18 56 93 131 168 205 243 280).
    """
    if total <= count:
        return list(range(total))
    step = (total - 1) / count
    return [(round(step * i) + round(step * (i + 1))) // 2 for i in range(count)]


def planned_frames(
    info: VideoInfo, policy: FramePolicy, start_s: float | None = None, end_s: float | None = None
) -> list[int]:
    """Indices of the frames that `read_frames` returns, in order.

    Between bounds only those frames count that are on screen at some time in [start_s, end_s). Where the frame
    rate varies, frames are chosen evenly in time, so that one that stays on screen for long may be shown twice.

    Args:
        info: What `probe_video` found.
        policy: Which frames are asked for.
        start_s: Start of the clip in s from the first frame; None: the first frame.
        end_s: End of the clip; None, or after the video's end: the end.

    Raises:
        MediaError: If no frame lies between the bounds.
    """
    first, stop = _bounds(info, start_s, end_s)
    total = stop - first
    if policy.policy == "all":
        return list(range(first, stop))
    if policy.policy == "fps":
        assert policy.fps is not None
        begin = max(start_s or 0.0, info.start_of(first))
        end = min(end_s or info.duration_s, info.duration_s)
        ticks = max(1, int((end - begin) * policy.fps + 1 - 1e-6))
        frames = sorted({info.frame_at(begin + k / policy.fps) for k in range(ticks)})
        limit = len(frames) if policy.max_frames is None else policy.max_frames
        return [frames[i] for i in frame_indices(len(frames), limit)]
    assert policy.max_frames is not None
    chosen = frame_indices(total, policy.max_frames)
    if info.starts_s is None or total <= policy.max_frames:
        return [first + i for i in chosen]
    begin = info.start_of(first)
    step = (info.start_of(stop - 1) - begin) / (total - 1)
    return [info.frame_at(begin + i * step) for i in chosen]


def _bounds(info: VideoInfo, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """First frame of a clip, and the one after its last."""
    start = 0.0 if start_s is None else start_s
    if start < 0 or start >= info.duration_s or (end_s is not None and end_s <= start):
        raise MediaError(
            f"the clip from {start_s} s to {end_s} s holds no frame of a video of {info.duration_s:.2f} s",
            remedy="mend the record's start and end",
        )
    first = info.frame_at(start)
    if end_s is None or end_s >= info.duration_s:
        return first, info.num_frames
    if info.starts_s is None:
        last = int(-(-(end_s * info.fps - 1e-6) // 1))
    else:
        last = bisect_left(info.starts_s, end_s - 1e-6)
    return first, min(max(last, first + 1), info.num_frames)


def probe_video(path: str | Path) -> VideoInfo:
    """Open a video, decode its first frame, and say what it holds.

    Raises:
        MediaError: If it is missing, empty, not a video, truncated, or has no video stream.
    """
    with _open_video(path) as reader:
        return _info(reader)


def read_frames(
    path: str | Path, policy: FramePolicy, start_s: float | None = None, end_s: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The frames that a policy asks for: uint8 RGB [n, height, width, 3], and their times float64 [n] in s.

    Times count from the video's first frame. The file is opened and closed in this call, on one thread, so that
    it works in forked workers.

    Raises:
        MediaError: If the file cannot be read, or no frame lies between the bounds; see `planned_frames`.
    """
    with _open_video(path) as reader:
        info = _info(reader)
        indices = planned_frames(info, policy, start_s, end_s)
        frames = reader.get_batch(indices).asnumpy()
    return frames, np.array([info.start_of(i) for i in indices], np.float64)


@contextmanager
def _open_video(path: str | Path) -> Iterator[Any]:
    """A decord reader of a file; whatever goes wrong inside is a `MediaError` that names the file."""
    import decord

    path = Path(path)
    if not path.is_file():
        raise MediaError("there is no such file", where=str(path), remedy="mend the path or the media root")
    if path.stat().st_size == 0:
        raise MediaError("the file is empty", where=str(path), remedy="fetch it again")
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        yield reader
    except MediaError as error:
        raise MediaError(error.what, where=str(path)) from error
    except Exception as error:  # decord raises both RuntimeError and its own DECORDError, which is not one
        raise MediaError(
            f"the video cannot be decoded ({_first_line(error)})",
            where=str(path),
            remedy="fetch it again or encode it anew; it may be truncated, damaged, or have no video stream",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _info(reader: Any) -> VideoInfo:
    total = len(reader)
    if total == 0:
        raise MediaError("the video has no frames")
    height, width, _ = reader[0].shape
    spans = np.asarray(reader.get_frame_timestamp(range(total)), np.float64).reshape(total, 2)
    starts = spans[:, 0] - spans[0, 0]
    duration = float(spans[-1, 1] - spans[0, 0])
    if duration <= 0:
        duration = total / reader.get_avg_fps()
    fps = total / duration
    constant = bool(np.abs(starts * fps - np.arange(total)).max() < 0.5)
    return VideoInfo(total, fps, width, height, duration, None if constant else tuple(starts.tolist()))
