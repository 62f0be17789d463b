"""How a run ends: which process writes its record, the seconds of its stages, and the status it is left in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparrow.core.errors import SparrowError
from sparrow.runs.record import RunRecord

MODEL_FOLDER = "model"


class Interrupted(SparrowError):
    """The run was asked to stop and has saved where it is."""


def is_main_process() -> bool:
    """Whether this is the process of rank 0, before and after the ranks are connected."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


@contextmanager
def timed(record: RunRecord, stage: str) -> Iterator[None]:
    """Add the seconds spent inside to a stage of the record."""
    started = time.perf_counter()
    try:
        yield
    finally:
        record.time_s[stage] = (record.time_s.get(stage) or 0.0) + time.perf_counter() - started


@contextmanager
def recorded_outcome(record: RunRecord, folder: Path, *, enabled: bool) -> Iterator[None]:
    """Write `run.json` now and again at the end, with the status that the run ended in."""
    if not enabled:
        yield
        return
    record.save(folder)
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        record.end(folder, "interrupted", error if isinstance(error, Interrupted) else None)
        raise
    except BaseException as error:
        record.end(folder, "failed", error)
        raise
    record.end(folder, "finished")
