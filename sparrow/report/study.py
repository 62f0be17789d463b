"""Runs grouped into studies: the arms of each, over their seeds, and the differences between and within arms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from sparrow.analysis.scores import PAPER_MEANS
from sparrow.analysis.seeds import Estimate, holm
from sparrow.report.arm import Arm, checkpoint_of, factors_of, label_of, telling
from sparrow.report.arm_pairs import Comparison, compare
from sparrow.report.confounds import Difference, undeclared_differences
from sparrow.runs.find import SEEDS, FoundRun, find_runs
from sparrow.runs.record import Phase
from sparrow.runs.settings import Study

UNKNOWN_STUDY = "unknown study"
ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class StudyResults:
    """A study and its arms, in the order of their numeric factors, then of their start.

    `runs` are all runs found, also those that are in no arm; `remarks` say of a run why it is to be looked at.
    """

    study: Study
    arms: tuple[Arm, ...]
    runs: tuple[FoundRun, ...]
    remarks: tuple[tuple[FoundRun, str], ...] = ()

    @cached_property
    def benchmarks(self) -> list[str]:
        """Names of all benchmarks that some arm has a score of."""
        return sorted({name for arm in self.arms for record in arm.records for name in record.scores})

    @cached_property
    def measures(self) -> list[str]:
        """Benchmarks with a score after training, and the paper's means where their benchmarks are there."""
        return [name for name in [*self.benchmarks, *PAPER_MEANS] if any(arm.estimate(name) for arm in self.arms)]

    @cached_property
    def confounds(self) -> list[Difference]:
        """What differs between the runs that have scores and is no declared factor."""
        runs = [(arm.label, record) for arm in self.arms for record in arm.counted if record.scores]
        return undeclared_differences(runs, self.study.factors)

    @property
    def asked(self) -> str:
        """How many frames and which questions stand behind scores after training, in a line; empty without any."""
        told: dict[str, None] = {}
        for name in self.benchmarks:
            for score in (score for arm in self.arms for score in arm.scores(name, "after") if score.protocol):
                told[f"{name}: frames {score.protocol.get('frames')}, {score.protocol.get('note')}"] = None
        return "; ".join(told)

    def zero_shot(self, arm: Arm, name: str) -> Estimate | None:
        """The number before training: the arm's own, or that of the study's zero-shot evaluation of its checkpoint."""
        own = arm.estimate(name, "before")
        others = (other for other in self.arms if other.is_zero_shot and arm.checkpoints & other.checkpoints)
        return own or next((found for other in others if (found := other.estimate(name))), None)

    def gain(self, arm: Arm, name: str) -> float | None:
        """The number after training minus that before, over the runs that have both, or minus the study's zero-shot
        number where none has; None where one is not there."""
        if arm.is_zero_shot:
            return None
        if (own := arm.gain(name)) is not None:
            return own
        after, before = arm.estimate(name), self.zero_shot(arm, name)
        return after.mean - before.mean if after and before else None

    @cached_property
    def between(self) -> list[Comparison]:
        """After training: every arm with every other one, its baseline first."""
        found = []
        for benchmark in self.benchmarks:
            arms = [arm for arm in self.arms if arm.scores(benchmark, "after")]
            for first, second in combinations(arms, 2):
                pair = (second, first) if self.baseline_of(first) is second else (first, second)
                compared = compare(benchmark, (pair[0], "after"), (pair[1], "after"))
                found.append(replace(compared, is_exploratory=not self._is_primary(compared)))
        tested = [c for c in found if c.result and not c.is_exploratory]
        adjusted = dict(zip(map(id, tested), holm([c.result.p_value for c in tested if c.result]), strict=True))
        return [replace(c, adjusted_p=adjusted.get(id(c))) for c in found]

    @cached_property
    def against_baseline(self) -> list[Comparison]:
        """Those of `between` that lay an arm beside its baseline."""
        return [c for c in self.between if self.baseline_of(c.second[0]) is c.first[0]]

    def _is_primary(self, comparison: Comparison) -> bool:
        is_against_baseline = not self.has_stand_in and self.baseline_of(comparison.second[0]) is comparison.first[0]
        return not self.study.primary or (comparison.benchmark in self.study.primary and is_against_baseline)

    @cached_property
    def by_category(self) -> list[Comparison]:
        """After training, category by category: every arm with its baseline."""
        return [
            compare(benchmark, (baseline, "after"), (arm, "after"), category)
            for benchmark in self.benchmarks
            for category in self.categories(benchmark)
            for arm in self.arms
            if (baseline := self.baseline_of(arm)) is not None
            if baseline.scores(benchmark, "after") and arm.scores(benchmark, "after")
        ]

    @cached_property
    def scored(self) -> list[Arm]:
        """The arms with scores after training."""
        return [arm for arm in self.arms if any(arm.scores(benchmark, "after") for benchmark in self.benchmarks)]

    @cached_property
    def baselines(self) -> list[Arm]:
        """The arms that others are laid beside: all that the declared baseline names, else the first with scores."""
        return [arm for arm in self.scored if arm.is_called(self.study.baseline)] or self.scored[:1]

    @property
    def has_stand_in(self) -> bool:
        """Whether the declared baseline is none of several arms with scores, so that the first stands in for it."""
        name = self.study.baseline
        return name is not None and len(self.scored) > 1 and not any(arm.is_called(name) for arm in self.baselines)

    def baseline_of(self, arm: Arm) -> Arm | None:
        """The baseline that shares most factors with an arm, of several the last; None for a baseline."""
        if any(arm is baseline for baseline in self.baselines):
            return None

        def num_shared(baseline: Arm) -> int:
            return sum(baseline.factors.get(name) == value for name, value in arm.factors.items())

        return max(reversed(self.baselines), key=num_shared, default=None)

    def categories(self, benchmark: str) -> list[str]:
        """The categories of a benchmark's questions that some arm was asked after training."""
        return sorted({name for arm in self.arms for s in arm.scores(benchmark, "after") for name in s.by_category})

    @cached_property
    def within(self) -> list[Comparison]:
        """In each arm: after training against before, and against the same model without frames or with one."""
        phases: tuple[Phase, ...] = ("before", "blind", "one_frame")
        return [
            compare(benchmark, (arm, phase), (arm, "after"))
            for benchmark in self.benchmarks
            for arm in self.arms
            for phase in phases
            if arm.scores(benchmark, phase) and arm.scores(benchmark, "after")
        ]


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
    return [study_of(name, group) for name, group in sorted(groups.items())]


