"""How the jobs of a study stand: done, running, lost, interrupted, failed, or not there yet."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparrow.core.errors import RunError
from sparrow.core.files import content_of
from sparrow.core.tables import NOTHING, Table, duration
from sparrow.report.table_words import Row, worded
from sparrow.runs.find import ARCHIVE_PREFIX, FoundRun, find_runs
from sparrow.runs.record import FILE_NAME, METRICS, RunRecord
from sparrow.runs.settings import folder_name, former_name

NOTE = "slurm.json"  # in a run's folder: the SLURM job that carries it out
LOST_AFTER_S = 15 * 60
LATEST = ("predictions/**/*", "checkpoints/**/*", "tensorboard/*", "events.out.tfevents.*", METRICS)


@dataclass(frozen=True)
class ExpectedJob:
    """A job of the sweep that is stored in the folder `study`, by the values that the sweep gives its keys."""

    values: Mapping[str, Any]
    study: Path

    def name(self, folder: Path) -> str:
        """The values as they would be typed, after the study where that is below the folder."""
        values = " ".join(f"{key}={value}" for key, value in self.values.items())
        return values if self.study == folder else f"{self.study.relative_to(folder)}: {values}"

    def is_of(self, run: FoundRun) -> bool:
        """Whether a run is this job; one whose record cannot be read is by its name."""
        if run.record is None:
            return self.may_lie_in(run.folder)
        own, given = run.record.factors, self.values.items()
        fits = all(key in own and (own[key] == value or str(own[key]) == str(value)) for key, value in given)
        return fits and run.folder.is_relative_to(self.study)

    def may_lie_in(self, folder: Path) -> bool:
        """Whether a folder has this job's values in its name."""
        if not folder.is_relative_to(self.study):
            return False
        parts = {*folder.name.split(","), *folder.name.split("+")}
        own = ({named({key: value}) for named in (folder_name, former_name)} for key, value in self.values.items())
        return all(names & parts for names in own)


def status_table(
    folder: Path,
    expected: Sequence[ExpectedJob],
    now: datetime | None = None,
    queue: Mapping[str, str] | None = None,
) -> Table:
    """A row a job below a folder, with what was expected of the last sweep of each study and is not there.

    `queue` has the states of SLURM's jobs by their ids; None where it cannot be read.

    A run that says `running` is `lost` when it has not shown a sign of life for fifteen minutes: neither a heartbeat,
    which training writes every half minute, nor a change in its files. Planning and evaluating long may look like that.

    Raises:
        RunError: If the folder does not exist, or holds no run and no sweep.
    """
    noted = [path.parent for path in sorted(folder.rglob(NOTE))]
    submitted = [place for place in noted if ARCHIVE_PREFIX not in str(place.relative_to(folder))]
    try:
        runs = find_runs([folder])
    except RunError:
        if not expected and not submitted:
            raise
        runs = []
    now = now or datetime.now(UTC)
    rows: list[Row] = [(run.label, *_row(run, now, queue)) for run in runs]
    seen = {run.folder for run in runs}
    missing = [job for job in expected if not any(map(job.is_of, runs))]
    for place in submitted:
        if place not in seen:
            job = next((job for job in missing if job.may_lie_in(place)), None)
            missing = [other for other in missing if other is not job]
            rows.append((job.name(folder) if job else place.name, *_submitted_row(_note(place), queue)))
    rows += [(job.name(folder), "missing", NOTHING, NOTHING, "no run.json yet") for job in missing]
    counts = Counter(row[1] for row in rows)
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    return worded("status", rows, study=folder.resolve().name, counts=statuses)


