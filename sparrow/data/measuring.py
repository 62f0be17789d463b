"""What each sample will cost in frames and tokens, measured once in parallel and kept for the next run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from torch.utils.data import Dataset

from sparrow.core.errors import DataError
from sparrow.core.files import write_atomically
from sparrow.core.hashing import content_hash
from sparrow.data.encode import Presentation, measure, media_files, missing_in_pages
from sparrow.data.sources import SourceData
from sparrow.data.watching import AtWork, watched, with_progress
from sparrow.media.folders import frame_files
from sparrow.media.pages import style_fingerprint
from sparrow.models.backbone import Backbone

MEASURING_VERSION = 3
COLUMNS = {
    "row": "int64",
    "sample_id": "str",
    "status": "str",
    "reason": "str",
    "detail": "str",
    "num_frames": "int64",
    "visual_tokens": "int64",
    "text_tokens": "int64",
    "supervised_tokens": "int64",
    "missing_characters": "int64",
}
PARALLEL_FROM = 500
CHUNK = 64


def measure_samples(
    source: SourceData,
    rows: Sequence[int],
    backbone: Backbone,
    how: Presentation,
    *,
    cache_root: Path | None = None,
    num_workers: int = 0,
    timeout_s: int = 0,
) -> pd.DataFrame:
    """A line a row, in the order of `rows`, each measured once: `sample_id, status, reason, detail`, frames and tokens.

    A sample that cannot be used is `rejected` with a reason; nothing is raised for it. The cache is keyed by the
    records, the state of the media files, the presentation and the tokenizer; runs at once measure once, under a lock.
    """
    distinct = list(dict.fromkeys(rows))
    cached = _cache_file(cache_root, source, distinct, backbone, how) if cache_root is not None else None
    if cached is None:
        table = _measure(source, distinct, backbone, how, num_workers, timeout_s)
    else:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{cached}.lock") if not cached.is_file() else nullcontext():
            if not cached.is_file():
                measured = _measure(source, distinct, backbone, how, num_workers, timeout_s)
                write_atomically(cached, measured.to_parquet(index=False))
        table = pd.read_parquet(cached).astype(COLUMNS)
    return table.set_index("row").loc[list(rows)].reset_index()


def _measure(
    source: SourceData, rows: list[int], backbone: Backbone, how: Presentation, num_workers: int, timeout_s: int
) -> pd.DataFrame:
    if len(rows) < PARALLEL_FROM:
        num_workers = min(num_workers, 1)  # a worker even so: only there can a decoder that hangs be given up
    at_work = AtWork()
    dataset = _Measurements(source, rows, backbone, how, at_work)
    chunks = watched(
        dataset,
        at_work,
        lambda row: f"{source.name}/{source.ids[row]}",
        num_workers=num_workers,
        timeout_s=timeout_s,
        batch_size=CHUNK,
        collate_fn=list,
    )
    shown = with_progress(chunks, -(-len(rows) // CHUNK), f"measuring {source.name}")
    measured = [line for chunk in shown for line in chunk]
    return pd.DataFrame(measured, columns=list(COLUMNS)).astype(COLUMNS)


class _Measurements(Dataset):
    def __init__(
        self, source: SourceData, rows: list[int], backbone: Backbone, how: Presentation, at_work: AtWork
    ) -> None:
        self.source, self.rows, self.backbone, self.how, self.at_work = source, rows, backbone, how, at_work

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        row = self.rows[position]
        self.at_work.begin(row)
        line: dict[str, Any] = {
            "row": row,
            "sample_id": self.source.ids[row],
            "status": "used",
            "reason": "",
            "detail": "",
            "num_frames": 0,
            "visual_tokens": 0,
            "text_tokens": 0,
            "supervised_tokens": 0,
            "missing_characters": 0,
        }
        try:
            sample = self.source[row]
            chat, num_frames = measure(sample, self.source.media_root, self.backbone, self.how)
            num_missing = missing_in_pages(sample, self.how)
        except DataError as error:
            return line | {"status": "rejected", "reason": error.what, "detail": str(error)}
        return line | {
            "num_frames": num_frames,
            "visual_tokens": chat.num_visual_tokens,
            "text_tokens": len(chat.input_ids) - chat.num_visual_tokens,
            "supervised_tokens": int(chat.supervised.sum()),
            "missing_characters": num_missing,
        }


def _cache_file(
    cache_root: Path, source: SourceData, rows: Sequence[int], backbone: Backbone, how: Presentation
) -> Path:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(source.ids[row].encode("utf-8", "surrogatepass") + b"\0")
        digest.update(_media_state(source, row))
    key = content_hash(
        [
            MEASURING_VERSION,
            source.content_hash,
            digest.hexdigest(),
            str(how),
            style_fingerprint(how.style) if how.present_as == "pages" else None,
            backbone.family,
            backbone.frame_size_px,
            backbone.native_video,
            backbone.visual_tokens((480, 640), 1),
            backbone.chat_template,
            backbone.tokenizer.backend_tokenizer.to_str(),
        ]
    )
    return cache_root / "measurements" / f"{source.name}-{key}.parquet"


def _media_state(source: SourceData, row: int) -> bytes:
    """Sizes and times of a sample's files, so that a file that was replaced is measured again."""
    try:
        files = media_files(source[row], source.media_root)
        states = [file.stat() for path in files for file in (frame_files(path) if path.is_dir() else [path])]
    except (DataError, OSError) as error:
        return str(error).encode()
    return repr([(state.st_size, state.st_mtime_ns) for state in states]).encode()
