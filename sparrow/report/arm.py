"""An arm of a study: the runs that differ in nothing but their seeds, and the numbers of all of them together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from sparrow.analysis.answers import Predictions, read_predictions
from sparrow.analysis.intervals import Interval
from sparrow.analysis.scores import PAPER_MEANS, Score, paper_means, pick
from sparrow.analysis.seeds import Estimate, estimate
from sparrow.core.errors import DataError
from sparrow.runs.find import SEEDS, FoundRun
from sparrow.runs.record import Phase, RunRecord
from sparrow.runs.settings import recorded_choice


@dataclass(frozen=True)
class Arm:
    """The runs of a study that differ in nothing but their seeds, under the name of their factors."""

    label: str
    runs: tuple[FoundRun, ...]
    factors: dict[str, Any]
    is_zero_shot: bool = False

    def is_called(self, name: str | None) -> bool:
        """Whether a name is the arm's label, the value of one of its factors, or spells out factors that it has."""
        own = {self.label, *map(str, self.factors.values())}
        return name is not None and (bool(own & {name, recorded_choice(name)}) or self.has_factors(name))

    def has_factors(self, name: str) -> bool:
        """Whether the arm has all factors that a name spells out, as `mixture=sparrow, num_samples=30000`."""
        own = {key.rsplit(".", 1)[-1]: str(value) for key, value in self.factors.items()}
        wanted = spelt_factors(name)
        return bool(wanted) and all(own.get(key) in (value, recorded_choice(value)) for key, value in wanted.items())

    @property
    def title(self) -> str:
        """The label, with the status of runs that did not finish."""
        finished = sum(run.status == "finished" for run in self.runs)
        if finished == len(self.runs):
            return self.label
        status = self.runs[0].status if len(self.runs) == 1 else f"{finished} of {len(self.runs)} finished"
        return f"{self.label} ({status})"

    @cached_property
    def records(self) -> list[RunRecord]:
        """The records that could be read."""
        return [run.record for run in self.runs if run.record]

    @cached_property
    def checkpoints(self) -> set[Any]:
        """What its runs were trained from, or what they evaluate."""
        return {checkpoint_of(record) for record in self.records} - {None}

    @cached_property
    def counted(self) -> list[RunRecord]:
        """The records that make up the arm's numbers: those with a score after training, or all where none has one."""
        return [r for r in self.records if any("after" in phases for phases in r.scores.values())] or self.records

    def seeds(self, benchmark: str, phase: Phase) -> set[tuple[Any, ...]]:
        """The seeds of the runs that have a score."""
        return {run.seeds for run, _ in self._scored(benchmark, phase)}

    def scores(self, benchmark: str, phase: Phase) -> list[Score]:
        """The scores of one benchmark and phase, one per run that has it."""
        return [score for _, score in self._scored(benchmark, phase)]

    def _scored(self, benchmark: str, phase: Phase) -> list[tuple[FoundRun, Score]]:
        found = ((run, run.record.scores.get(benchmark, {}).get(phase)) for run in self.runs if run.record)
        return [(run, score) for run, score in found if score]

    def estimate(self, name: str, phase: Phase = "after") -> Estimate | None:
        """A number over the arm's runs; None where no run has it.

        Args:
            name: A benchmark, for its own score; `general` or `long`, the paper's means; or a benchmark and one of its
                categories, groups or other numbers: `video_mme.long`, `mlvu.macro_accuracy`.
        """
        found = [number for record in self.records if (number := number_of(record, name, phase))]
        return estimate([value for value, _ in found], [bounds for _, bounds in found]) if found else None

    def gain(self, name: str) -> float | None:
        """A number after training minus that before, mean over the runs that have both; None where none has."""
        pairs = [(number_of(record, name, "before"), number_of(record, name, "after")) for record in self.records]
        return self.mean_of(after[0] - before[0] for before, after in pairs if before and after)

    def accuracy(self, benchmark: str, phase: Phase = "after", category: str | None = None) -> Estimate | None:
        """Accuracy over all questions of a benchmark or of one of its categories."""
        scores = self.scores(benchmark, phase)
        own = [score.by_category.get(category) for score in scores] if category else scores
        parts = [part for part in own if part and part.accuracy is not None]
        intervals = [(p.low, p.high) if p.low is not None and p.high is not None else None for p in parts]
        return estimate([part.accuracy or 0.0 for part in parts], intervals) if parts else None

    def numbers(
        self, benchmark: str, phase: Phase, category: str | None = None
    ) -> dict[tuple[Any, ...], tuple[float, int, str]]:
        """The benchmark's own score, or the accuracy in one category, of how many questions it is, and the digest of
        all that were asked, by the seeds of the run."""
        found = {}
        for run, score in self._scored(benchmark, phase):
            metric = f"by_category.{category}.accuracy" if category else score.metric
            if score.has(metric) and (part := score.part(metric)):
                found[run.seeds] = pick(score, metric)[0], part.num_questions, score.questions_hash
        return found

    def mean_of(self, amounts: Iterable[float | None]) -> float | None:
        """The mean of an amount over runs; None where no run has it."""
        known = [amount for amount in amounts if amount is not None]
        return fmean(known) if known else None

    @property
    def samples(self) -> float | None:
        """Samples of one epoch that were used, mean over the runs; 0 without training, None of another's training."""
        if self.is_zero_shot:
            return 0.0
        return self.mean_of(
            (sum(counts.used for counts in r.data.values()) if r.data else r.num_samples)
            for r in self.counted
            if r.command == "train"
        )

    @property
    def tokens(self) -> float | None:
        """Tokens trained on, mean over the runs."""
        return self.mean_of(r.tokens.total for r in self.counted if r.command == "train")

    @property
    def device_hours(self) -> float | None:
        """Hours of training times devices, GPUs or CPU processes, mean over the runs."""
        return self.mean_of(r.gpu_hours or r.device_hours for r in self.counted)

    @property
    def on_gpu(self) -> bool:
        """Whether all counted runs used GPUs."""
        return bool(self.counted) and all(r.on_gpu for r in self.counted)

    def answers(self, benchmark: str, phase: Phase, category: str | None = None) -> dict[tuple[Any, ...], Predictions]:
        """The stored answers behind the scores, of all questions or of one category, by the seeds of their run.

        Raises:
            DataError: If they are missing or cannot be read; the message names the file inside the run.
        """
        found = {}
        for run, score in self._scored(benchmark, phase):
            try:
                found[run.seeds] = _read(run.folder / score.predictions)
            except DataError as error:
                where = f"{self.label}, {score.predictions or 'no predictions file'}"
                raise DataError(error.what, where=where) from None
        if not found:
            raise DataError(f"{self.label} has no score {phase!r}")
        return found if category is None else {seeds: own.of_category(category) for seeds, own in found.items()}


