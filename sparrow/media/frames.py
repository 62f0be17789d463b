"""Frames of a video, whatever holds it: a video file, an animated picture, a folder of frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sparrow.media.animations import AnimationReader, is_animation
from sparrow.media.frame_choice import VideoInfo, frame_indices, planned_frames, shown_size
from sparrow.media.frame_folders import FolderReader
from sparrow.media.images import checked_file, naming
from sparrow.media.settings import FramePolicy
from sparrow.media.video_files import VideoFileReader

__all__ = [
    "Clip",
    "FramePolicy",
    "VideoInfo",
    "frame_indices",
    "planned_frames",
    "probe_video",
    "read_clip",
    "read_frames",
    "shown_size",
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


def probe_video(path: str | Path, *, fps: float | None = None) -> VideoInfo:
    """Open a video, decode its first frame, and say what it holds.

    Args:
        path: A video file, an animated picture (gif, webp), or a folder of frames.
        fps: Frame rate of a folder, where it is known; files have their own clock.

    Raises:
        MediaError: If it is missing, empty, not a video, truncated, or has no video stream.
    """
    with _open(path, fps) as reader:
        (frame,) = reader.read([0])
        height, width, _ = frame.shape
        return VideoInfo(**vars(reader.clock), width_px=width, height_px=height)


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
    with _open(path, fps) as reader:
        indices = planned_frames(reader.clock, policy, start_s, end_s)
        distinct, places = np.unique(indices, return_inverse=True)
        frames = reader.read(distinct.tolist())
        if len(distinct) < len(indices):
            frames = frames[places]
        frames = scaled(frames, shown_size(frames.shape[1:3], len(frames), policy))
        return Clip(frames, tuple(indices), tuple(reader.clock.start_of(i) for i in indices))


def scaled(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames, uint8 [n, h, w, 3], at `size` (height, width)."""
    if frames.shape[1:3] == size:
        return frames
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC)) for frame in frames]
    )


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


@contextmanager
def _open(path: str | Path, fps: float | None) -> Iterator[Reader]:
    """A reader of a video; every error inside names the path."""
    path = Path(path)
    with naming(path):
        if path.is_dir():
            yield FolderReader(path, fps)
        elif is_animation(checked_file(path)):
            with closing(AnimationReader(path)) as reader:
                yield reader
        else:
            yield VideoFileReader(path)
