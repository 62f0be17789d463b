"""Several jobs at once on this machine: a fresh process for each rank of each job, a set of GPUs for each job."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from sparrow.app.launching.multirun import (
    Job,
    name_failures,
    plan_jobs,
    refusal,
    result_of,
    say,
    stored_record,
    stored_result,
)
from sparrow.app.launching.rank_processes import RankProcesses
from sparrow.app.launching.values import launcher_values
from sparrow.core.settings import AtLeast1, setting, settings

JOBS_WITHOUT_GPU = 2
POLL_INTERVAL_S = 0.2


@settings
class ParallelValues:
    """What can be written under `hydra.launcher`."""

    n_parallel: AtLeast1 | None = setting("jobs at once; null: as many as the GPUs allow, two where none is used")


class ParallelLauncher(Launcher):
    """Carries out the jobs of a multirun at once, as far as devices allow."""

    def __init__(self, **values: Any) -> None:
        self.values = {"n_parallel": None} | values

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives; the task is started by its command, so the function is not needed."""
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Carry out the jobs; Ctrl-C lets every run save where it is."""
        asked = launcher_values(self.values, ParallelValues).n_parallel
        jobs = plan_jobs(self.hydra_context, self.config, job_overrides, initial_job_idx)
        gpus = visible_gpus() if any(job.accelerator != "cpu" for job in jobs) else []
        n_parallel = _checked(asked, jobs, gpus)
        results = {job.number: result for job in jobs if (result := stored_result(job)) is not None}
        waiting = [job for job in jobs if job.number not in results]
        before = {job.number: stored_record(job) for job in waiting}
        running: list[RankProcesses] = []
        with _sigterm_as_ctrl_c():
            try:
                while waiting or running:
                    free = [gpu for gpu in gpus if not any(gpu in ranks.gpus for ranks in running)]
                    if waiting and len(running) < n_parallel and (not gpus or len(free) >= waiting[0].devices):
                        job = waiting.pop(0)
                        running.append(RankProcesses(job, free[: job.devices], _own_settings(job, n_parallel, gpus)))
                        say(job, f"started{_on(running[-1].gpus)}; its log is {running[-1].log(0)}")
                        continue
                    time.sleep(POLL_INTERVAL_S)
                    for ranks in [ranks for ranks in running if ranks.have_ended()]:
                        ranks.send(signal.SIGKILL)
                        ranks.wait()
                        running.remove(ranks)
                        results[ranks.job.number] = _result(ranks, before[ranks.job.number])
            except KeyboardInterrupt:
                _stop(running)
                for ranks in running:
                    _result(ranks, before[ranks.job.number])
                raise
        ordered = [results[job.number] for job in jobs]
        name_failures(jobs, ordered)
        return ordered


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
        raise refusal(
            "trainer.num_nodes: hydra/launcher=parallel starts processes on this machine only; use "
            "hydra/launcher=slurm, or start each run with torchrun on every node"
        )
    if gpus and devices > len(gpus):
        raise refusal(f"trainer.devices={devices}, but {len(gpus)} GPUs are there; lower it")
    if n_parallel is None:
        return max(1, len(gpus) // devices) if gpus else JOBS_WITHOUT_GPU
    return n_parallel


def _own_settings(job: Job, n_parallel: int, gpus: Sequence[str]) -> list[str]:
    """A log instead of a progress bar and, without GPUs, a share of the cores for each rank."""
    settings = ["trainer.progress_bar=false"]
    if not gpus and OmegaConf.select(job.config, "trainer.num_threads") is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        settings.append(f"trainer.num_threads={max(1, cores // (n_parallel * job.ranks_per_node))}")
    return settings


def _on(gpus: Sequence[str]) -> str:
    return f" on GPU {', '.join(gpus)}" if gpus else ""


def _result(ranks: RankProcesses, before: bytes | None) -> JobReturn:
    result = result_of(ranks.job, ranks.death, ranks.blamed_log, before, orderly=ranks.ended_orderly)
    how = "finished" if result.status == JobStatus.COMPLETED else "did not finish"
    say(ranks.job, f"{how} after {time.monotonic() - ranks.started_s:.0f} s")
    return result


def _stop(running: Sequence[RankProcesses]) -> None:
    """Let the runs save where they are; a second Ctrl-C kills them."""
    try:
        print(f"{len(running)} runs save where they are; Ctrl-C again kills them", file=sys.stderr, flush=True)
        for ranks in running:
            ranks.send(signal.SIGTERM)  # SIGINT may be ignored, as where a shell started this in the background
        for ranks in running:
            ranks.wait()
    except KeyboardInterrupt:
        for ranks in running:
            ranks.send(signal.SIGKILL)
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
