"""What all launchers share: settings and jobs are checked before one starts, and all failures are named at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from sparrow.app.launching.multirun import Job, name_failures, plan_jobs
from sparrow.core.errors import ConfigError
from sparrow.core.settings import validated


class CheckedLauncher(BasicLauncher):
    """Takes what is written under `hydra.launcher`, of the class `schema`, and the jobs of a multirun."""

    schema: ClassVar[Any]

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in given.items()
        }

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Carry out the jobs of a batch.

        Raises:
            ConfigError: If a setting of the launcher or of a job is wrong; with all that is.
        """
        assert self.hydra_context is not None and self.config is not None
        values = validated(self.schema, self.given)
        if isinstance(values, list):
            problems = (f"hydra.launcher.{problem}" for problem in values)
            raise ConfigError("\n  ".join(["the launcher cannot be used", *problems]))
        jobs = plan_jobs(self.hydra_context, self.config, job_overrides, initial_job_idx)
        results = self.carry_out(jobs, values)
        name_failures(jobs, results)
        return results

    def carry_out(self, jobs: Sequence[Job], values: Any) -> Sequence[JobReturn]:
        """The results of the jobs, in their order; `values` are the launcher's own settings."""
        raise NotImplementedError
