"""Scores computed anew from stored predictions, their replies read by the rules of today, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparrow.analysis.answers import read_predictions as read_columns
from sparrow.analysis.scores import Score, score
from sparrow.core.errors import DataError
from sparrow.core.files import write_atomically
from sparrow.core.tables import Table, interval, percent
from sparrow.evaluation.predictions import read_predictions
from sparrow.runs.folder import locked
from sparrow.runs.record import RunRecord, git_revision


@dataclass(frozen=True)
class Rescored:
    """A score before and after, and how many replies are read otherwise than they were."""

    benchmark: str
    phase: str
    before: Score
    after: Score
    num_read_otherwise: int


def rescore(folder: Path) -> list[Rescored]:
    """Recompute all scores of a run and store them in its `run.json`; predictions change where replies are read
    otherwise. A run that is still being carried out is waited for.

    Raises:
        RunError: If the folder holds no run.
        DataError: If a predictions file is missing or broken, or the run has none.
    """
    RunRecord.load(folder)  # refused first, since the lock would create the folder
    with locked(folder):
        return _rescored(folder)


def _rescored(folder: Path) -> list[Rescored]:
    record = RunRecord.load(folder)
    found = []
    for benchmark, phases in record.scores.items():
        for phase, before in phases.items():
            path = folder / before.predictions
            predictions = read_predictions(path)
            lower_case = bool(before.protocol.get("lower_case", False))
            again = [prediction.read_again(lower_case=lower_case) for prediction in predictions]
            changed = sum(old != new for old, new in zip(predictions, again, strict=True))
            if changed:
                write_atomically(path, "".join(prediction.to_line() for prediction in again))
            phases[phase] = score(
                read_columns(path),
                metric=before.metric,
                scoring=before.scoring,
                file=before.predictions,
                protocol=before.protocol,
                missing_videos=before.missing_videos,
            )
            found.append(Rescored(benchmark, phase, before, phases[phase], changed))
    if not found:
        remedy = f"`sparrow evaluate checkpoint={folder} benchmark=[NAME]`, then give the folder of that evaluation"
        raise DataError("the run has no scores", where=str(folder), remedy=remedy)
    record.rescored_by = git_revision()
    record.save(folder)
    return found


def rescored_table(rescored: list[Rescored]) -> Table:
    """The scores before and after, benchmark by benchmark."""
    rows = [
        (
            *(r.benchmark, r.phase, r.after.metric, percent(r.before.official), percent(r.after.official)),
            interval(*(r.after.official_interval or (None, None))),
            *(str(n) for n in (r.after.num_questions, r.after.num_unanswered, r.after.num_unscored)),
            str(r.num_read_otherwise),
        )
        for r in rescored
    ]
    header = ("benchmark", "phase", "score", "stored", "recomputed", "95 % interval", "questions", "unanswered")
    return Table("Scores from predictions", (*header, "unscored", "read otherwise"), rows, left=3)