def number_of(record: RunRecord, name: str, phase: Phase) -> tuple[float, Interval | None] | None:
    """One number of a run and its interval, by the names of `Arm.estimate`; None where the run has none."""
    if name in PAPER_MEANS:
        scores = {benchmark: score for benchmark, phases in record.scores.items() if (score := phases.get(phase))}
        mean = paper_means(scores).get(name)
        return None if mean is None else (mean, None)
    benchmark, _, path = (name, "", "") if name in record.scores else name.partition(".")
    score = record.scores.get(benchmark, {}).get(phase)
    if score is None:
        return None
    axes = [f"by_group.{axis}.{path}.accuracy" for axis, values in score.by_group.items() if path in values]
    paths = [path, f"by_category.{path}.accuracy", *axes] if path else [score.metric]
    return next((pick(score, known) for known in paths if score.has(known)), None)


def _read(path: Path) -> Predictions:
    if not path.is_file():
        return read_predictions(path)
    stat = path.stat()
    return _read_once(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)
def _read_once(path: Path, modified_ns: int, size: int) -> Predictions:
    return read_predictions(path)


def checkpoint_of(record: RunRecord) -> Any:
    """The checkpoint that a run was trained from, or that it evaluates; None where it has none."""
    if record.command == "evaluate":
        return record.config.get("checkpoint")
    backbone = record.config.get("backbone")
    return backbone.get("checkpoint") if isinstance(backbone, dict) else None


def factors_of(record: RunRecord) -> dict[str, Any]:
    """Factors but seeds, in the order in which the study declares them; an evaluation has not all of them."""
    declared = [name for name in record.study.factors if name in record.factors]
    names = [*declared, *sorted(record.factors.keys() - set(declared))]
    absent = {name for name in names if record.command == "evaluate" and record.factors[name] is None}
    return {name: record.factors[name] for name in names if name not in SEEDS and name not in absent}


def telling(factors: Iterable[dict[str, Any]]) -> list[str]:
    """Names of the factors that tell arms apart: neither those that all share nor those that follow from the others."""
    arms = list(factors)
    found: list[str] = []

    def num_told_apart(names: list[str]) -> int:
        return len({str([own.get(name) for name in names]) for own in arms})

    for name in dict.fromkeys(name for own in arms for name in own):
        if num_told_apart([*found, name]) > num_told_apart(found):
            found.append(name)
    return found


def label_of(factors: dict[str, Any], beside: Iterable[dict[str, Any]] = ()) -> str:
    """The name of an arm by its factors: `num_samples=30000, mixture=sparrow`; one word where one says it all.

    A checkpoint is called by as many last parts of its path as tell it from those of the factors `beside` it.
    """
    if len(factors) == 1 and isinstance(value := next(iter(factors.values())), str):
        return value
    if "checkpoint" in factors:
        others = {str(own["checkpoint"]) for own in beside if "checkpoint" in own}
        factors = {**factors, "checkpoint": _shortened(str(factors["checkpoint"]), others)}
    return ", ".join(f"{name.rpartition('.')[2]}={value}" for name, value in factors.items())


def _shortened(path: str, others: Iterable[str]) -> str:
    parts, unlike = Path(path).parts, [Path(other).parts for other in others if other != path]
    tails = (parts[-length:] for length in range(1, len(parts)))
    own = next((tail for tail in tails if all(other[-len(tail) :] != tail for other in unlike)), parts)
    return str(Path(*own))


def spelt_factors(name: str) -> dict[str, str]:
    """The factors that a name spells out: `a.b=1, c=x` is `{b: 1, c: x}`; empty where it is another kind of name."""
    pairs = [part.partition("=") for part in name.split(",")]
    if not all(sign for _, sign, _ in pairs):
        return {}
    return {key.strip().rsplit(".", 1)[-1]: value.strip() for key, _, value in pairs}
