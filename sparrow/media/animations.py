"""Animated pictures (gif, webp, HEIC), whose times stand in each frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparrow.media.frame_choice import clock
from sparrow.media.images import is_heic, open_picture, picture_errors, refuse_large, rgb_array

DEFAULT_DURATION_MS = 100  # what browsers show a frame for that names no time


def is_animation(path: Path) -> bool:
    """Whether a file begins as a gif, webp or HEIC picture does."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head[:4] == b"GIF8" or (head[:4] == b"RIFF" and head[8:] == b"WEBP") or is_heic(path)


class AnimationReader:
    """Frames of an animated picture as they are shown, with its own times; all are decoded when it is opened.

    Raises:
        MediaError: If it is damaged or over the pixel limit; from any method.
    """

    is_proved, is_sought, is_interlaced, is_fallback, transfer = False, False, False, False, ""

    def __init__(self, path: Path) -> None:
        with picture_errors():
            self._image = open_picture(path)
            refuse_large(self._image)
            durations = []
            for i in range(getattr(self._image, "n_frames", 1)):
                self._image.seek(i)
                self._image.load()
                durations.append((self._image.info.get("duration") or DEFAULT_DURATION_MS) / 1000)
        ends = np.cumsum(durations)
        starts = ends - durations
        self.clock = clock(starts, float(ends[-1]), len(durations) / float(ends[-1]))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames of ascending indices: uint8 RGB [n, height, width, 3]."""
        frames = []
        with picture_errors():
            for i in indices:
                self._image.seek(i)
                frames.append(rgb_array(self._image))
        return np.stack(frames)

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._image.height, self._image.width
