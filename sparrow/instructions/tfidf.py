"""TF-IDF vectors of words and characters, reduced by truncated SVD: no download, and bounded memory.

Latent semantic analysis (Deerwester et al., 1990) over words and pairs of words, and over runs of three and four
characters inside words, which make forms of a word alike; hashed, so that no vocabulary is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparrow.core.hashing import hash_order
from sparrow.instructions.settings import Embedder

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TFIDF_VERSION = 2  # raised whenever the same texts come to have other vectors
NUM_FEATURES = 1 << 16
MAX_FITTED = 20_000
MAX_EXACT = 2_000  # up to here the exact algorithm is the faster one
CHUNK = 10_000
WORD = r"(?u)\w+|[^\w\s]"


def tfidf_vectors(texts: Sequence[str], dimensions: int) -> NDArray[np.float32]:
    """Unit vectors of n distinct texts, [n, min(n, dimensions)].

    Weights and directions are fitted on at most 20,000 texts, chosen by hash. Up to `dimensions` texts lose nothing.
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    fitted = _features([texts[i] for i in sorted(hash_order(texts, 0)[:MAX_FITTED])])
    weights = [TfidfTransformer(sublinear_tf=True).fit(part) for part in fitted]
    matrix = _weighted(fitted, weights)
    if len(texts) <= dimensions:
        return _unit(_without_loss(matrix))
    columns = np.unique(matrix.indices)
    directions = _directions(matrix[:, columns], dimensions)
    chunks = (_features(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK))
    return _unit(np.concatenate([_weighted(chunk, weights)[:, columns] @ directions for chunk in chunks]))


def _features(texts: Sequence[str]) -> list[csr_matrix]:
    """Counts of words and of characters, [n, 65536] each."""
    from sklearn.feature_extraction.text import HashingVectorizer

    shared: dict[str, Any] = {"n_features": NUM_FEATURES, "norm": None, "alternate_sign": False, "dtype": np.float32}
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=WORD, **shared)
    characters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 4), **shared)
    return [words.transform(texts), characters.transform(texts)]


def _weighted(features: Sequence[csr_matrix], weights: Sequence[Any]) -> csr_matrix:
    from scipy.sparse import hstack

    return hstack([weight.transform(part) for weight, part in zip(weights, features, strict=True)], format="csr")


def _directions(matrix: csr_matrix, dimensions: int) -> NDArray[np.float32]:
    """The strongest directions of a matrix without empty columns, [columns, dimensions]."""
    from sklearn.decomposition import TruncatedSVD

    if min(matrix.shape) <= dimensions:
        return np.eye(matrix.shape[1], dtype=np.float32)
    algorithm = "arpack" if matrix.shape[0] <= MAX_EXACT else "randomized"
    return TruncatedSVD(dimensions, algorithm=algorithm, n_iter=4, random_state=0).fit(matrix).components_.T


def _without_loss(matrix: csr_matrix) -> NDArray[np.float32]:
    """Vectors [n, n] with the inner products of the rows."""
    values, directions = np.linalg.eigh((matrix @ matrix.T).toarray().astype(np.float64))
    return (directions * np.sqrt(values.clip(min=0)))[:, ::-1].astype(np.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-12)


def embed_tfidf(texts: Sequence[str], embedder: Embedder, progress: bool) -> NDArray[np.float32]:
    """Vectors of the embedder `tfidf`, which needs no progress bar, computed on one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums are rounded otherwise on each number of threads
        return tfidf_vectors(texts, embedder.dimensions)
