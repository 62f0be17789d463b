"""Runs grouped into studies: the arms of each, and the paired differences between and within them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from sparrow.analysis.paired import PairedDifference, paired_difference
from sparrow.analysis.predictions import Predictions, read_predictions
from sparrow.core.config import Study
from sparrow.core.errors import DataError
from sparrow.runs.collect import FoundRun, find_runs
from sparrow.runs.record import Phase, RunRecord, Score

UNKNOWN_STUDY = "unknown study"


@dataclass(frozen=True)
class Arm:
    """One run of a study under the name of its swept values."""

    label: str
    run: FoundRun

    @property
    def title(self) -> str:
        """The label, with the status of a run that did not finish."""
        return self.label if self.run.status == "finished" else f"{self.label} ({self.run.status})"

    def score(self, benchmark: str, phase: Phase) -> Score | None:
        """The score of one benchmark and phase, if there is one."""
        return self.run.record.scores.get(benchmark, {}).get(phase) if self.run.record else None

    def scores(self, benchmark: str) -> list[Score]:
        """The scores of one benchmark in all phases."""
        return list(self.run.record.scores.get(benchmark, {}).values()) if self.run.record else []

    def predictions(self, benchmark: str, phase: Phase) -> Predictions:
        """The stored answers behind a score.

        Raises:
            DataError: If they are missing or cannot be read; the message names the file inside the run.
        """
        score = self.score(benchmark, phase)
        if score is None:
            raise DataError(f"{self.label} has no score {phase!r}")
        try:
            return read_predictions(self.run.folder / score.predictions)
        except DataError as error:
            raise DataError(error.what, where=f"{self.label}, {score.predictions or 'no predictions file'}") from None


@dataclass(frozen=True)
class Comparison:
    """The paired difference, second minus first, of two arms' answers, or the problem with it."""

    benchmark: str
    first: tuple[Arm, Phase]
    second: tuple[Arm, Phase]
    result: PairedDifference | None
    problem: str = ""

    @property
    def verdict(self) -> str:
        """What may be said of the difference."""
        if self.result is None:
            return f"not compared: {self.problem}"
        if not self.result.is_shown:
            return "no difference shown"
        return "higher" if self.result.difference > 0 else "lower"


@dataclass(frozen=True)
class StudyResults:
    """A study and its arms, in the order of their numeric factors, then of their start."""

    study: Study
    arms: tuple[Arm, ...]

    @property
    def benchmarks(self) -> list[str]:
        """Names of all benchmarks that some arm has a score of."""
        return sorted({name for arm in self.arms if arm.run.record for name in arm.run.record.scores})

    @cached_property
    def between(self) -> list[Comparison]:
        """After training: every arm with every later one."""
        return [
            _compare(benchmark, (first, "after"), (second, "after"))
            for benchmark in self.benchmarks
            for first, second in combinations([arm for arm in self.arms if arm.score(benchmark, "after")], 2)
        ]

    @cached_property
    def within(self) -> list[Comparison]:
        """In each arm: after training against before, and against the same model without frames."""
        phases: tuple[Phase, ...] = ("before", "blind")
        return [
            _compare(benchmark, (arm, phase), (arm, "after"))
            for benchmark in self.benchmarks
            for arm in self.arms
            for phase in phases
            if arm.score(benchmark, phase) and arm.score(benchmark, "after")
        ]


def _compare(benchmark: str, first: tuple[Arm, Phase], second: tuple[Arm, Phase]) -> Comparison:
    try:
        result = paired_difference(*(arm.predictions(benchmark, phase) for arm, phase in (first, second)))
    except DataError as error:
        return Comparison(benchmark, first, second, None, str(error))
    return Comparison(benchmark, first, second, result)


def read_studies(folders: Iterable[Path]) -> list[StudyResults]:
    """The studies whose runs lie in the folders or below, by name.

    A run whose record cannot be read belongs to the study of the runs beside it.

    Raises:
        RunError: If a folder does not exist, or none of them holds a run.
    """
    runs = find_runs(folders)
    name_beside = {run.folder.parent: run.record.study.name for run in runs if run.record}
    groups: dict[str, list[FoundRun]] = {}
    for run in runs:
        name = run.record.study.name if run.record else name_beside.get(run.folder.parent, UNKNOWN_STUDY)
        groups.setdefault(name, []).append(run)
    return [_study(name, group) for name, group in sorted(groups.items())]


def _study(name: str, runs: list[FoundRun]) -> StudyResults:
    records = [run.record for run in runs if run.record]
    study = records[0].study if records else Study(name=name)
    runs = sorted(runs, key=_order)
    labels = [_label(run) for run in runs]
    shared = Counter(labels)
    return StudyResults(
        study,
        tuple(
            Arm(label if shared[label] == 1 else f"{label} [{run.label}]", run)
            for label, run in zip(labels, runs, strict=True)
        ),
    )


def _factors(record: RunRecord) -> dict[str, Any]:
    """Factors in the order in which the study declares them."""
    declared = [name for name in record.study.factors if name in record.factors]
    return {name: record.factors[name] for name in [*declared, *sorted(record.factors.keys() - set(declared))]}


def _label(run: FoundRun) -> str:
    if run.record is None:
        return run.label
    factors = _factors(run.record)
    if len(factors) == 1 and isinstance(value := next(iter(factors.values())), str):
        return value
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in factors.items()) or run.record.name


def _order(run: FoundRun) -> tuple[bool, list[float], str, str]:
    if run.record is None:
        return True, [], "", run.label
    numbers = [float(value) for value in _factors(run.record).values() if isinstance(value, int | float)]
    return False, numbers, run.record.started_at, run.label
