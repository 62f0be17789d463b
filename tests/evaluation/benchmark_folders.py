"""The five benchmarks in small, in their publishers' schemas, with clips made here."""

from fractions import Fraction
from pathlib import Path
from zlib import crc32

import av
import numpy as np
from PIL import Image

from sparrow.evaluation.formats import read_benchmark
from sparrow.evaluation.questions import Question
from sparrow.evaluation.settings import FORMAT_NAMES

FPS = 4
FIXTURES = Path(__file__).parent / "fixtures"
OFFICIAL = [name for name in FORMAT_NAMES if name != "multiple_choice"]
MEDIA_ROOTS = {
    "video_mme": "data",
    "mvbench": "video",
    "tempcompass": "videos",
    "mlvu": "video",
    "longvideobench": "videos",
}
MISSING = {
    "video_mme": "greenstar_3.mp4",
    "mvbench": "perception/videos/video_1.mp4",
    "tempcompass": "27537016.mp4",
    "mlvu": "3_ego/ego_1.mp4",
    "longvideobench": "midOne.mp4",
}


def pictures(name: str, num_frames: int) -> list[np.ndarray]:
    """A square that moves over a ground whose colour follows from the name."""
    seed = crc32(name.encode())
    frames = []
    for i in range(num_frames):
        frame = np.full((64, 64, 3), [seed % 200, seed // 200 % 200, seed // 40_000 % 200], np.uint8)
        frame[20:44, 2 * i % 40 : 2 * i % 40 + 24] = 255
        frames.append(frame)
    return frames


def write_video(path: Path, *, seconds: int = 36, fps: int = FPS) -> None:
    """A clip of `pictures` as a video file, an animation, or a folder of frames, by the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = pictures(path.name, seconds * fps)
    if not path.suffix:
        path.mkdir()
        for i, frame in enumerate(frames, 1):
            Image.fromarray(frame).save(path / f"{i:05d}.jpg")
    elif path.suffix == ".gif":
        first, *rest = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=rest, duration=1000 // fps)
    else:
        with av.open(str(path), "w", format="matroska" if path.suffix == ".webm" else None) as container:
            stream = container.add_stream("mpeg4", rate=fps)
            stream.width = stream.height = 64
            stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, fps)
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())


def questions_of(name: str) -> list[Question]:
    return read_benchmark(name, FIXTURES / name, benchmark=name)
