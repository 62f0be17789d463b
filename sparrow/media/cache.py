"""Decoded frames kept on disk, for runs that read the same videos many times."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from sparrow.core.files import write_atomically
from sparrow.core.hashing import combined_hash, content_hash, file_hash
from sparrow.core.settings import identity
from sparrow.media.frame_folders import VideoPath, frame_files
from sparrow.media.frames import read_frames
from sparrow.media.images import naming
from sparrow.media.settings import FramePolicy

CACHE_VERSION = 4  # raised whenever the same file and policy come to mean other frames


class FrameCache:
    """`read_frames` that reads a clip once.

    What is kept is found by the content of the video, the bounds and the policy, never by the video's name: a file
    that is replaced is read anew, one that is renamed is not. Frames are stored as they are, so that a 24-frame clip
    of 640 x 360 takes 17 MB. Several processes may use a folder at once.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def read_frames(
        self,
        path: str | VideoPath,
        policy: FramePolicy,
        start_s: float | None = None,
        end_s: float | None = None,
        *,
        fps: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same as `sparrow.media.frames.read_frames`, and the same errors."""
        path = Path(path) if isinstance(path, str) else path
        named = path if isinstance(path, Path) else path[0].parent
        if not named.exists():
            return read_frames(path, policy, start_s, end_s, fps=fps)
        chosen = replace(policy, timestamps=False, verify="auto")  # the frames are the same
        with naming(named):
            content = video_hash(path)
        key = content_hash([CACHE_VERSION, content, identity(chosen), start_s, end_s, fps], length=32)
        kept = self.folder / key[:2] / f"{key}.npz"
        try:
            with np.load(kept, allow_pickle=False) as arrays:
                return arrays["frames"], arrays["times_s"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or damaged
            frames, times_s = read_frames(path, policy, start_s, end_s, fps=fps)
        buffer = io.BytesIO()
        np.savez(buffer, frames=frames, times_s=times_s)
        write_atomically(kept, buffer.getvalue())
        return frames, times_s


def video_hash(path: VideoPath) -> str:
    """Hash of a video's bytes: of a file, or of the pictures of a folder or list in their order."""
    if not isinstance(path, Path) or path.is_dir():
        return combined_hash(_hash_of(file) for file in frame_files(path))
    return _hash_of(path)


def _hash_of(file: Path) -> str:
    state = file.stat()
    return _file_hash(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _file_hash(file: Path, size: int, modified_ns: int) -> str:
    """Hash of a file's bytes, read again when its size or time changes."""
    return file_hash(file, length=32)
