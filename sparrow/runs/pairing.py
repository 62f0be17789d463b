"""Two runs' answers compared question by question, on every benchmark that both were asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sparrow.analysis.intervals import MIN_CLUSTERS
from sparrow.analysis.paired import paired_difference
from sparrow.analysis.predictions import read_predictions
from sparrow.core.errors import DataError
from sparrow.runs.record import RunRecord, Score
from sparrow.runs.tables import NOTHING, Table, interval, p_value, percent

HEADER = (
    "benchmark",
    "phase",
    "B is",
    "B - A",
    "95 % interval",
    "p",
    "questions",
    "only A",
    "only B",
    "answers differ",
)


def paired_tables(first: Path, one: RunRecord | None, second: Path, other: RunRecord | None) -> Iterator[Table]:
    """The paired differences; where two cannot be compared, why. Nothing where no benchmark is common."""
    rows = [
        (benchmark, phase, *_compared(first, score, second, theirs))
        for benchmark, phases in sorted(one.scores.items() if one else ())
        for phase, score in phases.items()
        if other and (theirs := other.scores.get(benchmark, {}).get(phase))
    ]
    if rows:
        note = (
            "Of the benchmark's own score, in percentage points, and the questions that it is of. p: McNemar's exact "
            "one where every video has one question and all weigh the same, else of the standard error with videos as "
            f"clusters. Interval: bootstrap over videos; with fewer than {MIN_CLUSTERS} videos, or where all resamples "
            "agree, that of the gains minus the losses, each exact with a video as one trial."
        )
        yield Table("Paired differences", HEADER, rows, left=3, note=note)


def _compared(first: Path, mine: Score, second: Path, theirs: Score) -> tuple[str, ...]:
    try:
        if mine.metric != theirs.metric:
            raise DataError(f"the score is {mine.metric} of A and {theirs.metric} of B")
        answers = read_predictions(first / mine.predictions), read_predictions(second / theirs.predictions)
        result = paired_difference(*answers, mine.metric)
    except DataError as error:
        return f"not compared: {error}", *[NOTHING] * (len(HEADER) - 3)
    verdict = ("higher" if result.difference > 0 else "lower") if result.is_shown else "no difference shown"
    counts = (result.num_questions, result.num_only_first, result.num_only_second, result.num_different)
    bounds = interval(result.low, result.high, signed=True)
    return verdict, percent(result.difference, signed=True), bounds, p_value(result.p_value), *map(str, counts)
