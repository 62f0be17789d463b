"""Frames of a video, whatever holds it: a video file, an animated picture, a folder of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sparrow.core.errors import MediaError
from sparrow.media.animations import AnimationReader, is_animation
from sparrow.media.colour import Hdr
from sparrow.media.frame_choice import Clock, VideoInfo, frame_indices, planned_frames, shown_size
from sparrow.media.frame_folders import FolderReader, VideoPath
from sparrow.media.images import checked_file, naming
from sparrow.media.settings import FramePolicy
from sparrow.media.video_decoding import DAMAGED, ClockChanged
from sparrow.media.video_reader import VideoFileReader

__all__ = ["Clip", "FramePolicy", "VideoInfo", "frame_indices", "look_at_header", "planned_frames", "probe_video"]
__all__ += ["read_clip", "read_frames", "read_with_info", "shown_size"]

Reader = VideoFileReader | AnimationReader | FolderReader
Bound = float | None


@dataclass(frozen=True)
class Clip:
    """The frames that are shown of a video, uint8 RGB [n, height, width, 3], their indices, and their times in s.

    Pictures are a list of [height, width, 3] without times.

    Times count from the video's first frame; they are NaN for a folder without a frame rate.
    """

    frames: np.ndarray | list[np.ndarray]
    indices: tuple[int, ...]
    times_s: tuple[float, ...]


def probe_video(path: str | VideoPath, *, fps: float | None = None, hdr: Hdr = "refuse") -> VideoInfo:
    """What a video holds; a file whose header does not prove it is decoded.

    Args:
        path: A video file, an animated picture (gif, webp), a folder of frames, or the frames' own paths.
        fps: Frame rate of a folder, where it is known; files have their own clock.
        hdr: Whether HDR is refused.

    Raises:
        MediaError: If it is missing, empty, not a video, truncated, or has no video stream.
    """
    with _open(path, FramePolicy(hdr=hdr), fps) as reader:
        _, frames = _read(reader, lambda clock: [0])
        return _info(reader, frames.shape[1:3])


def look_at_header(path: str | Path, policy: FramePolicy) -> VideoInfo:
    """What a video file's header says, whether that is proved or not; at most its first frame is decoded.

    Raises:
        MediaError: As `probe_video`.
    """
    with _open(path, policy, None) as reader:
        return _info(reader)


def read_clip(
    path: str | VideoPath, policy: FramePolicy, start_s: Bound = None, end_s: Bound = None, *, fps: float | None = None
) -> Clip:
    """The frames that a policy asks for.

    The file is opened and closed in this call, on one thread, so that it works in forked workers.

    Raises:
        MediaError: If the file cannot be read, or no frame lies between the bounds; see `planned_frames`.
    """
    return read_with_info(path, policy, start_s, end_s, fps=fps)[0]


def read_with_info(
    path: str | VideoPath, policy: FramePolicy, start_s: Bound = None, end_s: Bound = None, *, fps: float | None = None
) -> tuple[Clip, VideoInfo]:
    """The same, and what is known of the video then."""
    with _open(path, policy, fps) as reader:
        indices, frames = _read(reader, lambda clock: planned_frames(clock, policy, start_s, end_s))
        size = frames.shape[1:3]
        frames = scaled(frames, shown_size(size, len(frames), policy))
        clip = Clip(frames, tuple(indices), tuple(map(reader.clock.start_of, indices)))
        return clip, _info(reader, size)


def scaled(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames, uint8 [n, h, w, 3], at `size` (height, width)."""
    if frames.shape[1:3] == size:
        return frames
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC)) for frame in frames]
    )


def read_frames(
    path: str | VideoPath, policy: FramePolicy, start_s: Bound = None, end_s: Bound = None, *, fps: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`read_clip` as arrays: uint8 RGB [n, height, width, 3], and times float64 [n] in s."""
    clip = read_clip(path, policy, start_s, end_s, fps=fps)
    return np.asarray(clip.frames), np.array(clip.times_s, np.float64)


def _read(reader: Reader, choose: Callable[[Clock], list[int]]) -> tuple[list[int], np.ndarray]:
    """The frames chosen by a video's clock, and their indices; chosen anew where decoding sets the clock right."""
    for _ in range(3):
        indices = choose(reader.clock)
        distinct, places = np.unique(indices, return_inverse=True)
        try:
            frames = reader.read(distinct.tolist())
        except ClockChanged:
            continue
        return indices, frames[places] if len(distinct) < len(indices) else frames
    raise MediaError("the video is decoded in another way each time", remedy=DAMAGED)


def _info(reader: Reader, size: tuple[int, int] | None = None) -> VideoInfo:
    height, width = size or reader.size()
    return VideoInfo(
        **vars(reader.clock),
        width_px=width,
        height_px=height,
        is_proved=reader.is_proved,
        is_sought=reader.is_sought,
        is_interlaced=reader.is_interlaced,
        is_fallback=reader.is_fallback,
        transfer=reader.transfer,
    )


@contextmanager
def _open(path: str | VideoPath, policy: FramePolicy, fps: float | None) -> Iterator[Reader]:
    """A reader of a video; every error inside names the path."""
    path = Path(path) if isinstance(path, str) else path
    with naming(path if isinstance(path, Path) else path[0].parent):
        if not isinstance(path, Path) or path.is_dir():
            yield FolderReader(path, fps)
        elif is_animation(checked_file(path)):
            with closing(AnimationReader(path)) as reader:
                yield reader
        else:
            yield VideoFileReader(path, hdr=policy.hdr, decoder=policy.reader)
