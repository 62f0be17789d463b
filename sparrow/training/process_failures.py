"""What the loss of a process looks like to those that are left, said plainly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparrow.core.errors import RunError
from sparrow.data.supervised_loader import worker_lost

WORKER_LOST = re.compile(r"DataLoader worker .*(?:is killed by signal: (\w+)|exited unexpectedly)")
RANK_LOST = re.compile(
    r"closed by peer|reset by peer|Broken pipe|remote process exited|Timed out waiting|NCCL.*timeout"
)


@contextmanager
def losses_explained(folder: Path) -> Iterator[None]:
    """Name a lost data worker or rank where the error comes from the libraries below.

    Raises:
        DataError: If a data worker was lost, noticed by whatever the main process was doing.
        RunError: If another rank was lost.
    """
    try:
        yield
    except (RuntimeError, RunError) as error:
        # torch raises a lost worker at any point of the main process, so a checkpoint being written may wrap it.
        if lost := WORKER_LOST.search(str(error)):
            raise worker_lost(lost[1]) from error
        if isinstance(error, RuntimeError) and RANK_LOST.search(str(error)):
            raise RunError(
                "another rank was lost: its process was killed, or its machine or network failed "
                f"({str(error).strip().splitlines()[0][:200]}); what it said last is above or in its own log; "
                f"run the same command with hydra.run.dir={folder} to go on from the last checkpoint"
            ) from error
        raise
