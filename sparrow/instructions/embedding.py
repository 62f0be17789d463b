"""Instructions as vectors of length one, in which nearness is likeness; computed once for the same texts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparrow.core.files import write_atomically
from sparrow.core.hashing import content_hash
from sparrow.core.settings import identity
from sparrow.instructions.settings import EMBEDDERS, Embedder
from sparrow.instructions.text_encoder import encoder_identity
from sparrow.instructions.tfidf import TFIDF_VERSION

Vectors = NDArray[np.float32]


def embed(
    texts: Sequence[str], embedder: Embedder, *, cache_root: Path | None = None, progress: bool = False
) -> Vectors:
    """Unit vectors [n, d] of texts; equal texts have equal vectors, and the order of the texts changes none.

    A text without anything to go by has zeros. Vectors are kept under `cache_root`, if given, for the next time.

    Raises:
        ConfigError: If an encoder cannot be loaded.
    """
    distinct, inverse = np.unique(np.array(texts, dtype=object), return_inverse=True)
    if not len(distinct):
        return np.zeros((0, 1), dtype=np.float32)
    if cache_root is None:
        return _embedded(list(distinct), embedder, progress)[inverse]
    file = cache_root / "embeddings" / f"{embedding_key(list(distinct), embedder)}.npy"
    try:
        vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        vectors = _embedded(list(distinct), embedder, progress)
        buffer = io.BytesIO()
        np.save(buffer, vectors)
        write_atomically(file, buffer.getvalue())
    return vectors[inverse]


def _embedded(texts: list[str], embedder: Embedder, progress: bool) -> Vectors:
    with EMBEDDERS.named_in_errors(embedder.name, f"{len(texts)} instructions"):
        vectors = np.asarray(EMBEDDERS[embedder.name](texts, embedder, progress), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise ValueError(f"it gives {vectors.shape}, expected finite vectors [{len(texts)}, d]")
    return vectors


def embedding_key(texts: Sequence[str], embedder: Embedder) -> str:
    """Hash of all that the vectors depend on: the set of texts and the embedder."""
    kind = [*EMBEDDERS.own_code(embedder.name), identity(embedder)]
    if embedder.name in EMBEDDERS:
        kind = ["tfidf", TFIDF_VERSION, embedder.dimensions] if embedder.name == "tfidf" else encoder_identity(embedder)
    return content_hash([kind, sorted(set(texts))], length=32)
