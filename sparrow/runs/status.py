"""How a run ends: which process writes its record, and the status it is left in."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from sparrow.core.errors import RunError, SparrowError
from sparrow.core.signals import STOP_SIGNALS, passed_by
from sparrow.runs.record import FILE_NAME, Phase, RunRecord, Status

log = logging.getLogger(__name__)
MODEL_FOLDER = "model"
POLL_S = 1.0
CHECKPOINT_FOLDER = "checkpoints"
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
NOT_ALLOWED = (errno.EACCES, errno.EPERM)


class Interrupted(SparrowError):
    """The run was asked to stop and has saved where it is.

    `by` is the signal that asked.
    """

    def __init__(self, message: str, by: signal.Signals = signal.SIGTERM) -> None:
        super().__init__(message)
        self.by = by


def is_main_process() -> bool:
    """Whether this is the process of rank 0, before and after the ranks are connected."""
    # A rank that is given counts alone: torchrun need not number the nodes as SLURM does.
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(int(os.environ.get(name, "0")) == 0 for name in names)


def wait_for_scores(folder: Path, benchmarks: Sequence[str], phase: Phase) -> None:
    """Wait until rank 0 has recorded the scores of a phase, which takes longer than ranks wait for each other.

    Raises:
        RunError: If the run ends on rank 0 before that.
    """

    def are_recorded() -> bool:
        record = RunRecord.load(folder) if (folder / FILE_NAME).is_file() else None
        return record is not None and all(phase in record.scores.get(name, {}) for name in benchmarks)

    wait_for_rank_0(folder, are_recorded)


def wait_for_rank_0(folder: Path, is_done: Callable[[], bool]) -> None:
    """Wait until rank 0 has done something, however long it takes.

    Raises:
        RunError: If the run ends on rank 0 before that.
    """
    ended_before = RunRecord.load(folder).ended_at if (folder / FILE_NAME).is_file() else None
    while not is_done():
        if (folder / FILE_NAME).is_file():
            record = RunRecord.load(folder)
            if record.status != "running" and record.ended_at != ended_before:  # later or, by another clock, earlier
                raise RunError(f"rank 0 of {folder} is {record.status}; what it said is in its own log")
        time.sleep(POLL_S)


@contextmanager
def recorded_outcome(record: RunRecord, folder: Path, *, enabled: bool) -> Iterator[None]:
    """Write `run.json` now and again at the end, with the status that the run ended in."""
    if not enabled:
        yield
        return
    with _said_what_cannot_be_written(folder):
        record.save(folder)
        try:
            yield
        except (KeyboardInterrupt, Interrupted) as error:
            _end(record, folder, "interrupted", error if isinstance(error, Interrupted) else None)
            raise
        except BaseException as error:
            _end(record, folder, "failed", error)
            raise
        record.end(folder, "finished")


def _end(record: RunRecord, folder: Path, status: Status, error: BaseException | None) -> None:
    """Record the end; where the disk does not allow it, what went wrong before is still what is told."""
    try:
        record.end(folder, status, error)
    except OSError as unwritten:
        log.error("%s could not be brought up to date (%s), it still says 'running'", folder / "run.json", unwritten)


@contextmanager
def _said_what_cannot_be_written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (*CANNOT_WRITE, *NOT_ALLOWED):
            raise
        done = "written" if error.errno in CANNOT_WRITE else "opened"
        raise RunError(
            f"{error.filename or folder} could not be {done}: {error.strerror}; free space or fix the permissions, "
            f"then run the same command with hydra.run.dir={folder} to go on"
        ) from error


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 end a run as Ctrl-C does, also where nothing is trained yet or any more.

    Raises:
        Interrupted: From wherever the main thread is when the signal comes.
    """
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if passed_by(number, owner):
            return
        name = signal.Signals(number).name
        raise Interrupted(f"stopped by {name}", signal.Signals(number))

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            with suppress(TypeError):  # a handler that was not set from Python
                signal.signal(number, handler)
