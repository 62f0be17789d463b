"""The order of a component's `selection`: instructions read and embedded, the order kept for the next run."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparrow.core.files import write_atomically
from sparrow.core.hashing import content_hash
from sparrow.data.settings import SELECTIONS, Component
from sparrow.data.sources import SourceData
from sparrow.instructions.embedding import embed, embedding_key
from sparrow.instructions.extraction import EXTRACTION_VERSION, read_instructions
from sparrow.instructions.selection import SELECTION_VERSION, select
from sparrow.settings import ExperimentConfig

log = logging.getLogger(__name__)
FIRST_KEPT = 1_024


def selected_rows(component: Component, sources: Mapping[str, SourceData], config: ExperimentConfig) -> Iterator[int]:
    """Rows of a component's source in the order of its selection.

    The order is over the whole source: the component's rules leave samples out afterwards. What is used of it is
    kept in the cache, so that the next run, and every rank, reads it.

    Raises:
        ConfigError: If an encoder cannot be loaded.
    """
    data = sources[component.source]
    texts = [turns for _, turns in read_instructions(data)]
    distinct = sorted({turn for turns in texts for turn in turns})
    # The places of samples that share an id are told by their contents.
    ties = data.digests.tolist() if len(set(data.ids)) < len(data) else []
    key = content_hash(
        [
            [SELECTION_VERSION, EXTRACTION_VERSION, component.selection, config.data_seed],
            *SELECTIONS.own_code(component.selection),
            # Rows are kept by their places, which the order of the records decides.
            [data.content_hash, data.ids, *ties],
            [embedding_key(distinct, config.embedder), config.embedder.duplicate_similarity],
        ],
        length=32,
    )
    file = Path(config.paths.cache_root) / "selections" / f"{key}.npy"
    known = _known(file)
    yield from known
    if len(known) == len(data):
        return
    log.info("ordering source %s by %s: %d samples", data.name, component.selection, len(data))
    vectors = _sample_vectors(texts, distinct, config)
    rows = list(known)
    keep_at = max(FIRST_KEPT, 2 * len(rows))
    limit = config.embedder.duplicate_similarity
    found = select(
        component.selection, data.ids, vectors, config.data_seed, duplicate_similarity=limit, first=known, ties=ties
    )
    try:
        for row in found:
            rows.append(row)
            if len(rows) == keep_at:
                _keep(file, rows)
                keep_at *= 2
            yield row
    finally:
        _keep(file, rows)


def _sample_vectors(texts: list[list[str]], distinct: list[str], config: ExperimentConfig) -> NDArray[np.float32]:
    """A unit vector a sample [n, d]: the mean of its turns' vectors; zeros where it asks nothing."""
    cache_root, progress = Path(config.paths.cache_root), config.trainer.progress_bar
    vectors = embed(distinct, config.embedder, cache_root=cache_root, progress=progress)
    numbers = {text: number for number, text in enumerate(distinct)}
    means = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
    for row, turns in enumerate(texts):
        if turns:
            means[row] = vectors[[numbers[turn] for turn in turns]].sum(axis=0)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.divide(means, lengths, out=means, where=lengths > 0)


def _known(file: Path) -> list[int]:
    try:
        return np.load(file, allow_pickle=False).tolist()
    except (OSError, ValueError, EOFError):  # not there, or damaged
        return []


def _keep(file: Path, rows: list[int]) -> None:
    if len(rows) > len(_known(file)):
        buffer = io.BytesIO()
        np.save(buffer, np.array(rows, dtype=np.int64))
        write_atomically(file, buffer.getvalue())
