"""One plan for all ranks of a run: rank 0 makes it, the others read it from the run's folder, not from the media."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import accumulate, islice, pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from sparrow.core.files import drafted, remove_drafts, write_json
from sparrow.data.plan import Origin, Plan
from sparrow.data.settings import Batching
from sparrow.runs.status import wait_for_rank_0

FOLDER = ".plan"


def share_plan(plan: Plan, run_folder: Path) -> None:
    """Let the other ranks read a plan; it is there whole or not at all."""
    with drafted(run_folder / FOLDER) as draft:
        _write(plan, draft)


@contextmanager
def without_earlier_plan(run_folder: Path) -> Iterator[None]:
    """Remove the plan that an earlier start left, and this start's in the end; of rank 0, which locks the folder."""
    folder = run_folder / FOLDER
    remove_drafts(folder)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shared_plan(run_folder: Path, batching: Batching) -> Plan:
    """The plan that rank 0 made, waited for.

    A rank that comes here before rank 0 has begun may read what a killed start left; where that differs, the run ends
    before its first step.

    Raises:
        RunError: If the run ends on rank 0 before there is one.
    """
    while True:
        wait_for_rank_0(run_folder, (run_folder / FOLDER).is_dir)
        with suppress(FileNotFoundError):  # of an earlier start, being removed
            return _read(run_folder / FOLDER, batching)


def _write(plan: Plan, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    rows = plan.rows if plan.rows is not None else [[step] for step in plan.steps]
    of_all = [row for step in rows for row in step]
    np.savez(
        folder / "steps.npz",
        positions=np.concatenate([np.empty(0, np.int64), *of_all]),
        row_lengths=np.array([len(row) for row in of_all], np.int64),
        rows_a_step=np.array([len(step) for step in rows], np.int64),
    )
    plan.ledger.to_parquet(folder / "ledger.parquet", index=False)
    origins = {name: asdict(origin) for name, origin in plan.origins.items()}
    write_json(folder / "plan.json", {"content_hash": plan.content_hash, "origins": origins, "fonts": plan.fonts})
    if plan.held_out is not None:
        _write(plan.held_out, folder / "held_out")


def _read(folder: Path, batching: Batching) -> Plan:
    with np.load(folder / "steps.npz", allow_pickle=False) as arrays:
        positions, row_lengths, rows_a_step = (arrays[name] for name in ("positions", "row_lengths", "rows_a_step"))
    bounds = accumulate(row_lengths.tolist(), initial=0)
    of_all = (positions[begin:end] for begin, end in pairwise(bounds))
    rows = [list(islice(of_all, number)) for number in rows_a_step.tolist()]
    described = json.loads((folder / "plan.json").read_text())
    held_out = folder / "held_out"
    return Plan(
        ledger=pd.read_parquet(folder / "ledger.parquet"),
        steps=[np.concatenate(step) for step in rows],
        content_hash=described["content_hash"],
        origins={name: Origin(**origin) for name, origin in described["origins"].items()},
        batching=batching,
        rows=rows if batching.name == "packed_epoch" else None,
        held_out=_read(held_out, batching) if held_out.is_dir() else None,
        fonts=described["fonts"],
    )
