"""Which frames of a video are shown: a function of its clock and a policy, known before anything is decoded."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from sparrow.core.errors import MediaError
from sparrow.media.settings import FramePolicy

_AGREEMENT_S = 2e-3  # by which a frame's time may differ from that of a constant rate
_EPSILON = 1e-6  # s or frames: what rounding may add to a time that a record gives in decimals


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When the frames of a video come on screen; times count from its first frame, in s.

    Args:
        num_frames: Number of frames.
        fps: Mean frames a second; None for a folder of frames whose rate is not known.
        starts_s: Time of each frame where the frame rate varies; None where it is constant.
        duration_s: Time at which the last frame ends; None where the rate is not known.
    """

    num_frames: int
    fps: float | None
    duration_s: float | None
    starts_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.starts_s is not None:  # a list when it comes from JSON
            object.__setattr__(self, "starts_s", tuple(self.starts_s))

    def start_of(self, index: int) -> float:
        """Time at which a frame comes on screen; NaN where the rate is not known."""
        if self.starts_s is not None:
            return self.starts_s[index]
        return math.nan if self.fps is None else index / self.fps

    def frame_at(self, time_s: float) -> int:
        """Index of the frame on screen at a time; the first or last outside the video."""
        if self.starts_s is not None:
            index = bisect_right(self.starts_s, time_s + _EPSILON) - 1
        else:
            assert self.fps is not None
            index = int(time_s * self.fps + _EPSILON)
        return min(max(index, 0), self.num_frames - 1)

    def frames_before(self, time_s: float) -> int:
        """How many frames come on screen before a time."""
        if self.starts_s is not None:
            return bisect_left(self.starts_s, time_s - _EPSILON)
        assert self.fps is not None
        return min(math.ceil(time_s * self.fps - _EPSILON), self.num_frames)


@dataclass(frozen=True, kw_only=True)
class VideoInfo(Clock):
    """What is known of a video without decoding it: enough to plan, and plain JSON values; sizes are as shown.

    `is_proved` says whether the header alone proves it; `is_sought`, whether readings begin near the wanted frames, not
    at the beginning; `is_fallback`, whether decord was asked for and showed other frames; `transfer` names that of HDR.
    """

    width_px: int
    height_px: int
    is_proved: bool = True
    is_sought: bool = True
    is_interlaced: bool = False
    is_fallback: bool = False
    transfer: str = ""

    def suffices(self, policy: FramePolicy) -> bool:
        """Whether what is known is enough for a plan, so that the video need not be decoded."""
        is_trusted = policy.verify == "header" or (policy.verify == "auto" and self.is_proved)
        return is_trusted and policy.reader != "decord" and not (self.transfer and policy.hdr == "refuse")


def clock(starts_s: np.ndarray, duration_s: float, nominal_fps: float, tick_s: float = 0.0) -> Clock:
    """The clock of frames with known times, rounded to ticks; a constant rate if all agree with it within 2 ms."""
    total = len(starts_s)
    for fps in (nominal_fps, (total - 1) / float(starts_s[-1]) if total > 1 else nominal_fps):
        if (np.abs(starts_s - np.arange(total) / fps) < min(0.5 / fps, _AGREEMENT_S + tick_s)).all():
            return Clock(num_frames=total, fps=fps, duration_s=total / fps)
    return Clock(num_frames=total, fps=total / duration_s, duration_s=duration_s, starts_s=tuple(starts_s.tolist()))


