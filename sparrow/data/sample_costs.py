"""What each sample will cost in frames and tokens, measured once in parallel and kept for the next run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from sparrow.core.errors import DataError
from sparrow.core.files import write_atomically
from sparrow.core.hashing import content_hash
from sparrow.core.samples import Sample
from sparrow.data.encode import Presentation, measure, media_files, notes_of_pages
from sparrow.data.sources import SourceData
from sparrow.data.supervised_loader import AtWork, Mapped, watched, with_progress
from sparrow.media.frame_folders import file_states
from sparrow.models.backbone import Backbone

MEASURING_VERSION = 6
OF_TEXTS = ("missing_characters", "complex_characters")
COUNTS = dict.fromkeys(
    ("num_frames", "num_pages", "visual_tokens", "text_tokens", "supervised_tokens", *OF_TEXTS), "int64"
)
KEPT = COUNTS | {"fonts": "str"}  # names of the fonts that draw the pages, but for the shipped one
COLUMNS = {"row": "int64", "sample_id": "str", "status": "str", "reason": "str", "detail": "str", **KEPT}
NOTHING = dict.fromkeys(COUNTS, 0) | {"fonts": ""}
FONT_SEPARATOR = "/"
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

    A sample that cannot be used is `rejected` with a reason; nothing is raised for it. What a used sample costs is
    kept by its content, the state of its media files, the presentation and the tokenizer; a rejected one is measured
    anew each time, for its files may be fixed. Runs at once measure once, under a lock.

    Raises:
        MachineError: If the machine failed while a file was read.
    """
    distinct = list(dict.fromkeys(rows))

    def measured(missing: list[int]) -> Iterator[dict[str, Any]]:
        return _measure(source, missing, backbone, how, num_workers, timeout_s)

    if cache_root is None:
        table = _table(list(measured(distinct)))
    else:
        table = _cached(_cache_file(cache_root, source, backbone, how), source, distinct, measured)
    return table.set_index("row").loc[list(rows)].reset_index()


def _cached(
    file: Path, source: SourceData, rows: list[int], measured: Callable[[list[int]], Iterator[dict[str, Any]]]
) -> pd.DataFrame:
    """The lines of some rows: read from the file as far as they are there, the others measured and added to it.

    Where measuring ends with an error, what was measured before is added all the same.
    """
    keys = pd.Series(_keys(source, rows), index=rows)
    kept = _read(file)
    if keys.isin(kept.index).all():
        return _lines(source, keys, kept)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        kept = _read(file)  # another run may have measured some meanwhile
        known = keys.isin(kept.index)
        lines: list[dict[str, Any]] = []
        try:
            for line in measured(sorted(keys.index[~known])):  # as they lie in the source: by video, mostly
                lines.append(line)
        finally:
            new = _table(lines)
            used = new.assign(key=keys[new["row"]].to_numpy())[new["status"] == "used"]
            if len(used):
                used = used.drop_duplicates("key").set_index("key")[list(KEPT)]
                write_atomically(file, pd.concat([kept, used]).to_parquet())
    return pd.concat([_lines(source, keys[known], kept), new])


def _table(lines: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype(COLUMNS)


def _read(file: Path) -> pd.DataFrame:
    """What was measured before, by key."""
    if file.is_file():
        return pd.read_parquet(file)
    return pd.DataFrame(columns=list(KEPT), index=pd.Index([], dtype="str", name="key")).astype(KEPT)


def _lines(source: SourceData, keys: pd.Series, kept: pd.DataFrame) -> pd.DataFrame:
    """The lines of rows that were measured before, given their keys."""
    ids = [source.ids[row] for row in keys.index]
    lines = kept.loc[keys].assign(row=keys.index, sample_id=ids, status="used", reason="", detail="")
    return lines[list(COLUMNS)].astype(COLUMNS)


def _measure(
    source: SourceData, rows: list[int], backbone: Backbone, how: Presentation, num_workers: int, timeout_s: int
) -> Iterator[dict[str, Any]]:
    if len(rows) < PARALLEL_FROM:
        num_workers = min(num_workers, 1)  # a worker even so: only there can a decoder that hangs be given up
    at_work = AtWork()

    def line_of(row: int) -> dict[str, Any]:
        at_work.begin(row)
        line = {"row": row, "sample_id": source.ids[row], "status": "used", "reason": "", "detail": ""}
        try:
            sample = source[row]
            chat, num_frames, num_pages = measure(sample, source.media_root, backbone, how)
            notes = notes_of_pages(sample, how)
        except DataError as error:
            return line | {"status": "rejected", "reason": error.what, "detail": str(error), **NOTHING}
        return line | {
            "num_frames": num_frames,
            "num_pages": num_pages,
            "visual_tokens": chat.num_visual_tokens,
            "text_tokens": len(chat.input_ids) - chat.num_visual_tokens,
            "supervised_tokens": int(chat.supervised.sum()),
            "missing_characters": notes.missing_characters,
            "complex_characters": notes.complex_characters,
            "fonts": FONT_SEPARATOR.join(sorted(notes.fonts)),
        }

    chunks = watched(
        Mapped(line_of, rows),
        at_work,
        lambda row: f"{source.name}/{source.ids[row]}",
        num_workers=num_workers,
        timeout_s=timeout_s,
        batch_size=CHUNK,
        collate_fn=list,
    )
    for chunk in with_progress(chunks, -(-len(rows) // CHUNK), f"measuring {source.name}"):
        yield from chunk


def _cache_file(cache_root: Path, source: SourceData, backbone: Backbone, how: Presentation) -> Path:
    key = content_hash(
        [
            MEASURING_VERSION,
            how.measured_state(),
            backbone.family,
            backbone.frame_size_px,
            backbone.native_video,
            backbone.visual_tokens((480, 640), 1),
            backbone.chat_template,
            backbone.tokenizer.backend_tokenizer.to_str(),
        ]
    )
    return cache_root / "measurements" / f"{source.name}-{key}.parquet"


def _keys(source: SourceData, rows: Sequence[int]) -> list[str]:
    """A name for what is measured of each row: its content, and sizes and times of its files, which may be replaced."""
    samples = zip(rows, source.samples(rows), strict=True)
    return [
        content_hash([int(source.digests[row]), _media_state(sample, source.media_root)], length=32)
        for row, sample in samples
    ]


def _media_state(sample: Sample, media_root: Path) -> list[tuple[int, int]] | str:
    try:
        return [state for path in media_files(sample, media_root) for state in file_states(path)]
    except (DataError, OSError) as error:
        return str(error)
