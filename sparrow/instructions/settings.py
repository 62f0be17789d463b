"""Settings of embedders, which turn instructions into vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from sparrow.core.entries import Registry
from sparrow.core.settings import AtLeast1, one_of, setting, settings

EMBEDDERS: Registry[Any] = Registry(
    "embedder",
    {"tfidf": "sparrow.instructions.tfidf.embed_tfidf", "encoder": "sparrow.instructions.text_encoder.encode_texts"},
    ("texts", "settings", "progress"),
)
METRIC_NAMES = (
    "vendi_score effective_rank mean_pairwise_distance distinct_1 distinct_2 entropy_2 compression_ratio template_rate"
).split()
METRICS: Registry[Any] = Registry(
    "metric of diversity",
    {name: f"sparrow.instructions.metrics.{name.upper()}" for name in METRIC_NAMES},
    "sparrow.instructions.metrics.Metric",
)


@settings
class Embedder:
    """What turns instructions into vectors, for measuring their diversity and selecting by it."""

    name: Annotated[str, one_of(EMBEDDERS)] = setting("`tfidf`, or `encoder`, a pretrained model", default="tfidf")
    dimensions: AtLeast1 = setting("length of a `tfidf` vector", default=256)
    model: str | None = setting("folder or Hub id of an encoder", default=None)
    revision: str | None = setting("its revision on the Hub", default=None)
    pooling: Literal["mean", "cls"] | None = setting(
        "of an encoder; null: as its folder says, else `mean`", default=None
    )
    max_length_tokens: AtLeast1 = setting("longer instructions are cut for the encoder", default=384, unit="tokens")
    duplicate_similarity: Annotated[float, Field(gt=0, le=1)] = setting("cosine of duplicates", default=0.9)
    batch_size: AtLeast1 = setting("instructions an encoder reads at once", default=64, recorded=True)
    device: str = setting(
        "where the encoder runs; `auto` takes a GPU where there is one", default="auto", recorded=True
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """That an encoder is named."""
        if self.name == "encoder" and not self.model:
            yield "model", "is not set; give the folder or Hub id of an encoder, or use embedder=tfidf"


class DiversitySettings(Protocol):
    """The settings by which sources are compared."""

    data_seed: int
    min_instructions: int
    num_resamples: int
    num_clusters: int
    num_templates: int
    metrics: list[str]
