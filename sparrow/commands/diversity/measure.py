"""The instructions of a mixture's components, or of sources: sampled, embedded, compared, and told in tables."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparrow.core.errors import DataError
from sparrow.core.files import write_atomically, write_json
from sparrow.core.hashing import hash_order
from sparrow.core.tables import Table
from sparrow.data.mixture import draw
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.instructions.extraction import clean, sample_instructions
from sparrow.instructions.metrics import MetricEstimate
from sparrow.instructions.settings import METRICS
from sparrow.instructions.source_comparison import WHOLE, MeasuredSource, SourceComparison, compare, embed_all, mixed
from sparrow.planning.order import selected_rows
from sparrow.planning.run_inputs import divided_mixture, load_sources, lost_by_dividing, page_counts
from sparrow.settings import DiversityConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampled:
    """Instructions by source, each in random order, their vectors in one space, and what was found.

    The whole mixture is one more source; `notes` are what a reader must know beside the numbers.
    """

    texts: dict[str, list[str]]
    vectors: dict[str, NDArray[np.float32]]
    comparison: SourceComparison
    notes: list[str]


def measure_diversity(config: DiversityConfig) -> Sampled:
    """Sample the instructions and compare them.

    Raises:
        DataError: If a source or benchmark cannot be read, or a component asks for more samples than there are.
        ConfigError: If an encoder cannot be loaded.
    """
    texts, notes = _sample(config)
    questions = _questions(config, notes)
    log.info("embedding %s instructions with %s", f"{sum(map(len, texts.values())):,}", config.embedder.name)
    vectors = embed_all(
        {("source", name): own for name, own in texts.items()}
        | {("benchmark", name): q for name, q in questions.items()},
        config.embedder,
        cache_root=Path(config.paths.cache_root),
        progress=config.trainer.progress_bar,
    )
    own_vectors = {name: vectors["source", name] for name in texts}
    comparison = compare(texts, own_vectors, {name: vectors["benchmark", name] for name in questions}, config)
    sizes = {name: measured.num_compared for name, measured in comparison.sources.items()}
    if len(set(sizes.values())) > 1:
        small = ", ".join(sorted(name for name, size in sizes.items() if size < config.min_instructions))
        notes.append(f"not comparable, with fewer than min_instructions={config.min_instructions}: {small}")
    return Sampled(texts, own_vectors, comparison, notes)


def _sample(config: DiversityConfig) -> tuple[dict[str, list[str]], list[str]]:
    rows, sources = _rows(config)
    texts = {
        name: sample_instructions(sources[source], own, config.num_instructions, config.data_seed)
        for name, (source, own) in rows.items()
    }
    fewer = [f"{name} {len(own):,}" for name, own in texts.items() if len(own) < config.num_instructions]
    notes = [f"fewer than num_instructions={config.num_instructions:,}: {', '.join(fewer)}"] if fewer else []
    notes += lost_by_dividing(config.mixture, divided_mixture(config), config.sample_divisor)
    if config.mixture.components and len(texts) > 1:
        texts[WHOLE] = mixed(texts, {name: len(own) for name, (_, own) in rows.items()}, config.num_instructions)
    return texts, notes


def _rows(config: DiversityConfig) -> tuple[dict[str, tuple[str, Sequence[int]]], dict[str, Any]]:
    """By component the source and the rows that are drawn of it; or by source all of its rows."""
    if not config.mixture.components:
        sources = load_sources(config, config.source)
        return {name: (name, range(len(sources[name]))) for name in config.source}, sources
    mixture = divided_mixture(config)
    sources = load_sources(config, mixture.sources)
    with closing(page_counts(config)) as pages:
        drawn = draw(
            mixture,
            sources,
            config.data_seed,
            pages,
            None,  # totals in tokens and frames are refused with the configuration
            partial(selected_rows, sources=sources, config=config),
            nested_order=config.batching.nested_order,
        )
    return {selection.component: (selection.source, selection.rows) for selection in drawn}, sources


def _questions(config: DiversityConfig, notes: list[str]) -> dict[str, list[str]]:
    """Questions of the benchmarks, at most `num_instructions` of each; a benchmark that is not there is noted."""
    evaluator = Evaluator(config)
    found = {}
    for name in config.benchmark:
        try:
            questions, _ = evaluator.questions(name)
        except DataError as error:
            notes.append(f"benchmark {name}: not covered: {error}")
        else:
            ordered = hash_order([question.id for question in questions], config.data_seed, salt="instructions")
            asked = (clean(questions[i].question) for i in ordered[: config.num_instructions])
            found[name] = [text for text in asked if text]
    return found


def write_diversity(sampled: Sampled, config: DiversityConfig, folder: Path) -> None:
    """Write `diversity.json`, `diversity.csv` and `diversity.md`."""
    comparison = sampled.comparison
    described = ("definition", "source", "more_is_diverse")
    definitions = {name: {key: getattr(METRICS[name], key) for key in described} for name in config.metrics}
    settings: dict[str, Any] = {"num_instructions": config.num_instructions, "data_seed": config.data_seed}
    settings |= {"embedder": asdict(config.embedder), "metrics": definitions}
    write_json(folder / "diversity.json", {**settings, **asdict(comparison), "notes": sampled.notes})
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["source", "num_instructions", "num_compared", "metric", "value", "low", "high"])
    for name, measured in comparison.sources.items():
        for metric, found in measured.metrics.items():
            writer.writerow([name, measured.num_instructions, measured.num_compared, metric, *vars(found).values()])
    write_atomically(folder / "diversity.csv", lines.getvalue())
    tables = "\n".join(table.markdown() for table in _tables(sampled, with_intervals=True))
    metrics = (METRICS[name] for name in config.metrics)
    meanings = "\n".join(f"- **{m.label}**: {m.definition} ({m.source})" for m in metrics)
    write_atomically(folder / "diversity.md", f"{tables}\n{meanings}\n")


def diversity_text(sampled: Sampled) -> str:
    """The tables for a terminal."""
    return "\n".join(table.text() for table in _tables(sampled, with_intervals=False))


def _tables(sampled: Sampled, *, with_intervals: bool) -> list[Table]:
    comparison = sampled.comparison
    sizes = {measured.num_compared for measured in comparison.sources.values()}
    sources = comparison.sources.values()
    rows = [("instructions compared", *(f"{measured.num_compared:,}" for measured in sources))]
    for key in next(iter(sources)).metrics if sources else ():
        metric = METRICS[key]
        values = (_number(measured.metrics[key], with_intervals) for measured in sources)
        rows.append((f"{metric.label} {'↑' if metric.more_is_diverse else '↓'}", *values))
    title = f"Diversity of {max(sizes, default=0):,} instructions each"
    note = "; ".join([*sampled.notes, "↑ ↓: the direction of more diversity"])
    metrics = Table(title, ("metric", *comparison.sources), rows, note=note)
    clusters = Table(
        "Spread over the clusters of all sources",
        ("source", "sampled", "different", "clusters", "effective", "evenness"),
        [(name, *_spread(measured)) for name, measured in comparison.sources.items()],
    )
    distances = Table(
        "Mean cosine distance of an instruction of a row to the nearest of a column",
        ("source", *comparison.sources),
        [
            (name, *(f"{distance:.2f}" for distance in row))
            for name, row in zip(comparison.sources, comparison.distances, strict=True)
        ],
    )
    covered = Table(
        "Questions of benchmarks with an instruction nearer than their fifth-nearest other question",
        ("benchmark", "questions", *comparison.sources),
        [
            (
                name,
                f"{next(iter(own.values())).num_questions:,}",
                *(f"{100 * found.coverage:.0f} % (distance {found.mean_distance:.2f})" for found in own.values()),
            )
            for name, own in comparison.coverage.items()
        ],
    )
    return [metrics, clusters, distances, *([covered] if covered.rows else [])]


def _spread(source: MeasuredSource) -> tuple[str, ...]:
    clusters = source.clusters
    cells = f"{clusters.num_clusters}", f"{clusters.effective_clusters:.1f}", f"{clusters.evenness:.2f}"
    return f"{source.num_instructions:,}", f"{source.num_distinct:,}", *cells


def _number(found: MetricEstimate, with_interval: bool) -> str:
    def digits(value: float) -> str:
        return f"{value:.3f}" if abs(found.value) < 1 else f"{value:.2f}" if abs(found.value) < 100 else f"{value:.0f}"

    if not with_interval or found.low == found.high:
        return digits(found.value)
    return f"{digits(found.value)} ({digits(found.low)}–{digits(found.high)})"
