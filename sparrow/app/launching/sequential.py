"""One job after the other, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn

from sparrow.app.launching.checked_launcher import CheckedLauncher
from sparrow.app.launching.multirun import Job, refusal
from sparrow.core.settings import settings


@settings
class SequentialValues:
    """What can be written under `hydra.launcher`: nothing."""


class SequentialLauncher(CheckedLauncher):
    """Hydra's own launcher, which refuses beforehand what cannot work."""

    schema = SequentialValues

    def carry_out(self, jobs: Sequence[Job], values: Any) -> Sequence[JobReturn]:
        """Carry out the jobs."""
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
        return BasicLauncher.launch(self, [job.overrides for job in jobs], jobs[0].number)
