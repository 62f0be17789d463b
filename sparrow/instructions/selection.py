"""Orders in which samples are drawn by what they ask: the first n of an order are inside the first n + 1.

Every order depends on nothing but the vectors, the ids and the seed, never on how many samples are wanted. Vectors are
rounded to whole numbers of 1/2000, so that every inner product is a whole number below 2^24, which float32 holds
exactly in whatever order it is summed: threads and block sizes change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparrow.core.hashing import hash_order
from sparrow.data.settings import SELECTIONS
from sparrow.instructions.diagnostics import kmeans_labels

SELECTION_VERSION = 1  # raised whenever the same vectors come to have another order
GRID = 2_000
BLOCK = 2_048
MAX_CLUSTERS = 256

Whole = NDArray[np.float32]  # unit vectors times GRID, whole numbers
Ranks = NDArray[np.int64]


def k_center(vectors: Whole, first: Sequence[int], duplicate_similarity: float) -> Iterator[int]:
    """Farthest first: each next vector is the one farthest from all before it; ties in the given order.

    Its first n are a 2-approximation of the n balls of least radius that cover all vectors (Gonzalez, Theoretical
    Computer Science 38, 1985; as core-sets: Sener & Savarese, arXiv 1708.00489).

    The candidates of a round are the farthest vectors; as long as one of them stays farther than every vector outside
    the round was, it is the farthest of all, so that all vectors meet the chosen ones in one matrix product a round.
    `first` are the rows chosen before, in their order; the order goes on behind them.
    """
    del duplicate_similarity
    num = len(vectors)
    squares = np.square(vectors).sum(axis=1)
    distance = np.full(num, np.inf, dtype=np.float32)
    chosen = np.zeros(num, dtype=bool)

    def near(rows: Ranks) -> None:
        chosen[rows] = True
        for start in range(0, num, BLOCK):
            block = slice(start, start + BLOCK)
            for some in np.split(rows, range(BLOCK, len(rows), BLOCK)):
                from_rows = squares[block, None] + squares[some] - 2 * (vectors[block] @ vectors[some].T)
                np.minimum(distance[block], from_rows.min(axis=1), out=distance[block])

    begin = np.asarray(first if len(first) else [0][:num], dtype=np.int64)
    if len(begin):
        near(begin)
    if not len(first):
        yield from begin.tolist()
    while (left := np.flatnonzero(~chosen)).size:
        farthest = left[np.argsort(-distance[left], kind="stable")[: BLOCK + 1]]
        outside = distance[farthest[BLOCK]] if len(farthest) > BLOCK else -1.0
        candidates = np.sort(farthest[:BLOCK])
        rows = candidates[_farthest_of(vectors[candidates], squares[candidates], distance[candidates], outside)]
        near(rows)
        yield from rows.tolist()


def _farthest_of(vectors: Whole, squares: Whole, distance: Whole, outside: float) -> Ranks:
    """Candidates farthest first, as long as each is farther than all vectors outside; the first one is in any case."""
    apart = squares[:, None] + squares - 2 * (vectors @ vectors.T)
    taken: list[int] = []
    while len(taken) < len(vectors):
        best = int(np.argmax(distance))
        if taken and distance[best] <= outside:
            break
        taken.append(best)
        distance = np.minimum(distance, apart[best])
        distance[taken] = -2.0
    return np.array(taken, dtype=np.int64)


def cluster_balanced(vectors: Whole, first: Sequence[int], duplicate_similarity: float) -> Iterator[int]:
    """In turns from each k-means cluster, the vectors of a cluster in the given order.

    There are as many clusters as the root of the number of vectors, at most 256.
    """
    del duplicate_similarity
    num_clusters = min(MAX_CLUSTERS, round(len(vectors) ** 0.5))
    labels = kmeans_labels(vectors, num_clusters, seed=0) if len(vectors) else np.zeros(0, dtype=np.int64)
    yield from np.argsort(_occurrence(labels), kind="stable")[len(first) :].tolist()


def _occurrence(values: Ranks) -> Ranks:
    """How often each value stands before its place, [n]."""
    return pd.Series(values).groupby(values).cumcount().to_numpy()


def dedup(vectors: Whole, first: Sequence[int], duplicate_similarity: float) -> Iterator[int]:
    """The given order without what is nearly the same as something before; after that, what was passed over.

    Exact, where SemDeDup (Abbas et al., arXiv 2303.09540) compares inside clusters only.
    """
    least = duplicate_similarity * GRID**2
    kept: list[int] = []
    passed: list[int] = []
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        repeats = np.zeros(len(block), dtype=bool)
        for some in range(0, len(kept), BLOCK):
            repeats |= (block @ vectors[kept[some : some + BLOCK]].T >= least).any(axis=1)
        among = block @ block.T >= least
        for row in range(len(block)):
            if not repeats[row]:
                repeats |= among[row] & (np.arange(len(block)) > row)
        num_kept = len(kept)
        kept += (start + np.flatnonzero(~repeats)).tolist()
        passed += (start + np.flatnonzero(repeats)).tolist()
        yield from kept[max(num_kept, len(first)) :]
    yield from passed[max(0, len(first) - len(kept)) :]


def select(
    method: str,
    ids: Sequence[str],
    vectors: NDArray[np.float32],
    seed: int,
    *,
    duplicate_similarity: float = 0.9,
    first: Iterable[int] = (),
    ties: Sequence[int] = (),
) -> Iterator[int]:
    """Positions of the ids in the order of a selection.

    Samples with the same vector share one place: the first of each in hash order are ordered by the method, then the
    second of each follow in the same order, and so on. So repeated instructions cost no time and come last. Ties are
    broken by the hash order of `ids` and `ties`, which `seed` decides. `first` is the beginning of the order where it
    is known; only what follows is computed and given.
    """
    order = np.array(hash_order(ids, seed, ties=ties), dtype=np.int64)
    done = list(first)
    whole = np.rint(vectors[order] * GRID).astype(np.float32)
    _, leaders, group = np.unique(whole, axis=0, return_index=True, return_inverse=True)
    leaders_in_order = np.sort(leaders)
    done_rows = np.argsort(order)[np.array(done[: len(leaders)], dtype=np.int64)]
    places = np.searchsorted(leaders_in_order, done_rows).tolist()
    with SELECTIONS.named_in_errors(method, f"{len(leaders)} different instructions"):
        for place in SELECTIONS[method](whole[leaders_in_order], places, duplicate_similarity):
            places.append(place)
            yield int(order[leaders_in_order[place]])
        if sorted(places) != list(range(len(leaders))):
            raise ValueError(f"it gives {len(places)} places, expected each of {len(leaders)} once")
    # What repeats an instruction: by how often it came before, then by the place of its instruction.
    rank = np.argsort(places)[np.searchsorted(leaders_in_order, leaders)[group.ravel()]]
    rest = np.lexsort((rank, _occurrence(rank)))[len(leaders) :]
    yield from order[rest[max(0, len(done) - len(leaders)) :]].tolist()
