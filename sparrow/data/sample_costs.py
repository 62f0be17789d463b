"""What each sample will cost in frames and tokens, measured once in parallel and kept for the next run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from filelock import FileLock

from sparrow.core.bars import Bar
from sparrow.core.errors import DataError
from sparrow.core.hashing import content_hash
from sparrow.core.segment_store import SegmentStore
from sparrow.data.encode import Presentation, measure, notes_of_pages
from sparrow.data.source_media import MediaFacts
from sparrow.data.sources import SourceData
from sparrow.data.supervised_loader import AtWork, Mapped, watched
from sparrow.data.video_headers import CHUNK, PARALLEL_FROM, look_at_headers
from sparrow.models.backbone import Backbone

MEASURING_VERSION = 9
PROBING_VERSION = 3  # raised whenever probing the same file comes to say something else
COUNTS = (
    *("num_frames", "num_pages", "visual_tokens", "text_tokens", "supervised_tokens"),
    *("missing_characters", "complex_characters", "num_sequential", "num_verified", "num_interlaced", "num_fallback"),
)
FONT_SEPARATOR = "/"
_NOTHING = np.zeros(len(COUNTS), np.int64).tobytes()


class _Line(NamedTuple):
    """What was measured of a row, or None and why the sample cannot be used.

    `cost` is `COUNTS` as int64, followed by the names of the fonts that draw its pages, but for the shipped one.
    """

    row: int
    cost: bytes | None
    reason: str = ""
    detail: str = ""


class _Measured(NamedTuple):
    """Rows measured together, and what probing said of their media files."""

    lines: list[_Line]
    facts: dict[str, bytes]


Look = Callable[[Iterable[str], dict[str, bytes]], dict[str, bytes]]
Measure = Callable[[list[list[int]], dict[str, bytes]], Iterator[_Measured]]


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
    kept by its content, the state of its media files, the presentation and the tokenizer; what probing says of a file
    by its path, size and time. A rejected sample is measured anew each time, for its files may be fixed. Runs at once
    measure once, under a lock.

    Raises:
        MachineError: If the machine failed while a file was read.
    """
    distinct = pd.unique(np.asarray(rows, np.int64))
    measured = partial(_measure, source, backbone, how, num_workers, timeout_s)
    rejected: dict[int, _Line] = {}
    if cache_root is None:
        lines = [line for group in measured([[row] for row in distinct.tolist()], {}) for line in group.lines]
        costs = [line.cost for line in lines]
        rejected = {line.row: line for line in lines if line.cost is None}
    else:
        store = SegmentStore(cache_root / "measurements" / f"{source.name}-{_cost_key(backbone, how)}")
        keys = source.media.keys(distinct, source.digests)
        costs = store.get(keys)
        if None in costs:
            store.folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{store.folder}.lock"):
                costs = store.get(keys)  # another run may have measured some meanwhile
                files = SegmentStore(cache_root / "measurements" / f"media-{PROBING_VERSION}")
                missing = {row: i for i, row in enumerate(distinct.tolist()) if costs[i] is None}
                look = partial(
                    look_at_headers,
                    roots=source.media_roots,
                    policy=how.frames,
                    num_workers=num_workers,
                    timeout_s=timeout_s,
                )
                rejected = _fill(costs, missing, keys, source, look, measured, store, files)
    return _table(source, distinct, costs, rejected).iloc[pd.Index(distinct).get_indexer(rows)].reset_index(drop=True)


def _fill(
    costs: list[bytes | None],
    missing: dict[int, int],
    keys: list[bytes],
    source: SourceData,
    look: Look,
    measured: Measure,
    store: SegmentStore,
    files: SegmentStore,
) -> dict[int, _Line]:
    """Measure the missing rows, given their places in `costs` and `keys`; the rejected ones are returned.

    Costs and what is known of files are stored as they come. Where measuring ends with an error, what was measured
    before is stored all the same.
    """
    file_keys = source.media.file_keys(list(missing))
    stored = zip(file_keys, files.get(list(file_keys.values())), strict=True)
    known = {name: value for name, value in stored if value is not None}
    rejected = {}
    try:
        looked_at = look(file_keys, known)
        for name, value in looked_at.items():
            files.add(file_keys[name], value)
        known |= looked_at
        for group in measured(_grouped(source, sorted(missing)), known):
            for name in group.facts.keys() & file_keys.keys():
                files.add(file_keys[name], group.facts[name])
            for line in group.lines:
                if line.cost is None:
                    rejected[line.row] = line
                else:
                    place = missing[line.row]
                    costs[place] = line.cost
                    store.add(keys[place], line.cost)
    finally:
        files.flush()
        store.flush()
    return rejected


