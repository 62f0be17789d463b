"""One job after the other, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn

from sparrow.app.launching.multirun import name_failures, plan_jobs, refusal
from sparrow.app.launching.values import launcher_values
from sparrow.core.settings import settings


@settings
class SequentialValues:
    """What can be written under `hydra.launcher`: nothing."""


class SequentialLauncher(BasicLauncher):
    """Hydra's own launcher, which refuses beforehand what cannot work and names all failures at the end."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.values = values

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Carry out the jobs."""
        assert self.hydra_context is not None and self.config is not None
        launcher_values(self.values, SequentialValues)
        jobs = plan_jobs(self.hydra_context, self.config, job_overrides, initial_job_idx)
        for job in jobs:
            if job.ranks_per_node * job.num_nodes > 1 and "LOCAL_RANK" not in os.environ:
                remedy = (
                    "hydra/launcher=slurm for several nodes"
                    if job.num_nodes > 1
                    else "hydra/launcher=parallel, which starts all ranks of a job itself"
                )
                raise refusal(
                    f"trainer.devices={job.devices} on trainer.num_nodes={job.num_nodes} in a multirun: every child "
                    f"process would start the whole sweep again; use {remedy}"
                )
        results = super().launch([job.overrides for job in jobs], initial_job_idx)
        name_failures(jobs, results)
        return results
