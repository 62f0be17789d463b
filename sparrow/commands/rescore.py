"""Scores computed anew from stored predictions, their replies read by the rules of today, without a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sparrow.analysis.answers import Predictions, questions_difference
from sparrow.analysis.answers import read_predictions as read_columns
from sparrow.analysis.scores import Score, score
from sparrow.core.errors import DataError
from sparrow.core.files import write_atomically
from sparrow.core.tables import Table, interval, percent
from sparrow.evaluation.predictions import read_predictions, write_submission
from sparrow.runs.folder import locked
from sparrow.runs.record import RunRecord, git_revision

COUNTS = ("questions", "unanswered", "not_asked", "unscored")


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
        DataError: If a predictions file is missing or broken, holds other questions than those that were scored, or
            the run has none. Nothing is written then.
    """
    RunRecord.load(folder)  # refused first, since the lock would create the folder
    with locked(folder):
        return _rescored(folder)


def _rescored(folder: Path) -> list[Rescored]:
    record = RunRecord.load(folder)
    found = []
    files: dict[Path, str] = {}
    submissions: dict[Path, str] = {}
    for benchmark, phases in record.scores.items():
        for phase, before in phases.items():
            path = folder / before.predictions
            columns = read_columns(path)
            _check_questions(columns, before, path)
            predictions = read_predictions(path)
            tags, lower_case = before.protocol.get("thinking_tags", ()), bool(before.protocol.get("lower_case"))
            again = [p.read_again(lower_case=lower_case, thinking_tags=tuple(tags)) for p in predictions]
            lines = [prediction.to_line() for prediction in again]
            readings = [[(p.choice, p.value, p.rule) for p in answers] for answers in (predictions, again)]
            changed = sum(old != new for old, new in zip(*readings, strict=True))
            if predictions != again:
                files[path] = "".join(lines)
                submissions[path] = before.protocol.get("submission", "")
            phases[phase] = score(
                Predictions.from_rows(map(json.loads, lines)),
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
    for path, content in files.items():
        write_atomically(path, content)
        write_submission(submissions[path], path)
    record.rescored_by = git_revision()
    record.save(folder)
    return found


def _check_questions(found: Predictions, scored: Score, path: Path) -> None:
    """Refuse a file that does not hold the questions that were scored."""
    digest = found.questions_hash if ":" in scored.questions_hash else found.first_questions_hash
    parts = questions_difference(scored.questions_hash, digest)
    if len(found) != scored.num_questions:
        what = f"the file holds the answers to {len(found)} questions, {scored.num_questions} were scored"
    elif scored.questions_hash and found.num_unscored != scored.num_unscored:
        what = f"the file holds {found.num_unscored} answers that are not scored, {scored.num_unscored} were written"
    elif parts or (parts is None and scored.questions_hash):
        what = f"other than when it was scored: {', '.join(parts or ['the digests of prompts are gone'])}"
    else:
        return
    raise DataError(what, where=str(path), remedy="put the file back as it was written, or evaluate again")


def rescored_table(rescored: list[Rescored]) -> Table:
    """The scores before and after, benchmark by benchmark."""
    rows = [
        (
            *(r.benchmark, r.phase, r.after.metric, percent(r.before.official), percent(r.after.official)),
            interval(*(r.after.official_interval or (None, None))),
            *(str(getattr(r.after, f"num_{counted}")) for counted in COUNTS),
            str(r.num_read_otherwise),
        )
        for r in rescored
    ]
    header = ("benchmark", "phase", "score", "stored", "recomputed", "95 % interval")
    counts = (count.replace("_", " ") for count in COUNTS)
    return Table("Scores from predictions", (*header, *counts, "read otherwise"), rows, left=3)
