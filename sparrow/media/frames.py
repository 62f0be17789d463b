"""Frames of a video, whatever holds it: a video file, an animated picture, a folder of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sparrow.media.animations import AnimationReader, is_animation
from sparrow.media.colour import Hdr
from sparrow.media.frame_choice import Clock, VideoInfo, frame_indices, planned_frames
from sparrow.media.frame_folders import FolderReader
from sparrow.media.images import checked_file, naming
from sparrow.media.settings import FramePolicy
from sparrow.media.video_reader import ClockChanged, VideoFileReader

__all__ = [
    "Clip",
    "FramePolicy",
    "PlannedClip",
    "VideoInfo",
    "frame_indices",
    "look_at_header",
    "plan_clip",
    "planned_frames",
    "probe_video",
    "read_clip",
    "read_frames",
]

Reader = VideoFileReader | AnimationReader | FolderReader


@dataclass(frozen=True)
class Clip:
    """The frames that are shown of a video, uint8 RGB [n, height, width, 3], their indices, and their times in s.

    Times count from the video's first frame; they are NaN for a folder without a frame rate.
    """

    frames: np.ndarray
    indices: tuple[int, ...]
    times_s: tuple[float, ...]


class PlannedClip(NamedTuple):
    """What a clip will show: the (height, width) and times in s of its frames, and in which way they are read."""

    size: tuple[int, int]
    times_s: tuple[float, ...]
    way: str


def probe_video(path: str | Path, *, fps: float | None = None, hdr: Hdr = "refuse") -> VideoInfo:
    """What a video holds; a file whose header does not prove it is decoded.

    Args:
        path: A video file, an animated picture (gif, webp), or a folder of frames.
        fps: Frame rate of a folder, where it is known; files have their own clock.
        hdr: Whether HDR is refused.

    Raises:
        MediaError: If it is missing, empty, not a video, truncated, or has no video stream.
    """
    with _open(path, FramePolicy(hdr=hdr), fps) as reader:
        _read(reader, lambda clock: [0])
        return _info(reader)


def look_at_header(path: str | Path, policy: FramePolicy) -> VideoInfo:
    """What a video file's header says, whether that is proved or not; only its first frame is decoded, if it is proved.

    Raises:
        MediaError: As `probe_video`.
    """
    with _open(path, policy, None) as reader:
        if reader.is_proved or policy.verify == "header":
            return _info(reader)
        return VideoInfo(**vars(reader.clock), width_px=0, height_px=0, is_proved=False)


def plan_clip(
    path: str | Path,
    policy: FramePolicy,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    fps: float | None = None,
    info: VideoInfo | None = None,
) -> PlannedClip:
    """What `read_clip` will show, from the video's header where `policy.verify` trusts it, else from its frames.

    `info` is that header where it was looked at before.

    Raises:
        MediaError: As `read_clip`.
    """
    if info is None or not (info.is_proved or policy.verify == "header") or policy.verify == "frames":
        with _open(path, policy, fps) as reader:
            if policy.verify == "frames" or not reader.is_proved and policy.verify == "auto" or Path(path).is_dir():
                clip = _clip(reader, policy, start_s, end_s)
                return PlannedClip(clip.frames.shape[1:3], clip.times_s, f"{reader.way}, decoded")
            info = _info(reader)
    with naming(Path(path)):
        indices = planned_frames(info, policy, start_s, end_s)
    return PlannedClip((info.height_px, info.width_px), tuple(map(info.start_of, indices)), info.way)


def read_clip(
    path: str | Path,
    policy: FramePolicy,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    fps: float | None = None,
) -> Clip:
    """The frames that a policy asks for.

    The file is opened and closed in this call, on one thread, so that it works in forked workers.

    Raises:
        MediaError: If the file cannot be read, or no frame lies between the bounds; see `planned_frames`.
    """
    with _open(path, policy, fps) as reader:
        return _clip(reader, policy, start_s, end_s)


def read_frames(
    path: str | Path,
    policy: FramePolicy,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    fps: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`read_clip` as arrays: uint8 RGB [n, height, width, 3], and times float64 [n] in s."""
    clip = read_clip(path, policy, start_s, end_s, fps=fps)
    return clip.frames, np.array(clip.times_s, np.float64)


def _clip(reader: Reader, policy: FramePolicy, start_s: float | None, end_s: float | None) -> Clip:
    indices, frames = _read(reader, lambda clock: planned_frames(clock, policy, start_s, end_s))
    return Clip(frames, tuple(indices), tuple(map(reader.clock.start_of, indices)))


def _read(reader: Reader, choose: Callable[[Clock], list[int]]) -> tuple[list[int], np.ndarray]:
    """The frames chosen by a video's clock, and their indices; chosen anew where decoding sets the clock right."""
    while True:
        indices = choose(reader.clock)
        distinct, places = np.unique(indices, return_inverse=True)
        try:
            frames = reader.read(distinct.tolist())
        except ClockChanged:
            continue
        return indices, frames[places] if len(distinct) < len(indices) else frames


def _info(reader: Reader) -> VideoInfo:
    height, width = reader.size()
    clock = vars(reader.clock)
    return VideoInfo(**clock, width_px=width, height_px=height, way=reader.way, is_proved=reader.is_proved)


@contextmanager
def _open(path: str | Path, policy: FramePolicy, fps: float | None) -> Iterator[Reader]:
    """A reader of a video; every error inside names the path."""
    path = Path(path)
    with naming(path):
        if path.is_dir():
            yield FolderReader(path, fps)
        elif is_animation(checked_file(path)):
            with closing(AnimationReader(path)) as reader:
                yield reader
        else:
            yield VideoFileReader(path, hdr=policy.hdr, decoder=policy.reader)
