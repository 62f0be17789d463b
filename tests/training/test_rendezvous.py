"""Ranks that share one list of work and fail together."""

from pathlib import Path

import pytest
import torch.distributed as dist
from torch import multiprocessing

from sparrow.core.errors import RunError
from sparrow.training.rendezvous import ConnectedRanks
from tests.forks import FORKS


def work(rank: int, folder: Path, fails: bool) -> None:
    """Draw ten numbers on two ranks; rank 0 begins once rank 1 has one. Writes what was drawn, or the error."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    ranks = ConnectedRanks(folder)
    drawn: list[int] = []
    try:
        with ranks.failing_together():
            if rank == 0:
                ranks.wait_for("one drawn", 1)
            for number in ranks.draw("units", 10):
                drawn.append(number)
                if rank == 1 and len(drawn) == 1:
                    ranks.tell("one drawn")
                    if fails:
                        raise ValueError("broken")
            ranks.tell("done")
            ranks.wait_for("done", 2)
        said = " ".join(map(str, drawn))
    except (RunError, ValueError) as error:
        said = f"{type(error).__name__}: {error}"
    (folder / str(rank)).write_text(said)
    dist.barrier()  # the store is rank 0's


@pytest.mark.parametrize("fails", [False, True])
def test_two_ranks_draw_each_number_once_or_fail_together(tmp_path: Path, fails: bool) -> None:
    multiprocessing.start_processes(work, args=(tmp_path, fails), nprocs=2, start_method=FORKS.get_start_method())
    first, second = ((tmp_path / str(rank)).read_text() for rank in range(2))
    if fails:
        assert first.startswith("RunError: rank 1 of 2 failed (ValueError: broken); the answers so far are kept")
        assert second == "ValueError: broken"
    else:
        assert sorted(map(int, f"{first} {second}".split())) == list(range(10))
        assert second
