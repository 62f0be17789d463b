"""Run folders: what one already holds decides whether a command starts, goes on, or is refused."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sparrow.core.errors import RunError
from sparrow.core.hashing import content_hash
from sparrow.core.settings import differences_within_an_id, identity, run_id, validated
from sparrow.runs.find import ARCHIVE_PREFIX
from sparrow.runs.record import FILE_NAME, MANIFEST, METRICS, RunRecord, new_record, utc_now
from sparrow.runs.status import CHECKPOINT_FOLDER, MODEL_FOLDER, is_main_process

log = logging.getLogger(__name__)
MAX_SHOWN = 8
KEPT_OUTSIDE = (".lock", ".hydra")  # of a folder whose run is archived: they are the new run's


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Lock a run's folder, so that no two processes carry out the same run; a second one waits for the first.

    Raises:
        RunError: If it is locked and `wait` is false.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise RunError(f"another process carries out {folder}; stop it, or wait until it has ended") from None
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


def archive(folder: Path) -> None:
    """Move a run out of its folder, so that another can begin there; `sparrow report` does not count it any more."""
    contents = [path for path in folder.glob("*") if not path.name.startswith((ARCHIVE_PREFIX, *KEPT_OUTSIDE))]
    if not _kept(folder, FILE_NAME, MANIFEST, METRICS, CHECKPOINT_FOLDER, MODEL_FOLDER):
        return
    target = folder / f"{ARCHIVE_PREFIX}{utc_now().replace(':', '')}"
    target.mkdir()
    for path in contents:
        if path.suffix != ".log":  # this command already writes to it
            path.rename(target / path.name)
    log.warning("restart: the run that was in %s is archived in %s", folder, target)


def earlier_run(folder: Path, record: RunRecord, config: Any) -> RunRecord | None:
    """The record that a run's folder holds, if any; nothing is changed. Arguments as of `open_run`.

    Returns:
        None as well if the earlier run failed or was stopped before it kept anything.

    Raises:
        RunError: If it is of a run of other settings, with the differences, or the folder holds files of a run whose
            record is missing and that they do not show to be this one.
    """
    if not (folder / FILE_NAME).is_file():
        _refuse_other_files(folder, record.run_id)
        return None
    earlier = RunRecord.load(folder)
    changed = [*differences_within_an_id(config, earlier.config)]
    if earlier.run_id == record.run_id and not changed:
        return earlier
    if earlier.status in ("failed", "interrupted") and not _kept(folder, CHECKPOINT_FOLDER, MODEL_FOLDER):
        return None
    if earlier.run_id != record.run_id:
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
        "restore them, name another folder (hydra.run.dir, study.name), or archive that run with restart=true"
    )


def _kept(folder: Path, *names: str) -> list[str]:
    """Which of these files and folders, that are not empty, are there."""
    return [name for name in names if (path := folder / name).is_file() or (path.is_dir() and any(path.iterdir()))]


def _refuse_other_files(folder: Path, run_id: str) -> None:
    """Refuse what a run without a record left behind, unless its manifest and metrics carry this run's id.

    Checkpoints carry it too and are compared when they are loaded; predictions carry a digest of all that they
    depend on.
    """
    kept = _kept(folder, CHECKPOINT_FOLDER, MANIFEST, METRICS, MODEL_FOLDER)
    if not kept or set(kept) <= {CHECKPOINT_FOLDER}:
        return
    found = {name: read(folder / name) for name, read in _RUN_ID_OF.items() if name in kept}
    other = {name: found_id for name, found_id in found.items() if found_id != run_id}
    if other or not found:
        which = "; ".join(f"{name} is of run {found_id or 'unknown'}" for name, found_id in other.items())
        raise RunError(
            f"{folder} holds {', '.join(kept)} of a run whose {FILE_NAME} is missing, and this run is {run_id}"
            + (f" ({which})" if which else "")
            + f"; restore its {FILE_NAME}, name another folder, or archive what is there with restart=true"
        )


def _manifest_id(path: Path) -> str | None:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return manifest.get("run_id") if isinstance(manifest, dict) else None


def _metrics_id(path: Path) -> str | None:
    with open(path, newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file), None)
    return first.get("run_id") if first else None


_RUN_ID_OF = {MANIFEST: _manifest_id, METRICS: _metrics_id}


def open_run(folder: Path, record: RunRecord, config: Any) -> RunRecord | None:
    """Look at a run's folder before the run.

    Returns the earlier record if that run is finished; None if there is something to do. What an unfinished run has
    spent so far is carried over into `record`.

    Raises:
        RunError: If the folder holds a run of other settings, with the differences.
    """
    earlier = earlier_run(folder, record, config)
    before = RunRecord.load(folder) if (folder / FILE_NAME).is_file() else record
    if before.run_id == record.run_id and before.num_steps_done and not _kept(folder, CHECKPOINT_FOLDER, MODEL_FOLDER):
        record.notes.append("no checkpoint is left of the steps that were done; they are done again")
        log.warning("%s: %s", folder, record.notes[-1])
    if earlier is None:
        return None
    record.run_id, record.continues_earlier = earlier.run_id, True
    if earlier.status == "finished":
        return earlier
    record.started_at = earlier.started_at
    record.time_s = dict(earlier.time_s)
    record.notes, record.weights = [*earlier.notes, *record.notes], earlier.weights
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
