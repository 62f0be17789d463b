"""24 frames of a video: sequential decoding and decord's own `get_batch` against Sparrow's reader.

`python benchmarks/video.py` makes a 60 s clip (640 x 360, H.264, a key frame every 10 s) and films that repeat it, one
of 13 minutes with sound, and prints processor time and bytes read of each way.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np

from sparrow.media.frames import frame_indices, probe_video, read_frames
from sparrow.media.settings import FramePolicy
from sparrow.media.video_decoding import Decoding

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


def repeat_clip(source: Path, target: Path, times: int, *, sound: bool = False) -> None:
    """The same packets again and again, with later times, beside noise where there is `sound`."""
    with av.open(str(target), "w") as output:
        with av.open(str(source)) as container:
            stream = output.add_stream_from_template(container.streams.video[0])
        audio = output.add_stream("aac", rate=48_000) if sound else None
        seconds_of_sound = 0
        for k in range(times):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                shift = k * video.duration
                for packet in container.demux(video):
                    if packet.size:
                        packet.pts += shift
                        packet.dts += shift
                        while audio is not None and seconds_of_sound <= packet.dts * video.time_base:
                            output.mux(audio.encode(_second_of_noise()))
                            seconds_of_sound += 1
                        packet.stream = stream
                        output.mux(packet)
        if audio is not None:
            output.mux(audio.encode())


def _second_of_noise() -> av.AudioFrame:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 48_000)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
    frame.sample_rate = 48_000
    return frame


def sequential(path: Path) -> np.ndarray:
    """Every frame decoded in turn, the wanted ones kept, as a script around a video reader does."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        wanted = set(frame_indices(stream.frames, POLICY.max_frames))
        return np.stack(
            [frame.to_ndarray(format="rgb24") for i, frame in enumerate(container.decode(stream)) if i in wanted]
        )


def decord_sequential(path: Path) -> np.ndarray:
    """The same with decord."""
    reader = decord.VideoReader(str(path), num_threads=1)
    wanted = set(frame_indices(len(reader), POLICY.max_frames))
    frames = (reader.next() for _ in range(len(reader)))
    return np.stack([frame.asnumpy() for i, frame in enumerate(frames) if i in wanted])


def get_batch(path: Path) -> np.ndarray:
    """decord's own random access."""
    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(frame_indices(len(reader), POLICY.max_frames)).asnumpy()


def ours(path: Path) -> np.ndarray:
    """Sparrow's reader."""
    return read_frames(path, POLICY)[0]


def bytes_read() -> int:
    """Bytes that this process has read so far (Linux; 0 elsewhere)."""
    file = Path("/proc/self/io")
    return int(file.read_text().split()[1]) if file.exists() else 0


def cost(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds of processor time, over all threads, and bytes that some work reads."""
    start, before = time.process_time(), bytes_read()
    work()
    return time.process_time() - start, bytes_read() - before


@contextmanager
def counting_decoded() -> Iterator[list[int]]:
    """A list whose only item counts the packets that Sparrow's reader gives its decoder whole."""
    count, decode = [0], Decoding._decode

    def counted(self: Decoding, packet: av.Packet) -> None:
        decode(self, packet)
        count[0] += packet.size > 0

    Decoding._decode = counted
    try:
        yield count
    finally:
        Decoding._decode = decode


def main() -> None:
    """Print seconds and bytes of each way, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=int, nargs="*", default=[1, 13, 30, 360], help="of the films that are read")
    parser.add_argument("--most-sequential", type=int, default=30, help="longest film, in minutes, decoded as a whole")
    arguments = parser.parse_args()
    ways: dict[str, Callable[[Path], object]] = {
        "sequential (PyAV)": sequential,
        "sequential (decord)": decord_sequential,
        "decord get_batch": get_batch,
        "sparrow read_frames": ours,
        "  probe_video": probe_video,
    }
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        make_clip(clip, 60)
        for minutes in arguments.minutes:
            film = Path(folder) / f"{minutes}min.mp4"
            repeat_clip(clip, film, minutes, sound=minutes == 13)
            size, total = film.stat().st_size, probe_video(film).num_frames
            with counting_decoded() as decoded:
                frames = ours(film)
            print(
                f"{film.stem}: {total:,} frames, {size / 1e6:.0f} MB; median of {arguments.repeats}; "
                f"packets fed for {len(frames)} frames: {decoded[0]:,}, one in {total / decoded[0]:.1f}"
            )
            base = None
            for name, way in ways.items():
                is_whole = name.startswith("sequential")
                if is_whole and minutes > arguments.most_sequential:
                    continue
                costs = [
                    cost(lambda way=way, film=film: way(film)) for _ in range(1 if is_whole else arguments.repeats)
                ]
                median_s, median_bytes = (float(np.median(column)) for column in zip(*costs, strict=True))
                base = base or median_s
                ratio = f"{base / median_s:6.1f}x" if minutes <= arguments.most_sequential else ""
                print(
                    f"  {name:24s} {median_s:7.3f} s {ratio:8s} {median_bytes / size:7.3f} of the file read", flush=True
                )
            if minutes <= arguments.most_sequential:
                assert np.array_equal(frames, sequential(film))
            film.unlink()


if __name__ == "__main__":
    main()
