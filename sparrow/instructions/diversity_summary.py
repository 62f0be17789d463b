"""The small measure of diversity that every run's record holds: seconds at most, kept, and never in a run's way."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from sparrow.core.files import write_json
from sparrow.core.hashing import content_hash
from sparrow.data.plan import Plan
from sparrow.data.sources import SourceData
from sparrow.instructions.corpus import make_corpus
from sparrow.instructions.extraction import EXTRACTION_VERSION, sample_instructions
from sparrow.instructions.settings import METRICS, Embedder
from sparrow.instructions.source_comparison import WHOLE, common_size, embed_all, mixed
from sparrow.instructions.tfidf import TFIDF_VERSION
from sparrow.runs.record import Diversity

log = logging.getLogger(__name__)
NUM_INSTRUCTIONS = 1_000
MIN_INSTRUCTIONS = 10
EMBEDDER = Embedder(name="tfidf", dimensions=128)
RECORD_VERSION = 1  # raised whenever the same samples come to have other values


def diversity_of(plan: Plan, sources: Mapping[str, SourceData], cache_root: Path) -> Diversity | None:
    """Metrics of at most 1,000 instructions of every component and of the mixture, equally many of each.

    The vectors are those of `tfidf`, whatever embedder is configured. What goes wrong is logged, not raised.
    """
    try:
        versions = [RECORD_VERSION, EXTRACTION_VERSION, TFIDF_VERSION, list(METRICS)]
        key = content_hash([versions, NUM_INSTRUCTIONS, EMBEDDER.dimensions, plan.content_hash])
        kept = cache_root / "diversity" / f"{key}.json"
        if kept.is_file():
            return Diversity(**json.loads(kept.read_text()))
        measured = _measure(plan, sources)
        write_json(kept, asdict(measured))
    except Exception as error:
        log.warning("the diversity of the instructions was not measured: %s: %s", type(error).__name__, error)
        return None
    return measured


def _measure(plan: Plan, sources: Mapping[str, SourceData]) -> Diversity:
    ledger = plan.ledger
    rows = {str(name): own for name, own in ledger[ledger["status"] == "used"].groupby("component", sort=False)}
    texts = {
        name: sample_instructions(sources[str(own["source"].iloc[0])], own["row"].tolist(), NUM_INSTRUCTIONS, seed=0)
        for name, own in rows.items()
    }
    texts[WHOLE] = mixed(texts, {name: len(own) for name, own in rows.items()}, NUM_INSTRUCTIONS)
    vectors = embed_all(texts, EMBEDDER)
    size = common_size([len(own) for own in texts.values()], MIN_INSTRUCTIONS) or NUM_INSTRUCTIONS
    values = {}
    for name, own in texts.items():
        corpus = make_corpus(own[:size], vectors[name][:size])
        values[name] = {key: metric(corpus) for key, metric in METRICS.items()}
    return Diversity(EMBEDDER.name, size, mixture=values.pop(WHOLE), components=values)
