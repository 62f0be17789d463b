"""Writing a world as files: JSON tables, PNG stills and H.264 clips, complete or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from sparrow.core.files import drafted, remove_drafts, write_atomically, write_json
from sparrow.core.hashing import content_hash
from sparrow.world.generate import TABLES, WorldTable
from sparrow.world.settings import WorldSettings

# Raised whenever the same settings and seed come to mean other files.
GENERATOR_VERSION = 7
FPS = 2
# Near-lossless, and for frames this small the fastest of x264's presets.
# With x264's macroblock tree one clip in two hundred of this size is encoded otherwise each time.
X264_OPTIONS = {"crf": "12", "preset": "veryfast", "x264-params": "mbtree=0"}


def ensure_world(cache_root: Path, settings: WorldSettings, data_seed: int) -> Path:
    """The folder of a world, written first if it is not there; safe to call from several processes at once.

    It lies in `world/<hash>` under `cache_root`, and holds the files and media roots that `TABLES` names.
    """
    name = content_hash({"version": GENERATOR_VERSION, "data_seed": data_seed, "settings": asdict(settings)})
    folder = cache_root / "world" / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if folder.is_dir():
            return folder
        remove_drafts(folder)
        with drafted(folder) as draft:
            for table in TABLES.values():
                _write_table(draft, table, settings, data_seed)
            write_json(draft / "settings.json", {"data_seed": data_seed, **asdict(settings)})
    return folder


def _write_table(folder: Path, table: WorldTable, settings: WorldSettings, data_seed: int) -> None:
    media_root = folder / table.media_root
    media_root.mkdir(exist_ok=True)
    records = []
    for record, scene in table.rows(settings, data_seed):
        records.append(record)
        media = record.get("image", record.get("video"))
        if media is not None and not (media_root / media).exists():  # tables may share clips
            _write_media(media_root / media, table.draw(scene, settings.frame_size_px))
    if table.file.endswith(".jsonl"):
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        write_atomically(folder / table.file, "".join(lines))
    else:
        write_json(folder / table.file, records)


def _write_media(path: Path, frames: NDArray[np.uint8]) -> None:
    if path.suffix == ".mp4":
        _write_clip(path, frames)
    elif path.suffix == ".png":
        Image.fromarray(frames[0]).save(path, compress_level=1)
    else:
        path.mkdir()
        for number, frame in enumerate(frames, 1):
            Image.fromarray(frame).save(path / f"{number:05d}.png", compress_level=1)


def _write_clip(path: Path, frames: NDArray[np.uint8]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=X264_OPTIONS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # bytes must not depend on the machine's cores
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
