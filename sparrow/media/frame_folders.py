"""Folders of frames: a video that was taken apart into numbered pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparrow.core.errors import MediaError
from sparrow.core.files import Roots, followed, inside_root
from sparrow.media.frame_choice import Clock
from sparrow.media.images import read_image

VideoPath = Path | tuple[Path, ...]
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorting key under which numbers count as numbers: frame_2 comes before frame_10."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def is_frames(path: VideoPath) -> bool:
    """Whether a video is a folder or a list of pictures."""
    return not isinstance(path, Path) or path.is_dir()


def frame_files(folder: VideoPath, roots: Sequence[Path] = ()) -> list[Path]:
    """The pictures of a folder in natural order, without hidden files and other kinds; those of a list as they are.

    Raises:
        MediaError: If a link leads out of the folder and the roots, or in a circle.
    """
    if not isinstance(folder, Path):
        return list(folder)
    files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.name[0] != "."]
    allowed = [root.resolve() for root in (folder, *roots)]
    for file in files:
        if file.is_symlink() and not any(followed(file).is_relative_to(root) for root in allowed):
            raise MediaError(f"the frame {file.name!r} leads out of its folder", remedy="copy the picture there")
    return sorted(files, key=lambda file: natural_key(file.name))


def find_video(roots: Roots, path: str) -> VideoPath:
    """The file or folder of a video, or its frames where the record or a folder with links to other roots lists them.

    Raises:
        MediaError: If a path leads out of the media roots.
    """
    if "\n" in path:
        return tuple(inside_root(roots, frame) for frame in path.split("\n"))
    found = inside_root(roots, path)
    others = [] if isinstance(roots, Path) else roots[1:]
    return (tuple(frame_files(found, others)) if others and found.is_dir() else ()) or found


def file_states(path: VideoPath) -> list[tuple[int, int]]:
    """Size in bytes and time of change in ns of a file, or of the pictures of a folder: other ones are other media.

    Raises:
        OSError: If it is not there.
        MediaError: As `frame_files`.
    """
    states = [file.stat() for file in ([path] if isinstance(path, Path) and path.is_file() else frame_files(path))]
    return [(state.st_size, state.st_mtime_ns) for state in states]


class FolderReader:
    """The pictures of a folder as frames at a constant rate, the first at time 0 whatever its number.

    Raises:
        MediaError: If it holds no pictures, or, when read, pictures that are damaged or differ in size.
    """

    is_proved, is_sought, is_interlaced, is_fallback, transfer = True, True, False, False, ""

    def __init__(self, folder: VideoPath, fps: float | None) -> None:
        if fps is not None and not fps > 0:
            raise MediaError(f"the folder's frame rate is {fps}", remedy="fix the record's fps")
        self._files = frame_files(folder)
        total = len(self._files)
        if total == 0:
            kinds = ", ".join(sorted(PICTURE_SUFFIXES))
            raise MediaError("the folder holds no pictures", remedy=f"fetch its frames ({kinds})")
        self.clock = Clock(num_frames=total, fps=fps, duration_s=None if fps is None else total / fps)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames of some indices: uint8 RGB [n, height, width, 3]."""
        frames = [read_image(self._files[i]) for i in indices]
        for i, frame in zip(indices, frames, strict=True):
            if frame.shape != frames[0].shape:
                first, other = ("{1} x {0}".format(*shape) for shape in (frames[0].shape, frame.shape))
                raise MediaError(
                    f"frames differ in size: {self._files[indices[0]].name} is {first}, {self._files[i].name} {other}",
                    remedy="scale them to one size",
                )
        return np.stack(frames)

    def size(self) -> tuple[int, int]:
        """Height and width of the first picture in pixels."""
        height, width, _ = read_image(self._files[0]).shape
        return height, width
