"""Video files through decord, on one thread, opened anew for every use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sparrow.core.errors import MediaError
from sparrow.media.sampling import Clock, clock

_NOISE = re.compile(r"\[\d\d:\d\d:\d\d\] \S+?:\d+: |\(?-?\d+ vs\. -?\d+\)? |0x[0-9a-f]+")  # differs from run to run


class VideoFileReader:
    """The best video stream of a file, turned as its display matrix says.

    decord seeks to the key frame before each frame that is asked for, and decodes from there.

    Raises:
        MediaError: If the file is no video, is damaged, or has no video stream; from any method.
    """

    def __init__(self, path: Path) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        with _decord_errors():
            self._reader = decord.VideoReader(str(path), num_threads=1)
        self.clock = self._clock()

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames of ascending indices: uint8 RGB [n, height, width, 3]."""
        with _decord_errors():
            return self._reader.get_batch(list(indices)).asnumpy()

    def _clock(self) -> Clock:
        with _decord_errors():
            total = len(self._reader)
            if total == 0:
                raise MediaError("the video has no frames", remedy="fetch it again or encode it anew")
            spans = np.asarray(self._reader.get_frame_timestamp(range(total)), np.float64).reshape(total, 2)
            fps = float(self._reader.get_avg_fps())
        starts = spans[:, 0] - spans[0, 0]
        return clock(starts, float(spans[-1, 1] - spans[0, 0]), fps)


@contextmanager
def _decord_errors() -> Iterator[None]:
    """Whatever decord raises, as a `MediaError` whose words are the same in every run."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:  # RuntimeError, and DECORDError, which is not one
        said = _NOISE.sub("", (str(error).strip().splitlines() or [type(error).__name__])[0])
        if "cannot find video stream" in said:
            raise MediaError("the file has no video stream", remedy="mend the record's path") from error
        raise MediaError(
            "the video cannot be decoded",
            remedy=f"it may be truncated or damaged: fetch it again or encode it anew (decord: {said[:160].strip()})",
        ) from error
