"""Vectors of instructions as points of a plane, by t-SNE and by principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparrow.commands.diversity.measure import Sampled
from sparrow.instructions.diagnostics import parted
from sparrow.instructions.source_comparison import WHOLE

PERPLEXITY = 30.0
MIN_POINTS = 4


@dataclass(frozen=True)
class Projection:
    """Points [n, 2] of every source in one plane."""

    name: str
    points: dict[str, NDArray[np.float64]]


def project(sampled: Sampled, num_each: int | None, seed: int) -> list[Projection]:
    """t-SNE as in the paper (two dimensions, begun with principal components, cosine distance), here with a seed; PCA.

    Too few instructions give no projection. The whole mixture, which consists of the others, is left out. `num_each` is
    the number of points of each source, all where None.
    """
    sets = {name: vectors[:num_each] for name, vectors in sampled.vectors.items() if name != WHOLE}
    together = np.concatenate([*sets.values()])
    if len(together) < MIN_POINTS or together.shape[1] < 2:
        return []
    return [Projection(name, parted(points, sets)) for name, points in _planes(together, seed).items()]


def _planes(vectors: NDArray[np.float32], seed: int) -> dict[str, NDArray[np.float64]]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if not np.ptp(vectors, axis=0).any():  # no principal components, which t-SNE begins with
        return dict.fromkeys(("t-SNE", "PCA"), np.zeros((len(vectors), 2)))
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
    models = {"t-SNE": tsne, "PCA": PCA(2, random_state=seed)}
    return {name: model.fit_transform(vectors).astype(np.float64) for name, model in models.items()}
