"""Contradictions between the settings of embedders and of `sparrow diversity`."""

from __future__ import annotations

from collections.abc import Iterator

from sparrow.core.config import DiversityConfig, Embedder
from sparrow.instructions.embedding import EMBEDDERS
from sparrow.instructions.encoder import POOLINGS

Found = tuple[str, str]
AT_LEAST = {
    "num_instructions": 1,
    "min_instructions": 2,
    "num_resamples": 0,
    "num_clusters": 1,
    "num_templates": 1,
}


def check_embedder(embedder: Embedder) -> Iterator[Found]:
    """What is wrong with an embedder, as (key, what and how to mend it)."""
    if embedder.name not in EMBEDDERS:
        yield "embedder.name", f"'{embedder.name}' is not one of {', '.join(EMBEDDERS)}"
    if embedder.name == "encoder" and not embedder.model:
        yield "embedder.model", "is not set; give the folder or Hub id of an encoder, or use embedder=tfidf"
    if embedder.pooling is not None and embedder.pooling not in POOLINGS:
        yield "embedder.pooling", f"'{embedder.pooling}' is not one of {', '.join(POOLINGS)}, or null"
    for name in ("dimensions", "max_length_tokens", "batch_size"):
        if getattr(embedder, name) < 1:
            yield f"embedder.{name}", f"must be at least 1, is {getattr(embedder, name)}"
    if not 0 < embedder.duplicate_similarity <= 1:
        yield (
            "embedder.duplicate_similarity",
            f"must lie above 0 and at most at 1, is {embedder.duplicate_similarity}",
        )


def check_diversity(config: DiversityConfig) -> Iterator[Found]:
    """What is wrong with the settings of `sparrow diversity`."""
    for name, least in AT_LEAST.items():
        if getattr(config, name) < least:
            yield name, f"must be at least {least}, is {getattr(config, name)}"
    if config.num_in_pictures is not None and config.num_in_pictures < 1:
        yield "num_in_pictures", f"must be at least 1, is {config.num_in_pictures}; null shows all"
    if not config.mixture.components and not config.source:
        yield "mixture", "there is nothing to measure; choose mixture=NAME, or sources, as in '+source=[alpaca,qmsum]'"
    totals = [name for name in vars(config.mixture) if name.startswith("num_") and getattr(config.mixture, name)]
    if config.mixture.components and totals not in ([], ["num_samples"]):
        yield f"mixture.{totals[0]}", "the draw needs a model's tokens then; give the total as mixture.num_samples"
