"""What each sample will cost in frames and tokens, measured once in parallel and kept for the next run."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.data import DataLoader, Dataset

from sparrow.core.errors import DataError
from sparrow.core.hashing import content_hash
from sparrow.data.encode import Presentation, measure, media_files
from sparrow.data.sources import SourceData
from sparrow.models.backbone import Backbone

MEASURING_VERSION = 1
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
) -> pd.DataFrame:
    """A row a sample, in the order of `rows`: `sample_id, status, reason, detail`, frames and tokens.

    A sample that cannot be used is `rejected` with a reason; nothing is raised for it. The cache is keyed by the
    records, the state of the media files, the presentation and the tokenizer.
    """
    cached = _cache_file(cache_root, source, rows, backbone, how) if cache_root is not None else None
    if cached is not None and cached.is_file():
        return pd.read_parquet(cached).astype(COLUMNS)
    dataset = _Measurements(source, list(rows), backbone, how)
    loader = DataLoader(
        dataset,
        batch_size=CHUNK,
        num_workers=num_workers if len(rows) >= PARALLEL_FROM else 0,
        collate_fn=list,
    )
    measured = [line for chunk in loader for line in chunk]
    table = pd.DataFrame(measured, columns=list(COLUMNS)).astype(COLUMNS)
    if cached is not None:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cached.parent, suffix=".tmp", delete=False) as file:
            table.to_parquet(file.name, index=False)
        Path(file.name).replace(cached)
    return table


class _Measurements(Dataset):
    def __init__(self, source: SourceData, rows: list[int], backbone: Backbone, how: Presentation) -> None:
        self.source, self.rows, self.backbone, self.how = source, rows, backbone, how

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        row = self.rows[position]
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
        }
        try:
            chat, num_frames = measure(self.source[row], self.source.media_root, self.backbone, self.how)
        except DataError as error:
            return line | {"status": "rejected", "reason": error.what, "detail": str(error)}
        return line | {
            "num_frames": num_frames,
            "visual_tokens": chat.num_visual_tokens,
            "text_tokens": len(chat.input_ids) - chat.num_visual_tokens,
            "supervised_tokens": int(chat.supervised.sum()),
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
            backbone.family,
            backbone.frame_size_px,
            backbone.chat_template,
            backbone.tokenizer.backend_tokenizer.to_str(),
        ]
    )
    return cache_root / "measurements" / f"{source.name}-{key}.parquet"


def _media_state(source: SourceData, row: int) -> bytes:
    """Sizes and times of a sample's files, so that a file that was replaced is measured again."""
    try:
        states = [path.stat() for path in media_files(source[row], source.media_root)]
    except (DataError, OSError) as error:
        return str(error).encode()
    return repr([(state.st_size, state.st_mtime_ns) for state in states]).encode()
