"""Duplicates and contamination of a prepared mixture: benchmarks read, findings written and told in a few lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from sparrow.core.errors import DataError
from sparrow.core.files import write_json
from sparrow.data.overlap import BenchmarkItem, Finding, Overlap, find_overlap
from sparrow.evaluation.questions import Question, prompt_text
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.planning.run_inputs import Prepared
from sparrow.settings import ExperimentConfig

FILE_NAME = "overlap.json"
TOLD = 3


def overlap_of(config: ExperimentConfig, prepared: Prepared) -> Overlap:
    """What the used samples share with one another and with the configured benchmarks."""
    evaluator = Evaluator(config)
    benchmarks: dict[str, list[BenchmarkItem]] = {}
    not_checked = {}
    for name in config.benchmark:
        try:
            questions, media_root = evaluator.questions(name)
        except DataError as error:
            not_checked[name] = str(error)
        else:
            benchmarks[name] = [_item(question, media_root) for question in questions]
    overlap = find_overlap(prepared.plan.ledger, prepared.sources, benchmarks)
    overlap.not_checked = not_checked
    return overlap


def write_overlap(overlap: Overlap, folder: Path) -> None:
    """Write `overlap.json`."""
    write_json(folder / FILE_NAME, asdict(overlap))


def overlap_text(overlap: Overlap) -> str:
    """A line a finding, with the first ids, after the benchmarks that cannot be asked."""
    lines = [*_among_samples(overlap), *_with_benchmarks(overlap)]
    compared = f" and {', '.join(overlap.benchmarks)}" if overlap.benchmarks else ""
    lines = lines or [f"none among {overlap.num_samples:,} samples{compared}"]
    unread = [f"  {name}: there is nothing to ask: {why}" for name, why in overlap.not_checked.items()]
    return "\n".join([*(["Benchmarks", *unread] if unread else []), "Overlap", *(f"  {line}" for line in lines)])


def _among_samples(overlap: Overlap) -> Iterator[str]:
    yield from _line(overlap.repeated_within_components, "samples repeat another of their component")
    yield from _line(overlap.repeated_across_components, "samples repeat one of another component")
    yield from _line(overlap.contexts_across_components, "media or long texts are shown by several components")
    copies = Finding(overlap.media_copies.count, [_from_common_folder(*pair) for pair in overlap.media_copies.first])
    yield from _line(copies, "media files are copies of another")


def _with_benchmarks(overlap: Overlap) -> Iterator[str]:
    for name, found in overlap.benchmarks.items():
        of_all = f"of {found.num_questions:,} {name} questions"
        yield from _line(found.same_question_and_video, f"{of_all} are asked about the same video in a sample")
        yield from _line(found.same_video, f"{of_all} are about a video that a sample shows")
        yield from _line(found.same_video_name, f"{of_all} are about a video named as one that a sample shows")
        yield from _line(found.same_question, f"{of_all} are worded as in a sample")


def _line(finding: Finding, what: str) -> Iterator[str]:
    if finding.count:
        first = ", ".join(f"{this} = {other}" for this, other in finding.first[:TOLD])
        yield f"{finding.count:,} {what}: {first}{', ...' if finding.count > TOLD else ''}"


def _from_common_folder(this: str, other: str) -> tuple[str, str]:
    folder = os.path.commonpath([this, other])
    return os.path.relpath(this, folder), os.path.relpath(other, folder)


def _item(question: Question, media_root: Path) -> BenchmarkItem:
    video = media_root / question.video if question.video is not None else None
    return BenchmarkItem(question.id, (question.question, prompt_text(question)), video)
