"""Several jobs at once on this machine: a fresh process for each rank of each job, a set of GPUs for each job."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from sparrow.app.launching.checked_launcher import CheckedLauncher
from sparrow.app.launching.multirun import Job, result_of, stored_results
from sparrow.app.launching.rank_processes import RankProcesses
from sparrow.app.launching.sweep_bar import SweepBar
from sparrow.core.errors import ConfigError
from sparrow.core.files import content_of
from sparrow.core.settings import AtLeast1, setting, settings
from sparrow.core.tables import counted, duration
from sparrow.runs.record import FILE_NAME

JOBS_WITHOUT_GPU = 2
POLL_INTERVAL_S = 0.2


@settings
class ParallelValues:
    """What can be written under `hydra.launcher`."""

    n_parallel: AtLeast1 | None = setting(
        "jobs at once; null: as many as the GPUs allow, two where none is used", default=None
    )


class ParallelLauncher(CheckedLauncher):
    """Carries out the jobs of a multirun at once, as far as devices allow, each by its command."""

    schema = ParallelValues

    def carry_out(self, jobs: Sequence[Job], values: ParallelValues) -> Sequence[JobReturn]:
        """Carry out the jobs; Ctrl-C lets every run save where it is."""
        accelerators = {OmegaConf.select(job.config, "trainer.accelerator", default="cpu") for job in jobs}
        gpus = visible_gpus() if accelerators - {"cpu"} else []
        n_parallel = _checked(values.n_parallel, jobs, gpus)
        results = stored_results(jobs)
        waiting = [job for job in jobs if job.number not in results]
        before = {job.number: content_of(job.folder / FILE_NAME) for job in waiting}
        running: list[RankProcesses] = []
        with _sigterm_as_ctrl_c(), SweepBar(jobs, results) as bar:
            try:
                while waiting or running:
                    free = [gpu for gpu in gpus if not any(gpu in ranks.gpus for ranks in running)]
                    if waiting and len(running) < n_parallel and (not gpus or len(free) >= waiting[0].devices):
                        job = waiting.pop(0)
                        running.append(RankProcesses(job, free[: job.devices], _own_settings(job, n_parallel, gpus)))
                        on = f" on GPU {', '.join(running[-1].gpus)}" if gpus else ""
                        bar.tell_of(job, f"started{on}; its log is {running[-1].log(0)}")
                        continue
                    time.sleep(POLL_INTERVAL_S)
                    for ranks in [ranks for ranks in running if ranks.have_ended()]:
                        _end([ranks], signal.SIGKILL)
                        running.remove(ranks)
                        result = results[ranks.job.number] = _result(ranks, before[ranks.job.number])
                        how = "finished" if result.status == JobStatus.COMPLETED else "did not finish"
                        how += f" after {duration(time.monotonic() - ranks.started_s)}"
                        bar.tell_of(ranks.job, how, ended=True)
            except KeyboardInterrupt:
                _stop(running)
                for ranks in running:
                    _result(ranks, before[ranks.job.number])
                raise
        return [results[job.number] for job in jobs]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _checked(n_parallel: int | None, jobs: Sequence[Job], gpus: Sequence[str]) -> int:
    """Jobs at once, after what cannot work is refused."""
    devices = max(job.devices for job in jobs)
    if any(job.num_nodes > 1 for job in jobs):
        raise ConfigError(
            "trainer.num_nodes: hydra/launcher=parallel starts processes on this machine only; use "
            "hydra/launcher=slurm, or start each run with torchrun on every node"
        )
    if gpus and devices > len(gpus):
        raise ConfigError(f"trainer.devices={devices}, but {len(gpus)} GPUs are there; lower it")
    return n_parallel or (max(1, len(gpus) // devices) if gpus else JOBS_WITHOUT_GPU)


def _own_settings(job: Job, n_parallel: int, gpus: Sequence[str]) -> list[str]:
    """A log instead of a progress bar and, without GPUs, a share of the cores for each rank."""
    settings = ["trainer.progress_bar=false"]
    if not gpus and OmegaConf.select(job.config, "trainer.num_threads") is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        settings.append(f"trainer.num_threads={max(1, cores // (n_parallel * job.ranks_per_node))}")
    return settings


def _result(ranks: RankProcesses, before: bytes | None) -> JobReturn:
    return result_of(ranks.job, ranks.death, ranks.blamed_log, before, orderly=ranks.ended_orderly)


def _stop(running: Sequence[RankProcesses]) -> None:
    """Let the runs save where they are; a second Ctrl-C kills them."""
    try:
        told = "which the same command goes on with; Ctrl-C again kills them"
        print(f"saving {counted(len(running), 'run')}, {told}", file=sys.stderr, flush=True)
        # SIGINT may be ignored, as where a shell started this in the background.
        _end(running, signal.SIGTERM)
    except KeyboardInterrupt:
        _end(running, signal.SIGKILL)


def _end(running: Sequence[RankProcesses], number: signal.Signals) -> None:
    for ranks in running:
        ranks.send(number)
    for ranks in running:
        ranks.wait()


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """A launching process that is told to end passes it on to its jobs."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
