"""Run folders: what one already holds decides whether a command starts, goes on, or is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sparrow.core.errors import RunError
from sparrow.core.hashing import content_hash
from sparrow.core.settings import identity, run_id, validated
from sparrow.runs.record import FILE_NAME, RunRecord, new_record
from sparrow.runs.status import is_main_process

log = logging.getLogger(__name__)
MAX_SHOWN = 8


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run's folder, so that no two processes carry out the same run; a second one waits for the first."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another process carries out %s; waiting until it has ended", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def training_record(
    config: Any, parent: Path | None, *, name: str = "", factors: dict[str, Any] | None = None
) -> RunRecord:
    """The record of a training run that is to begin, from the model of the run in the folder `parent` if any."""
    parent_id = RunRecord.load(parent).run_id if parent is not None else None
    run = content_hash([run_id(config), parent_id], length=12)
    return new_record(config, "train", run_id=run, name=name, factors=factors or {}, parent=parent_id)


def earlier_run(folder: Path, record: RunRecord, config: Any) -> RunRecord | None:
    """The record that a run's folder holds, if any; nothing is changed. Arguments as of `open_run`.

    Raises:
        RunError: If it is of a run of other settings, with the differences.
    """
    if not (folder / FILE_NAME).is_file():
        return None
    earlier = RunRecord.load(folder)
    if earlier.run_id == record.run_id:
        return earlier
    settings = validated(type(config), earlier.config)
    now = identity(config, whole=True)
    before = _like(now, earlier.config) if isinstance(settings, list) else identity(settings, whole=True)
    changed = difference(before, now)
    if earlier.parent != record.parent:
        changed.append(f"parent: {earlier.parent} -> {record.parent}")
    if not changed and earlier.command == "train":
        return earlier  # the rule by which settings enter the id has changed, nothing else
    if not changed:  # of an evaluation the id holds the model's files too
        changed.append("the files of the checkpoint are other ones")
    raise RunError(
        f"{folder} holds a run with other settings: {'; '.join(changed[:MAX_SHOWN])}; "
        "restore them, or name another folder (hydra.run.dir, study.name)"
    )


def open_run(folder: Path, record: RunRecord, config: Any) -> RunRecord | None:
    """Look at a run's folder before the run.

    Returns the earlier record if that run is finished; None if there is something to do. What an unfinished run has
    spent so far is carried over into `record`.

    Raises:
        RunError: If the folder holds a run of other settings, with the differences.
    """
    earlier = earlier_run(folder, record, config)
    if earlier is None:
        return None
    record.run_id = earlier.run_id
    if earlier.status == "finished":
        return earlier
    record.started_at = earlier.started_at
    record.time_s = dict(earlier.time_s)
    record.notes = list(earlier.notes)
    if earlier.status == "running" and is_main_process():
        last = earlier.heartbeat_at or earlier.started_at
        note = f"the process before was killed without a word, some time after {last}"
        log.warning("%s: %s; going on", folder, note)
        record.notes.append(note)
    return None


def _like(template: Any, value: Any) -> Any:
    """`value` without the keys that `template` lacks, such as settings that are recorded only."""
    if isinstance(template, Mapping) and isinstance(value, Mapping):
        return {key: _like(template[key], item) for key, item in value.items() if key in template}
    return value


def settings_difference(path: Path, value: Mapping[str, Any]) -> list[str]:
    """Differences between a stored JSON document and a value."""
    return difference(json.loads(path.read_text()), json.loads(json.dumps(value)))


def difference(old: Any, new: Any, key: str = "") -> list[str]:
    """Leaves that differ between two plain documents, as `key: old -> new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for name in sorted({*old, *new})
            for line in difference(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
        ]
    return [] if old == new else [f"{key}: {old} -> {new}"]
