"""The jobs of a multirun: what each is called, where it lies, with which command it is run, and how it ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.errors import CompactHydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from sparrow.app.parent import checked_with_parent, finished_run
from sparrow.app.provenance import as_typed, quoted
from sparrow.app.remember_sweep import RememberSweep
from sparrow.app.user_errors import message_of
from sparrow.core.bars import print_above
from sparrow.core.errors import ConfigError, RunError, SparrowError
from sparrow.core.files import content_of
from sparrow.runs.folder import archive, locked
from sparrow.runs.record import FILE_NAME, RunRecord
from sparrow.settings import SCHEMAS

OF_THE_SWEEP = (
    *("hydra.mode=", "hydra/launcher=", "hydra.launcher."),
    *("hydra/sweeper=", "hydra/sweeper/", "hydra.sweeper.", "hydra.sweep."),
)


@dataclass(frozen=True)
class Job:
    """One job of a multirun.

    `number` is its place in the multirun, from 0; `overrides` are what was given for it, as on the command line;
    `config` has Hydra's own settings too. `flags`, such as `--config-dir`, stand before all overrides;
    `hydra_overrides` are what was given to Hydra itself and is not about the sweep.
    """

    number: int
    name: str
    folder: Path
    overrides: list[str]
    config: DictConfig
    flags: list[str]
    hydra_overrides: list[str]

    @property
    def settings(self) -> DictConfig:
        """Its settings without Hydra's."""
        return OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])

    @property
    def devices(self) -> int:
        """Devices on each node."""
        return int(OmegaConf.select(self.config, "trainer.devices", default=1))

    @property
    def num_nodes(self) -> int:
        """Nodes."""
        return int(OmegaConf.select(self.config, "trainer.num_nodes", default=1))

    @property
    def ranks_per_node(self) -> int:
        """Processes to start on each node; the other commands start their own, or need one."""
        return self.devices if command_name() == "train" else 1

    @property
    def restarts(self) -> bool:
        """Whether the run that its folder holds is to be archived first."""
        return bool(OmegaConf.select(self.config, "restart", default=False))

    def command(self, *overrides: str, rank: int = 0) -> list[str]:
        """Arguments of `sparrow` that carry out this job alone, as a user could type them.

        The job's own settings win over `overrides`. Ranks above 0 leave Hydra's files to rank 0.
        """
        keys = ",".join(RememberSweep.swept_keys or ())
        beside = ["hydra.output_subdir=null", f"hydra.job.name=rank-{rank}"] if rank else []
        return [
            *(command_name(), *self.flags, *overrides, *self.overrides),
            *(["restart=false"] if self.restarts else []),  # once, by the launcher: a requeued job goes on
            *self.hydra_overrides,
            "hydra.mode=RUN",
            f"hydra.run.dir={quoted(self.folder)}",
            f"hydra.callbacks.remember_sweep.swept_keys=[{keys}]",
            *beside,
        ]


def command_name() -> str:
    """The command that this process carries out, as Hydra was told; `train` where Hydra runs in another program."""
    name = OmegaConf.select(JobRuntime.instance().conf, "name")
    return name if name in SCHEMAS else "train"


def plan_jobs(
    context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]], first_number: int
) -> list[Job]:
    """Compose every job of a batch, before one of them starts.

    Raises:
        ConfigError: If two jobs would share a folder, a swept experiment is itself a sweep, or the settings
            of any job are wrong.
    """
    flags = _config_flags(config)
    given = [line for line in as_typed(config.hydra.overrides.hydra) if not line.lstrip("+~").startswith(OF_THE_SWEEP)]
    jobs: list[Job] = []
    for number, overrides in enumerate(job_overrides, first_number):
        composed = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        if composed.hydra.sweeper.get("params") != config.hydra.sweeper.get("params"):
            raise ConfigError(
                f"experiment={composed.hydra.runtime.choices.get('experiment')} is itself a sweep, whose values would "
                "be left out; give each such experiment a command of its own"
            )
        wanted, taken = (each.hydra.runtime.choices["hydra/launcher"] for each in (composed, config))
        if wanted != taken:
            raise ConfigError(
                f"experiment={composed.hydra.runtime.choices.get('experiment')} asks for hydra/launcher={wanted}, "
                f"and a sweep over experiments has one launcher, here {taken}: name it on the command line"
            )
        name = str(composed.hydra.sweep.subdir)
        folder = Path(composed.hydra.sweep.dir).absolute() / name
        job = Job(number, name, folder, list(overrides), composed, flags, given)
        if any(other.folder == folder and other.overrides != job.overrides for other in jobs):
            raise ConfigError(f"two jobs would share the folder {folder}; shorten what is swept, or split the sweep")
        jobs.append(job)
    _check_settings(jobs)
    for job in jobs:
        RememberSweep.remember(job.config)
    return jobs


