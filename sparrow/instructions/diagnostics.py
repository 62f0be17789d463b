"""Diagnostics beside the metrics: how sources part into clusters, what one adds to another, what a mixture covers."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
K = TypeVar("K")
CHUNK = 2_048
NEIGHBOURS = 5


@dataclass(frozen=True)
class Clusters:
    """How the instructions of a source lie in the clusters of all sources together.

    Args:
        num_clusters: Clusters that hold one of them, at least.
        effective_clusters: exp of the entropy of their shares: as many even clusters would be as spread out.
        evenness: That entropy over its largest possible value, the logarithm of the number of all clusters (Pielou,
            J. Theoretical Biology 13, 1966), from 0 in one cluster to 1 spread evenly over all; 0 if there is but one.
    """

    num_clusters: int
    effective_clusters: float
    evenness: float


@dataclass(frozen=True)
class Coverage:
    """How much of a benchmark's questions a mixture has instructions near to.

    Args:
        num_questions: Questions that were looked at.
        coverage: Share of the questions that have an instruction nearer than their fifth-nearest other question (Naeem
            et al., arXiv 2002.09797, with k = 5); 0 without questions or instructions.
        mean_distance: Mean cosine distance of a question to the nearest instruction; 1 without either.
    """

    num_questions: int
    coverage: float
    mean_distance: float


def cluster(sources: Mapping[str, Vectors], num_clusters: int, seed: int) -> dict[str, Clusters]:
    """k-means over the vectors of all sources together, and how each source lies in it.

    There is at most one cluster for each different vector.
    """
    together = np.concatenate(list(sources.values())) if sources else np.zeros((0, 1), dtype=np.float32)
    if not len(together):
        return {name: Clusters(0, 0.0, 0.0) for name in sources}
    labels = kmeans_labels(together, num_clusters, seed)
    number = int(labels.max()) + 1
    return {name: _spread(np.bincount(own, minlength=number)) for name, own in parted(labels, sources).items()}


def parted(together: NDArray[Any], sets: Mapping[K, Sized]) -> dict[K, NDArray[Any]]:
    """The rows of each of several sets, of an array that holds them one set after another."""
    ends = np.cumsum([len(own) for own in sets.values()])[:-1]
    return dict(zip(sets, np.split(together, ends), strict=True))


def kmeans_labels(vectors: Vectors, num_clusters: int, seed: int) -> NDArray[np.int64]:
    """Cluster [n] of each vector, numbered without gaps: k-means, in small batches where there are many vectors."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    distinct, weights = np.unique(vectors, axis=0, return_counts=True)
    number = min(num_clusters, len(distinct))
    kind = KMeans if len(distinct) <= 10 * CHUNK else partial(MiniBatchKMeans, batch_size=CHUNK)
    labels = kind(number, n_init=1, random_state=seed).fit(distinct, sample_weight=weights).predict(vectors)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def nearest_distances(these: Vectors, others: Vectors | None = None, *, neighbour: int = 1) -> NDArray[np.float32]:
    """Cosine distance [n] of each vector to its k-th nearest among others, or among the rest of its own set.

    Exact, a block of both sets at a time. 1 where there are not so many others.
    """
    among = these if others is None else others
    if len(among) < neighbour + (others is None):
        return np.ones(len(these), dtype=np.float32)
    kth = np.empty(len(these), dtype=np.float32)
    for start in range(0, len(these), CHUNK):
        rows = these[start : start + CHUNK]
        nearest = np.full((len(rows), neighbour), -np.inf, dtype=np.float32)
        for first in range(0, len(among), CHUNK):
            alike = rows @ among[first : first + CHUNK].T
            if others is None and first == start:
                np.fill_diagonal(alike, -np.inf)
            nearest = np.partition(np.hstack([nearest, alike]), -neighbour, axis=1)[:, -neighbour:]
        kth[start : start + CHUNK] = nearest[:, 0]
    return np.clip(1 - kth, 0, 2)


def source_distances(sources: Mapping[str, Vectors]) -> list[list[float]]:
    """Mean cosine distance of the instructions of a source (row) to the nearest of another (column).

    What the row adds to the column: near 0, the column has it all. On the diagonal the nearest other instruction of
    the same source counts. 1 where a source is empty.
    """
    return [
        [_mean(nearest_distances(these, None if one == other else others)) for other, others in sources.items()]
        for one, these in sources.items()
    ]


def coverage(questions: Vectors, instructions: Vectors) -> Coverage:
    """How much of the questions [m, d] the instructions [n, d] cover."""
    nearest = nearest_distances(questions, instructions)
    radius = nearest_distances(questions, neighbour=min(NEIGHBOURS, max(1, len(questions) - 1)))
    covered = (nearest <= radius).mean() if len(questions) and len(instructions) else 0.0
    return Coverage(len(questions), float(covered), _mean(nearest))


def _mean(distances: NDArray[np.float32]) -> float:
    return float(distances.mean(dtype=np.float64)) if len(distances) else 1.0


def _spread(counts: NDArray[np.int64]) -> Clusters:
    held = counts[counts > 0]
    if not len(held):
        return Clusters(0, 0.0, 0.0)
    shares = held / held.sum()
    entropy = max(0.0, float(-(shares * np.log(shares)).sum()))
    evenness = entropy / float(np.log(len(counts))) if len(counts) > 1 else 0.0
    return Clusters(len(held), float(np.exp(entropy)), evenness)
