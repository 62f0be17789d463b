"""One job after the other, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals

from sparrow.app.launching.checked_launcher import CheckedLauncher
from sparrow.app.launching.multirun import Job
from sparrow.app.launching.sweep_bar import SweepBar
from sparrow.core.errors import ConfigError
from sparrow.core.settings import settings


@settings
class SequentialValues:
    """What can be written under `hydra.launcher`: nothing."""


def nested_launch(devices: int, num_nodes: int) -> str | None:
    """What is wrong with a job of several ranks that a sweep carries out in its own process; None where nothing is."""
    if devices * num_nodes == 1 or "LOCAL_RANK" in os.environ:
        return None
    parallel = "hydra/launcher=parallel, which starts all ranks of a job itself"
    return (
        f"trainer.devices={devices} on trainer.num_nodes={num_nodes} in a multirun: every child process would start "
        f"the whole sweep again; use {'hydra/launcher=slurm for several nodes' if num_nodes > 1 else parallel}"
    )


class SequentialLauncher(CheckedLauncher):
    """Carries out the jobs as Hydra's own launcher does, and refuses beforehand what cannot work."""

    schema = SequentialValues

    def carry_out(self, jobs: Sequence[Job], values: Any) -> Sequence[JobReturn]:
        """Carry out the jobs."""
        for job in jobs:
            if job.ranks_per_node * job.num_nodes > 1 and (wrong := nested_launch(job.devices, job.num_nodes)):
                raise ConfigError(wrong)
        assert self.hydra_context is not None and self.task_function is not None and self.config is not None
        setup_globals()
        results = []
        with SweepBar(jobs, one_by_one=True) as bar:
            for job in jobs:
                bar.tell_of(job, "started")
                place = "hydra.sweep.dir", "hydra.sweep.subdir"
                results.append(run_job(self.task_function, job.config, *place, self.hydra_context))
                configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
                bar.tell_of(job, "ended", ended=True)
        return results
