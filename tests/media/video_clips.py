"""Small video files, made with PyAV."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(index: int, width: int, height: int) -> np.ndarray:
    """A frame that says its index: four bits of it as black or white quarters on top, a moving bar below."""
    image = np.full((height, width, 3), 128, np.uint8)
    for bit in range(8):
        image[: height // 2, bit * width // 8 : (bit + 1) * width // 8] = 235 if index >> bit & 1 else 20
    return image


def index_of(frame: np.ndarray) -> int:
    """The index that `picture` wrote into a frame."""
    height, width, _ = frame.shape
    cells = (frame[height // 4, (2 * bit + 1) * width // 16].mean() > 128 for bit in range(8))
    return sum(int(lit) << bit for bit, lit in enumerate(cells))


def write_clip(
    path: Path,
    num_frames: int = 48,
    *,
    fps: int = 24,
    width: int = 128,
    height: int = 64,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    ticks: list[int] | None = None,
    gop: int = 12,
    options: dict[str, str] | None = None,
    title: str = "",
    draw: Callable[[int, int, int], np.ndarray] = picture,
) -> Path:
    """A clip of `picture`s, or what else is drawn; `ticks` are the presentation times of the frames in 1/fps s, if not one a frame."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = Fraction(1, fps)
        stream.codec_context.time_base = Fraction(1, fps)
        stream.gop_size = gop
        for i in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw(i, width, height), format="rgb24")
            frame.pts = i if ticks is None else ticks[i]
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
