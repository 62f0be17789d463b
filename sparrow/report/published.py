"""Published numbers of a study: what `study.published` may hold, and which of our arms each number stands beside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sparrow.analysis.scores import PAPER_MEANS, Score, of_formats
from sparrow.core.settings import AtLeast1, Problem, frozen_settings, validated
from sparrow.report.arm import Arm
from sparrow.report.study import ZERO_SHOT, StudyResults
from sparrow.runs.record import RunRecord


@frozen_settings
class Published:
    """One published table: percentages by benchmark, without training and of each arm, and how they were asked.

    `metrics` are the numbers under benchmarks' names where they are not accuracy over all questions.
    """

    backbone: Annotated[str, Field(min_length=1)]
    arms: dict[str, dict[str, float]]
    source: str = "source not named"
    protocol: Literal["official", "released"] | None = None
    max_frames: AtLeast1 | None = None
    metrics: dict[str, str] = field(default_factory=dict)
    zero_shot: dict[str, float] = field(default_factory=dict)


def read_published(entries: Mapping[str, Any]) -> tuple[list[Published], list[str]]:
    """The tables of `study.published` and what is wrong with those that cannot be read.

    One table is `{backbone, source, protocol, max_frames, metrics: {benchmark: path}, zero_shot: {benchmark: percent},
    arms: {arm: {benchmark: percent}}}`; several are such tables by any names. Benchmarks are named as in
    `Arm.estimate`, arms by their label or by factors, as `mixture=sparrow, num_samples=30000`.
    """
    tables = {"": entries} if "arms" in entries or "backbone" in entries else dict(entries)
    found, problems = [], []
    for name, table in tables.items():
        where = f"study.published{'.' if name else ''}{name}"
        if isinstance(table, Mapping):
            made = validated(Published, _without_null(table))
        else:
            made = [Problem("", f"found {table!r}")]
        if isinstance(made, list):
            problems.append(f"{where} cannot be read: {made[0]}; docs/studies.md shows its form")
        else:
            found.append(made)
    return found, problems


def _without_null(value: Any) -> Any:
    """A table without what is null in it, which says nothing; an arm that is null has no numbers."""
    arms = (
        {arm: cells or {} for arm, cells in value["arms"].items()} if isinstance(value.get("arms"), Mapping) else None
    )
    return {key: item for key, item in {**value, "arms": arms}.items() if item is not None}


def arm_of(name: str, table: Published, study: StudyResults) -> Arm | None:
    """Our arm of a published arm's name: the one of this label, or the only one that has all factors it spells out,
    where there are several the only one of these on the published backbone."""
    if name == ZERO_SHOT:
        return next((arm for arm in study.arms if arm.is_zero_shot), None)
    found = [arm for arm in study.arms if name == arm.label][:1]
    found = found or [arm for arm in study.arms if arm.has_factors(name)]
    if len(found) > 1:
        found = [arm for arm in found if is_comparable(table, arm)]
    return found[0] if len(found) == 1 else None


def backbone_of(record: RunRecord | None) -> str:
    """The name of a run's backbone: the last part of its checkpoint, or its family; `tiny` where it is a sibling."""
    settings = record.config.get("backbone") if record else None
    if not isinstance(settings, Mapping):
        return "unknown backbone"
    family, checkpoint = settings.get("family"), settings.get("checkpoint")
    if settings.get("tiny"):
        return f"{family}, tiny"
    return Path(checkpoint).name if checkpoint else str(family)


def backbones_of(study: StudyResults) -> list[str]:
    """The backbones of the study's trained arms."""
    return sorted({backbone_of(r) for arm in study.arms for r in arm.counted if r.command == "train"})


def is_comparable(table: Published, arm: Arm) -> bool:
    """Whether the published numbers are of the arm's own backbone; only then do scores compare."""
    return {backbone_of(record) for record in arm.counted} == {table.backbone}


def asked_otherwise(table: Published, arm: Arm, name: str) -> str:
    """How the arm was asked otherwise than a published number says; empty where protocol, frames and metric agree."""
    found: dict[str, None] = {}
    for record in arm.counted:
        scores = {b: s for b, phases in record.scores.items() if (s := phases.get("after") or phases.get("before"))}
        by_format = of_formats(scores)
        own = [by_format.get(kind) for kind in PAPER_MEANS[name]] if name in PAPER_MEANS else [name.partition(".")[0]]
        found |= {what: None for b in own if b in scores for what in _differences(table, b, scores[b], b == name)}
    return "; ".join(found)


def _differences(table: Published, benchmark: str, score: Score, is_own: bool) -> Iterator[str]:
    protocol = str(score.protocol.get("protocol"))
    frames = re.search(r"(?:^|at most )(\d+)", str(score.protocol.get("frames")))
    metric = table.metrics.get(benchmark, "accuracy") if is_own else score.metric
    compared = (
        ("protocol", table.protocol, "released" if protocol == "as in the file" else protocol),
        ("max_frames", table.max_frames, int(frames[1]) if frames else None),
        ("metric", metric, score.metric),
    )
    for what, theirs, ours in compared:
        if theirs is None:
            yield f"study.published does not state its {what}"
        elif theirs != ours:
            yield f"{benchmark}: {what.replace('_', ' ')} {theirs} there, {ours} here"
