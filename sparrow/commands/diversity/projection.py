"""Vectors of instructions as points of a plane, by t-SNE and by principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparrow.commands.diversity.measure import Sampled
from sparrow.instructions.source_comparison import WHOLE

PERPLEXITY = 30.0
MIN_POINTS = 4


@dataclass(frozen=True)
class Projection:
    """Points of every source in one plane.

    Args:
        name: How pictures and files call it.
        points: [n, 2] by source.
    """

    name: str
    points: dict[str, NDArray[np.float64]]


def project(sampled: Sampled, num_each: int | None, seed: int) -> list[Projection]:
    """t-SNE as in the paper (two dimensions, begun with principal components, cosine distance), here with a seed; PCA.

    Too few instructions give no projection. The whole mixture, which consists of the others, is left out.

    Args:
        sampled: The instructions.
        num_each: Points of each source; all where None.
        seed: Seeds t-SNE.
    """
    names = [name for name in sampled.vectors if name != WHOLE]
    sets = [sampled.vectors[name][:num_each] for name in names]
    together = np.concatenate(sets)
    if len(together) < MIN_POINTS or together.shape[1] < 2:
        return []
    ends = np.cumsum([len(own) for own in sets])[:-1]
    return [
        Projection(name, dict(zip(names, np.split(points, ends), strict=True)))
        for name, points in (("t-SNE", _tsne(together, seed)), ("PCA", _pca(together, seed)))
    ]


def _tsne(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    if not np.ptp(vectors, axis=0).any():  # begun with principal components, of which there are none
        return np.zeros((len(vectors), 2))
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    model = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
    return model.fit_transform(vectors).astype(np.float64)


def _pca(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA

    if not np.ptp(vectors, axis=0).any():
        return np.zeros((len(vectors), 2))
    return PCA(2, random_state=seed).fit_transform(vectors).astype(np.float64)
