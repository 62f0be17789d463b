"""Loading in worker processes, with the name of the sample when one hangs."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from sparrow.core.errors import DataError, SparrowError

NOTHING = -1
MAX_WORKERS = 1024


class AtWork:
    """What each worker is busy with and since when, in memory that the parent process reads."""

    def __init__(self) -> None:
        self._numbers = torch.full((MAX_WORKERS,), NOTHING, dtype=torch.int64).share_memory_()
        self._begun_s = torch.zeros(MAX_WORKERS, dtype=torch.float64).share_memory_()

    def begin(self, number: int) -> None:
        """Note what the calling worker turns to; `NOTHING` where it is done."""
        worker = get_worker_info()
        if worker is not None:
            self._begun_s[worker.id] = time.monotonic()
            self._numbers[worker.id] = number

    def clear(self) -> None:
        """Forget the workers of before."""
        self._numbers.fill_(NOTHING)

    def numbers(self, since_s: float = 0.0) -> list[int]:
        """What the workers have been busy with for at least so many seconds."""
        long = time.monotonic() - self._begun_s >= since_s
        return [int(number) for number in self._numbers[long] if number != NOTHING]


def watched(
    dataset: Dataset,
    at_work: AtWork,
    name_of: Callable[[int], str],
    *,
    num_workers: int,
    timeout_s: int,
    **options: Any,
) -> Iterator[Any]:
    """Iterate over a `DataLoader`; a worker that takes `timeout_s` seconds (0: any time) for one sample is an error.

    A time-out never skips a sample: what a run sees must not depend on how busy the machine is.

    Raises:
        DataError: If a worker hangs or is killed, with the names of the samples that the workers were busy with.
    """
    at_work.clear()
    guarded = _Guarded(dataset, at_work)
    loader = DataLoader(guarded, num_workers=num_workers, timeout=timeout_s if num_workers > 0 else 0, **options)
    batches = started(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            timed_out = "timed out" in str(error)
            numbers = at_work.numbers(timeout_s if timed_out else 0.0)
            if timed_out and at_work.numbers() and not numbers:
                continue  # a batch of many samples, none of which hangs
            busy = ", ".join(map(name_of, numbers))
            if lost := re.search(r"is killed by signal: (\w+)|exited unexpectedly", str(error)):
                raise worker_lost(lost[1], busy) from error
            if not timed_out:
                raise
            what, remedy = f"a sample was not loaded within {timeout_s} s: {busy}", "look at these files"
            if not busy:
                what, remedy = f"no worker began a sample within {timeout_s} s", "set batching.num_workers=0"
            raise DataError(what, remedy=f"{remedy}, or raise batching.sample_timeout_s") from error
        for item in batch if isinstance(batch, list) else [batch]:
            if isinstance(item, SparrowError):
                raise item
        yield batch


def started(loader: DataLoader) -> Iterator[Any]:
    """An iterator over a loader whose forked workers collect none of this process's garbage.

    A decoder's frame that was left to the garbage collector waits for its threads, which a fork does not have.
    """
    gc.freeze()
    try:
        return iter(loader)
    finally:
        gc.unfreeze()


def worker_lost(signal_name: str | None, busy: str | None = None) -> DataError:
    """The error of a worker that was killed, as the kernel does where memory runs out."""
    return DataError(
        f"a data worker was lost ({f'signal: {signal_name}' if signal_name else 'it ended'})"
        + (f"; the workers were busy with {busy}" if busy else ""),
        remedy="if memory ran out, lower batching.num_workers; then run the same command again to go on",
    )


class Mapped(Dataset):
    """What a function makes of each item, made when it is asked for."""

    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.function, self.items = function, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.function(self.items[index])


class _Guarded(Dataset):
    """A dataset whose errors for users come back as values: a worker's would reach the parent as a traceback."""

    def __init__(self, dataset: Any, at_work: AtWork) -> None:
        self.dataset, self.at_work = dataset, at_work

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except SparrowError as error:
            return error
        finally:
            self.at_work.begin(NOTHING)
