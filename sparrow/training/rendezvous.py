"""Ranks of a training run that share work after it, without a time limit on each other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, Store

from sparrow.core.errors import RunError
from sparrow.runs.status import POLL_S, Interrupted

FAILED = "failed"


class ConnectedRanks:
    """The connected ranks of a run, or its only one: they take from one list, and wait for each other without limit.

    Collectives give up after minutes; the store by which the ranks were connected has no such limit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.rank, self.num_ranks = folder, 0, 1
        self._store: Store = HashStore()
        if dist.is_initialized():
            self.rank, self.num_ranks = dist.get_rank(), dist.get_world_size()
            self._store = dist.distributed_c10d._get_default_store()

    def draw(self, what: str, most: int) -> Iterator[int]:
        """Numbers below `most` that no other rank has drawn."""
        while (number := self._store.add(self._key(what), 1) - 1) < most:
            self._raise_if_failed()
            yield number

    def tell(self, what: str) -> None:
        """Let others know that this rank is through with something."""
        self._store.add(self._key(what), 1)

    def wait_for(self, what: str, num_ranks: int) -> None:
        """Wait until so many ranks have told; a RunError if a rank fails meanwhile."""
        while self._store.add(self._key(what), 0) < num_ranks:
            self._raise_if_failed()
            time.sleep(POLL_S)

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Let the failure of a rank inside be that of all.

        Raises:
            RunError: If another rank failed, also where the others were stopped for that.
        """
        try:
            yield
        except BaseException as error:
            if self._failure() is not None:
                self._raise_if_failed(error)
            if isinstance(error, Exception) and not isinstance(error, Interrupted):
                failure = f"rank {self.rank} of {self.num_ranks} failed ({type(error).__name__}: {error})"
                self._store.set(self._key(FAILED), failure)
            raise

    def _key(self, what: str) -> str:
        return f"{self.folder}: {what}"

    def _failure(self) -> str | None:
        key = self._key(FAILED)
        return self._store.get(key).decode() if self._store.check([key]) else None

    def _raise_if_failed(self, cause: BaseException | None = None) -> None:
        failure = self._failure()
        if failure is not None:
            remedy = f"run the same command with hydra.run.dir={self.folder} to go on"
            raise RunError(f"{failure}; the answers so far are kept: {remedy}") from cause