def _grouped(source: SourceData, rows: list[int]) -> list[list[int]]:
    """Rows that show the same file first together, so that it is probed once; in the order of the source."""
    groups: dict[int, list[int]] = {}
    for row, file in zip(rows, source.media.first_file(rows).tolist(), strict=True):
        groups.setdefault(file if file >= 0 else -1 - row, []).append(row)
    return list(groups.values())


def _table(source: SourceData, rows: np.ndarray, costs: list[bytes | None], rejected: dict[int, _Line]) -> pd.DataFrame:
    table = pd.DataFrame({"row": rows, "sample_id": [source.ids[row] for row in rows]})
    table["sample_id"] = table["sample_id"].astype("str")
    used = np.array([cost is not None for cost in costs], bool)
    table["status"] = pd.Series(np.where(used, "used", "rejected"), dtype="str")
    for name in ("reason", "detail"):
        words = [getattr(rejected[row], name) for row in rows[~used].tolist()]
        table[name] = pd.Series("", table.index, dtype="str").mask(~used, pd.Series(words, table.index[~used], "str"))
    values = [cost or _NOTHING for cost in costs]
    counts = np.frombuffer(b"".join(value[: len(_NOTHING)] for value in values), np.int64).reshape(-1, len(COUNTS))
    fonts = pd.Series([value[len(_NOTHING) :].decode() for value in values], dtype="str")
    return table.assign(**dict(zip(COUNTS, counts.T, strict=True)), fonts=fonts)


def _measure(
    source: SourceData,
    backbone: Backbone,
    how: Presentation,
    num_workers: int,
    timeout_s: int,
    groups: list[list[int]],
    known: dict[str, bytes],
) -> Iterator[_Measured]:
    if sum(map(len, groups)) < PARALLEL_FROM:
        num_workers = min(num_workers, 1)  # a worker even so: only there can a decoder that hangs be given up
    at_work = AtWork()

    def measured(rows: list[int]) -> _Measured:
        facts = MediaFacts(known)
        return _Measured([line_of(row, facts) for row in rows], facts.found)

    def line_of(row: int, facts: MediaFacts) -> _Line:
        at_work.begin(row)
        try:
            sample = source[row]
            chat, num_frames, num_pages, readings = measure(sample, source.media_roots, backbone, how, facts)
            notes = notes_of_pages(sample, how)
        except DataError as error:
            return _Line(row, None, error.what, str(error))
        num_text, num_supervised = len(chat.input_ids) - chat.num_visual_tokens, int(chat.supervised.sum())
        of_pages = notes.missing_characters, notes.complex_characters
        counts = (num_frames, num_pages, chat.num_visual_tokens, num_text, num_supervised, *of_pages, *readings)
        return _Line(row, np.array(counts, np.int64).tobytes() + FONT_SEPARATOR.join(sorted(notes.fonts)).encode())

    chunks = watched(
        Mapped(measured, groups),
        at_work,
        lambda row: f"{source.name}/{source.ids[row]}",
        num_workers=num_workers,
        timeout_s=timeout_s,
        batch_size=CHUNK,
        collate_fn=list,
    )
    for chunk in Bar(chunks, total=-(-len(groups) // CHUNK), desc=f"measuring {source.name}", unit="batch"):
        yield from chunk


def _cost_key(backbone: Backbone, how: Presentation) -> str:
    return content_hash(
        [
            MEASURING_VERSION,
            how.measured_state(),
            *backbone.identity(),
            backbone.visual_tokens((480, 640), 1),
            backbone.tokenizer.backend_tokenizer.to_str(),
        ]
    )
