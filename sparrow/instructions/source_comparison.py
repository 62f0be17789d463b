"""Sources compared at equal size: metrics with intervals, and the diagnostics beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sparrow.instructions.corpus import Corpus, make_corpus
from sparrow.instructions.diagnostics import Clusters, Coverage, cluster, coverage, parted, source_distances
from sparrow.instructions.embedding import embed
from sparrow.instructions.metrics import MetricEstimate, estimate
from sparrow.instructions.settings import DiversitySettings, Embedder

WHOLE = "whole mixture"
K = TypeVar("K")


@dataclass(frozen=True)
class Template:
    """A template that at least two instructions of a source follow, and the share of all sampled that do."""

    words: str
    share: float


@dataclass(frozen=True)
class MeasuredSource:
    """One source: the metrics are of `num_compared` of its instructions, by name in `METRICS`."""

    num_instructions: int
    num_distinct: int
    num_compared: int
    metrics: dict[str, MetricEstimate]
    clusters: Clusters
    templates: list[Template]


@dataclass(frozen=True)
class SourceComparison:
    """Sources beside each other.

    `distances` are mean distances of the instructions of a source (row) to the nearest of another (column); `coverage`
    is by benchmark, then source.
    """

    sources: dict[str, MeasuredSource]
    distances: list[list[float]]
    coverage: dict[str, dict[str, Coverage]] = field(default_factory=dict)


def embed_all(
    texts: Mapping[K, Sequence[str]], embedder: Embedder, *, cache_root: Path | None = None, progress: bool = False
) -> dict[K, NDArray[np.float32]]:
    """Vectors [n, d] of several sets in one space."""
    together = embed([t for own in texts.values() for t in own], embedder, cache_root=cache_root, progress=progress)
    return parted(together, texts)


def common_size(sizes: Sequence[int], min_instructions: int) -> int | None:
    """The size at which sets are compared: the smallest that is not below the minimum; None where all are below."""
    return min((size for size in sizes if size >= min_instructions), default=None)


def compare(
    texts: Mapping[str, Sequence[str]],
    vectors: Mapping[str, NDArray[np.float32]],
    questions: Mapping[str, NDArray[np.float32]],
    config: DiversitySettings,
) -> SourceComparison:
    """Measure and compare the first instructions of each source, equally many of each.

    The texts of each source are in random order.
    """
    size = common_size([len(own) for own in texts.values()], config.min_instructions)
    near = {name: own[:size] for name, own in vectors.items()}
    spread = cluster(near, config.num_clusters, config.data_seed)
    measured = {}
    for name, own in texts.items():
        corpus = make_corpus(own[:size], near[name])
        measured[name] = MeasuredSource(
            num_instructions=len(own),
            num_distinct=len(set(own)),
            num_compared=len(corpus),
            metrics=estimate(corpus, config.num_resamples, config.data_seed, config.metrics),
            clusters=spread[name],
            templates=frequent_templates(make_corpus(own, vectors[name]), config.num_templates),
        )
    covered = {
        benchmark: {name: coverage(asked, own) for name, own in near.items()} for benchmark, asked in questions.items()
    }
    return SourceComparison(measured, source_distances(near), covered)


def frequent_templates(corpus: Corpus, num_templates: int) -> list[Template]:
    """The most frequent templates that more than one instruction follows."""
    counts = np.bincount(corpus.templates, minlength=len(corpus.template_names))[:num_templates].tolist()
    named = zip(corpus.template_names, counts, strict=False)
    return [Template(words, count / len(corpus)) for words, count in named if count > 1]


def mixed(texts: Mapping[str, Sequence[str]], sizes: Mapping[str, int], num_instructions: int) -> list[str]:
    """Instructions of a whole mixture: the first of every component, as many as its share of the samples."""
    sizes = {name: size for name, size in sizes.items() if texts[name]}
    whole = sum(sizes.values())
    total = min([num_instructions, *(len(texts[name]) * whole // size for name, size in sizes.items())])
    # Evenly interleaved, so that the beginning of the list is a mixture too.
    placed = [
        ((i + 0.5) / size, text)
        for name, size in sizes.items()
        for i, text in enumerate(texts[name][: round(total * size / whole)])
    ]
    return [text for _, text in sorted(placed, key=itemgetter(0))]