def frame_indices(total: int, count: int) -> list[int]:
    """Indices of `count` frames spread evenly over `total`; all of them where they are no more than that.

    With s = (total - 1) / count, index i is (round(s i) + round(s (i + 1))) // 2, halves rounded to even: the rule
    of Sparrow's released code (300 frames, 8: 18 56 93 131 168 205 243 280).
    """
    if total <= count:
        return list(range(total))
    step = (total - 1) / count
    return [(round(step * i) + round(step * (i + 1))) // 2 for i in range(count)]


def frames_of_seconds(info: Clock, most: int, duration_s: float | None) -> list[int]:
    """One frame a second from the first on, or `most`: n = min(most, int(d)), index i is int(int(d fps) / n) i.

    The duration d is the video's own where none is given. Source: `load_video` of longvideobench_dataset.py.
    """
    assert info.fps is not None and info.duration_s is not None, "checked by planned_frames"
    duration_s = info.duration_s if duration_s is None else duration_s
    count = max(1, min(most, int(duration_s)))
    step = int(int(duration_s * info.fps) / count)
    return [min(step * i, info.num_frames - 1) for i in range(count)]


def planned_frames(
    info: Clock, policy: FramePolicy, start_s: float | None = None, end_s: float | None = None
) -> list[int]:
    """Indices of the frames that `read_frames` returns, in order.

    Between bounds only those frames count that are on screen at some time in [start_s, end_s). Where the frame
    rate varies, frames are chosen evenly in time, so that one that stays on screen for long may be shown twice.

    Raises:
        MediaError: If no frame lies between the bounds, or times are asked of a folder without a frame rate.
    """
    if info.fps is None and (policy.policy in ("fps", "one_a_second") or start_s is not None or end_s is not None):
        raise MediaError(
            "the folder's frame rate is not known, so that no time in it can be found",
            remedy="give the record its fps, or use the policy 'uniform' or 'all' without start and end",
        )
    if policy.policy == "one_a_second" and start_s is None:
        assert policy.max_frames is not None
        return frames_of_seconds(info, policy.max_frames, end_s)
    first, stop = _bounds(info, start_s, end_s)
    if policy.policy == "all" and policy.max_frames is None:
        return list(range(first, stop))
    count = policy.max_frames
    if policy.policy == "fps":
        frames = _frames_at_rate(info, policy, 0.0 if start_s is None else start_s, end_s)
        if len(frames) >= (policy.min_frames or 0):
            return [frames[i] for i in frame_indices(len(frames), count or len(frames))]
        count = policy.min_frames
    total = stop - first
    assert count is not None
    chosen = frame_indices(total, count)
    if info.starts_s is None or total <= count:
        return [first + i for i in chosen]
    begin = info.start_of(first)
    step = (info.start_of(stop - 1) - begin) / (total - 1)
    return [info.frame_at(begin + i * step) for i in chosen]


def shown_size(size: tuple[int, int], count: int, policy: FramePolicy) -> tuple[int, int]:
    """Height and width at which `count` frames of a size are shown, scaled down to what the policy allows."""
    height, width = size
    limits = [policy.frame_size_px and policy.frame_size_px**2, policy.max_pixels and policy.max_pixels / max(count, 1)]
    scale = min([1.0, *(math.sqrt(limit / (height * width)) for limit in limits if limit is not None)])
    return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))


def _frames_at_rate(info: Clock, policy: FramePolicy, begin_s: float, end_s: float | None) -> list[int]:
    """The frames on screen at ticks of `policy.fps` from a time on, each once."""
    assert policy.fps is not None and info.duration_s is not None
    end = info.duration_s if end_s is None else min(end_s, info.duration_s)
    num_ticks = max(1, math.ceil((end - begin_s) * policy.fps - _EPSILON))
    return sorted({info.frame_at(begin_s + k / policy.fps) for k in range(num_ticks)})


def _bounds(info: Clock, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """First frame of a clip, and the one after its last."""
    if start_s is None and end_s is None:
        return 0, info.num_frames
    assert info.duration_s is not None
    start = 0.0 if start_s is None else start_s
    if not 0 <= start < info.duration_s or (end_s is not None and not end_s > start):
        raise MediaError(
            f"the clip from {start_s} s to {end_s} s holds no frame of a video of {info.duration_s:.2f} s",
            remedy="fix the record's start and end",
        )
    first = info.frame_at(start)
    if end_s is None or end_s >= info.duration_s:
        return first, info.num_frames
    return first, max(info.frames_before(end_s), first + 1)