def _check_settings(jobs: Sequence[Job]) -> None:
    """Refuse all jobs if the settings of one are wrong; what is wrong in several is said once."""
    wrong: dict[str, list[str]] = {}
    for job in jobs:
        HydraConfig.instance().set_config(job.config)  # from which a message takes where a setting was written
        try:
            checked_with_parent(job.settings, SCHEMAS[command_name()])
        except SparrowError as error:
            wrong.setdefault(str(error), []).append(job.name)
    if wrong:
        count = len({name for names in wrong.values() for name in names})
        lines = [
            f"{name}{f' and {len(others)} more' if others else ''}: {message}"
            for message, (name, *others) in wrong.items()
        ]
        raise ConfigError("\n".join([f"{count} of {len(jobs)} jobs cannot run, so that none was started", *lines]))


class JobError(CompactHydraException):
    """How a job of a multirun failed, which `name_failures` tells."""


def stored_results(jobs: Sequence[Job]) -> dict[int, JobReturn]:
    """The results, by number, of jobs whose runs are finished, and refusals of those whose settings changed since.

    With `restart` the runs are archived, so that they have none.
    """
    results = {}
    for job in jobs:
        try:
            if job.restarts and job.folder.is_dir():
                with locked(job.folder, wait=False):
                    archive(job.folder)
            elif command_name() != "train" or not (job.folder / FILE_NAME).is_file():
                continue
            elif record := finished_run(job.settings, job.folder):
                results[job.number] = _finished(job, record)
        except SparrowError as error:
            results[job.number] = failed(job, f"{type(error).__name__}: {error}")
    return results


def result_of(job: Job, death: str, log: Path, before: bytes | None, *, orderly: bool = True) -> JobReturn:
    """How a job ended that no process carries out any more; `run.json` says it, and is put right where it cannot.

    `death` says how its processes ended, empty where all ended well; `log` is the one to blame; `before` is what
    `run.json` held when they began; `orderly` whether none died before it was asked to.
    """
    if death and content_of(job.folder / FILE_NAME) == before:
        return failed(job, f"{_last_line(log)} ({death}; {log})")
    try:
        record = RunRecord.load(job.folder)
    except RunError as error:
        # The other commands keep no record.
        return failed(job, str(error)) if death else JobReturn(job.overrides, status=JobStatus.COMPLETED)
    if record.status == "finished":
        return _finished(job, record)
    if record.status == "running" or (record.status == "interrupted" and not orderly):
        record.end(job.folder, "failed", RunError(f"the run was cut off, {death}; {log} ends: {_last_line(log)}"))
    told = record.error.last_line if record.error is not None else record.status
    return failed(job, told if record.status == "failed" else f"{record.status}: {told}")


def _finished(job: Job, record: RunRecord) -> JobReturn:
    return JobReturn(job.overrides, _return_value=record.metric(), status=JobStatus.COMPLETED)


def failed(job: Job, message: str) -> JobReturn:
    """The result of a job that failed; Hydra raises it at the end."""
    return JobReturn(job.overrides, _return_value=JobError(message), status=JobStatus.FAILED)


def say(job: Job, what: str) -> None:
    """Tell the terminal what a job does."""
    print_above(f"#{job.number} {job.name}: {what}")


def name_failures(jobs: Sequence[Job], results: Sequence[JobReturn]) -> None:
    """Say on the terminal which jobs did not finish, since Hydra tells of the first one only."""
    lines = [
        f"  {job.folder}: {_in_one_line(result._return_value)}"
        for job, result in zip(jobs, results, strict=True)
        if result.status == JobStatus.FAILED
    ]
    if lines:
        told = f"{len(lines)} of {len(jobs)} jobs did not finish (run the same command again to retry them):"
        print("\n".join([told, *lines]), file=sys.stderr, flush=True)


def _in_one_line(error: Any) -> str:
    kind = "" if isinstance(error, JobError) else f"{type(error).__name__}: "
    return shorten(message_of(error) or f"{kind}{error}", 300)


def _last_line(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line]
    return lines[-1] if lines else "nothing was printed"


def _config_flags(config: DictConfig) -> list[str]:
    """`--config-dir`, `--config-path` and `--config-name` as they were given."""
    flags = []
    for source in config.hydra.runtime.config_sources:
        flag = {"command-line": "--config-dir", "main": "--config-path"}.get(source.provider)
        if flag is not None and source.schema == "file":
            flags += [flag, source.path.removeprefix("file://")]
    if config.hydra.job.config_name != command_name():
        flags += ["--config-name", config.hydra.job.config_name]
    return flags