def study_of(name: str, runs: list[FoundRun]) -> StudyResults:
    """The results of the runs of one study."""
    runs = sorted(runs, key=_order)
    records = sorted((run.record for run in runs if run.record), key=lambda record: record.started_at)
    declaring = _declaring(runs)
    study = declaring.record.study if declaring and declaring.record else Study(name=name)
    trained_from = {checkpoint_of(record) for record in records if record.command == "train"} - {None}
    arms: dict[str, list[FoundRun]] = {}
    remarks: list[tuple[FoundRun, str]] = []
    factors = [factors_of(record) for record in records]
    told = telling(factors)
    for run in runs:
        _place(run, _label(run, told, factors), arms, remarks)
    remarks += [
        (run, f"{benchmark}, {phase}: the score is not a number")
        for run in runs
        for benchmark, phases in (run.record.scores.items() if run.record else ())
        for phase, score in phases.items()
        if score.official is None
    ]
    results = StudyResults(
        study, tuple(_arm(label, members, trained_from) for label, members in arms.items()), tuple(runs), tuple(remarks)
    )
    if declaring and results.has_stand_in:
        results = replace(results, remarks=((declaring, _no_baseline(results)), *remarks))
    return results


def _declaring(runs: list[FoundRun]) -> FoundRun | None:
    """The run whose declaration counts: the training that started last, since factors and published numbers may be
    added as a study grows. An evaluation is given the study's name, but seldom the rest: only where nothing else is."""

    def when(run: FoundRun) -> tuple[bool, str]:
        return (run.record.command == "train", run.record.started_at) if run.record else (False, "")

    return max((run for run in reversed(runs) if run.record), key=when, default=None)


def _no_baseline(results: StudyResults) -> str:
    return (
        f"study.baseline '{results.study.baseline}' names none of the arms with scores "
        f"({'; '.join(arm.label for arm in results.scored)}): the first stands in for it, and no comparison is "
        "primary. Name one in this run.json and in the experiment: by its label, the value of a factor, or factors "
        "as 'mixture=a, num_samples=30000'"
    )


def _place(run: FoundRun, label: str, arms: dict[str, list[FoundRun]], remarks: list[tuple[FoundRun, str]]) -> None:
    """Put a run into its arm; a second run of the same seeds into none, or into one of its own."""
    members = arms.setdefault(label, [])
    twin = next((other for other in members if other.seeds == run.seeds), None)
    if twin is None:
        members.append(run)
    elif run.record and twin.record and run.record.run_id == twin.record.run_id:
        kept, other = (run, twin) if (run.status == "finished") > (twin.status == "finished") else (twin, run)
        members[members.index(twin)] = kept
        remarks.append((other, f"the same run as {kept.label}: counted once"))
    else:
        arms[f"{label} [{run.label}]"] = [run]
        remarks.append((run, f"same arm and seed as {twin.label}, other settings: an arm of its own"))


def _arm(label: str, runs: list[FoundRun], trained_from: set[Any]) -> Arm:
    record = runs[0].record
    if record is None:
        return Arm(label, tuple(runs), {})
    factors = factors_of(record)
    is_zero_shot = record.command == "evaluate" and checkpoint_of(record) in trained_from
    return Arm(ZERO_SHOT if is_zero_shot and not factors else label, tuple(runs), factors, is_zero_shot)


def _label(run: FoundRun, told: list[str], of_study: list[dict[str, Any]]) -> str:
    """The factors that tell the arms of the study apart; all of them where none does."""
    if run.record is None:
        return run.label
    swept = set(run.record.factors)
    name = run.record.study.name if swept & set(SEEDS) else run.record.name
    factors = factors_of(run.record)
    return label_of({key: value for key, value in factors.items() if key in told} or factors, of_study) or name


def _order(run: FoundRun) -> tuple[bool, list[float], str, str]:
    if run.record is None:
        return True, [], "", run.label
    numbers = [float(value) for value in factors_of(run.record).values() if isinstance(value, int | float)]
    return False, numbers, run.record.started_at, run.label