def _row(run: FoundRun, now: datetime, queue: Mapping[str, str] | None) -> tuple[str, str, str, str]:
    record = run.record
    if record is None:
        return "unreadable", NOTHING, NOTHING, run.problem
    steps = f"{_steps_done(run, record):,} / {record.num_steps:,}" if record.num_steps else NOTHING
    why = record.error.last_line if record.error else ""
    if record.status == "finished":
        return "done", steps, NOTHING, why
    seen = last_sign_of_life(run.folder, record)
    silent_s = max(0.0, (now - seen).total_seconds()) if seen else None
    age = NOTHING if silent_s is None else f"{duration(silent_s)} ago"
    job_id = _note(run.folder).get("job_id", "")
    if job_id and (record.status == "running" or job_id in (queue or {})):
        why = "; ".join(filter(None, (why, _in_queue(job_id, queue))))
    if (queue or {}).get(job_id) == "PENDING":
        return "pending", steps, age, why
    if record.status == "running" and (silent_s is None or silent_s > LOST_AFTER_S):
        first = f"scancel {job_id} and " if job_id in (queue or {}) else ""
        return "lost", steps, age, f"killed or hung: {first}run the study again to go on from its last checkpoint"
    return record.status, steps, age, why


def _submitted_row(note: Mapping[str, str], queue: Mapping[str, str] | None) -> tuple[str, str, str, str]:
    """Of a job that SLURM was given and that has not written its record."""
    job_id = note.get("job_id", "")
    gone = queue is not None and job_id not in queue
    left = f"; its output: {note['output']}" if gone and "output" in note else ""
    return (queue or {}).get(job_id, "missing").lower(), NOTHING, NOTHING, _in_queue(job_id, queue) + left


def _note(folder: Path) -> dict[str, str]:
    """What the launcher noted of the SLURM job of a run: `job_id`, and `output`, its standard output."""
    try:
        return dict(json.loads(content_of(folder / NOTE) or "{}"))
    except ValueError:
        return {}  # it is written anew with the next submission


def _in_queue(job_id: str, queue: Mapping[str, str] | None) -> str:
    if queue is None:
        return f"SLURM job {job_id}, whose queue cannot be read here"
    return f"SLURM job {job_id} {'is ' + queue[job_id].lower() if job_id in queue else 'has left the queue'}"


def failure_log(run: FoundRun) -> Path | None:
    """The log of a failed run that holds its error, of those in its folder and of its SLURM job, else the newest."""
    if run.record is None or run.record.error is None or run.status != "failed":
        return None
    output = Path(_note(run.folder).get("output", run.folder / "none.out"))
    logs = [path for path in (*output.parent.glob("*_log.*"), *run.folder.glob("*.log")) if path.stat().st_size]
    line = run.record.error.last_line.partition(": ")[2]
    holding = [path for path in logs if line in path.read_text(encoding="utf-8", errors="replace")]
    return max(holding or logs, key=lambda path: path.stat().st_mtime, default=None)


def _steps_done(run: FoundRun, record: RunRecord) -> int:
    """Steps at the last heartbeat, or of the last checkpoint where that is later."""
    if record.status == "finished":
        return record.num_steps
    names = (path.stem.partition("=")[2] for path in (run.folder / "checkpoints").glob("step=*"))
    return max(record.num_steps_done, *(int(name) for name in names if name.isdigit()), 0)


def last_sign_of_life(folder: Path, record: RunRecord) -> datetime | None:
    """The latest of heartbeat, start, and changes of the files that a working run writes."""
    signs = [_time(text) for text in (record.heartbeat_at, record.started_at) if text]
    if record.status == "running":
        files = (path for pattern in LATEST for path in folder.glob(pattern))
        signs += [_modified(path) for path in [folder, *files]]
    known = [sign for sign in signs if sign is not None]
    return max(known, default=None)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _modified(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None  # a file of a running job may be gone again


def status_text(folder: Path, expected: Sequence[ExpectedJob], queue: Mapping[str, str] | None) -> str:
    """The table of a study, as wide as the terminal, and below it the whole paths of the logs of what failed."""
    table = status_table(folder, expected, queue=queue).text(shutil.get_terminal_size((120, 24)).columns)
    runs = find_runs([folder]) if any(folder.rglob(FILE_NAME)) else []
    logs = [f"log of {run.label}: {log}\n" for run in runs if (log := failure_log(run)) is not None]
    return table + "".join(logs)
