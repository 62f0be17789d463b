"""How the jobs of a study stand: done, running, lost, interrupted, failed, or not there yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparrow.core.errors import RunError
from sparrow.core.tables import NOTHING, Table, duration
from sparrow.runs.find import FoundRun, find_runs
from sparrow.runs.record import RunRecord
from sparrow.runs.settings import folder_name, former_name

LOST_AFTER_S = 15 * 60
LATEST = ("predictions", "checkpoints", "tensorboard")


@dataclass(frozen=True)
class ExpectedJob:
    """A job of a stored sweep, by the values that the sweep gives its keys."""

    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The values as they would be typed."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())

    def is_of(self, record: RunRecord) -> bool:
        """Whether a run is this job."""
        own = record.factors
        return all(
            key in own and (own[key] == value or str(own[key]) == str(value)) for key, value in self.values.items()
        )

    def may_lie_in(self, folder: Path) -> bool:
        """Whether a folder whose record cannot be read has this job's values in its name."""
        parts = {*folder.name.split(","), *folder.name.split("+")}
        own = ({named({key: value}) for named in (folder_name, former_name)} for key, value in self.values.items())
        return all(names & parts for names in own)


def status_table(folder: Path, expected: Sequence[ExpectedJob], now: datetime | None = None) -> Table:
    """A row a job of one study's folder, with what was expected of its last sweep and is not there.

    A run that says `running` is `lost` when it has not shown a sign of life for fifteen minutes: neither a heartbeat,
    which training writes every half minute, nor a change in its files. Planning and evaluating long may look like that.

    Raises:
        RunError: If the folder does not exist, or holds no run and no sweep.
    """
    try:
        runs = find_runs([folder])
    except RunError:
        if not expected:
            raise
        runs = []
    now = now or datetime.now(UTC)
    rows: list[tuple[str, ...]] = [(run.label, *_row(run, now)) for run in runs]
    rows += [
        (job.name, "missing", NOTHING, NOTHING, "no run.json yet")
        for job in expected
        if not any(job.is_of(run.record) if run.record else job.may_lie_in(run.folder) for run in runs)
    ]
    counts = Counter(row[1] for row in rows)
    return Table(
        f"{folder.resolve().name}: {', '.join(f'{number} {status}' for status, number in sorted(counts.items()))}",
        ("job", "status", "steps", "last sign of life", "what happened"),
        rows,
        left=5,
    )


def _row(run: FoundRun, now: datetime) -> tuple[str, str, str, str]:
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
    if record.status == "running" and (silent_s is None or silent_s > LOST_AFTER_S):
        return "lost", steps, age, "killed or hung: run the study again to go on from its last checkpoint"
    return record.status, steps, age, why


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
        files = (path for name in LATEST for path in (folder / name).rglob("*"))
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


def status_text(tables: Iterable[Table], width: int = 120) -> str:
    """The tables of several studies."""
    return "\n".join(table.text(width) for table in tables)
