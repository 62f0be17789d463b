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


class SequentialLauncher(CheckedLauncher):
    """Carries out the jobs as Hydra's own launcher does, and refuses beforehand what cannot work."""

    schema = SequentialValues

    def carry_out(self, jobs: Sequence[Job], values: Any) -> Sequence[JobReturn]:
        """Carry out the jobs."""
        for job in jobs:
            if job.ranks_per_node * job.num_nodes > 1 and "LOCAL_RANK" not in os.environ:
                parallel = "hydra/launcher=parallel, which starts all ranks of a job itself"
                raise ConfigError(
                    f"trainer.devices={job.devices} on trainer.num_nodes={job.num_nodes} in a multirun: every child "
                    "process would start the whole sweep again; "
                    f"use {'hydra/launcher=slurm for several nodes' if job.num_nodes > 1 else parallel}"
                )
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
