"""24 frames of a video: sequential decoding and decord's own `get_batch` against Sparrow's reader, in processor time.

`python benchmarks/video.py` makes a 60 s clip (640 x 360, H.264, a key frame every 10 s) and a 30 min file that
repeats it, and reads both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np

from sparrow.media.cache import FrameCache
from sparrow.media.frames import frame_indices, probe_video, read_frames
from sparrow.media.settings import FramePolicy

FPS = 25
WIDTH_PX, HEIGHT_PX = 640, 360
POLICY = FramePolicy(max_frames=24)


def make_clip(path: Path, num_seconds: int) -> None:
    """A window that wanders over a noisy picture."""
    coarse = np.random.default_rng(0).integers(0, 255, (90, 240, 3), dtype=np.uint8)
    ground = coarse.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH_PX, HEIGHT_PX, "yuv420p", 250
        for i in range(num_seconds * FPS):
            x, y = (3 * i) % (ground.shape[1] - WIDTH_PX), i % (ground.shape[0] - HEIGHT_PX)
            image = np.ascontiguousarray(ground[y : y + HEIGHT_PX, x : x + WIDTH_PX])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def repeat_clip(source: Path, target: Path, times: int) -> None:
    """The same packets again and again, with later times."""
    with av.open(str(target), "w") as output:
        stream = None
        for k in range(times):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                shift = k * video.duration
                for packet in container.demux(video):
                    if packet.size:
                        packet.pts += shift
                        packet.dts += shift
                        packet.stream = stream
                        output.mux(packet)


def sequential(path: Path) -> np.ndarray:
    """Every frame decoded in turn, the wanted ones kept, as a script around a video reader does."""
    reader = decord.VideoReader(str(path), num_threads=1)
    wanted = set(frame_indices(len(reader), 24))
    kept = []
    for i in range(len(reader)):
        frame = reader.next()
        if i in wanted:
            kept.append(frame.asnumpy())
    return np.stack(kept)


def get_batch(path: Path) -> np.ndarray:
    """decord's own random access."""
    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(frame_indices(len(reader), 24)).asnumpy()


def ours(path: Path) -> np.ndarray:
    """Sparrow's reader."""
    return read_frames(path, POLICY)[0]


def seconds(work: Callable[[], object]) -> float:
    """Seconds of processor time, over all threads, that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print seconds of each way, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip, film = Path(folder) / "60s.mp4", Path(folder) / "30min.mp4"
        make_clip(clip, 60)
        repeat_clip(clip, film, 30)
        cache = FrameCache(Path(folder) / "cache")
        cache.read_frames(clip, POLICY)
        ways: dict[str, Callable[[Path], object]] = {
            "decord get_batch": get_batch,
            "sparrow read_frames": ours,
            "  probe_video": probe_video,
        }
        for path in (clip, film):
            reference = sequential(path)
            for way in (get_batch, ours):
                assert np.array_equal(way(path), reference)
            taken: dict[str, list[float]] = {"sequential": [seconds(lambda path=path: sequential(path))]}
            for _ in range(arguments.repeats):
                for name, way in ways.items():
                    taken.setdefault(name, []).append(seconds(lambda way=way, path=path: way(path)))
            if path == clip:
                taken["  from the frame cache"] = [seconds(lambda: cache.read_frames(clip, POLICY))]
            print(f"{path.stem}: {probe_video(path).num_frames} frames, median of {arguments.repeats} (sequential: 1)")
            base = taken["sequential"][0]
            for name, times_s in taken.items():
                median = float(np.median(times_s))
                print(f"  {name:32s} {median:7.3f} s {base / median:6.1f}x")


if __name__ == "__main__":
    main()
