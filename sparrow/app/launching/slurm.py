"""Jobs on SLURM, submitted as an array with submitit; waited for by the queue and `run.json`, or left to run."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from sparrow.app.launching.checked_launcher import CheckedLauncher
from sparrow.app.launching.multirun import Job, command_name, failed, result_of, say, stored_results
from sparrow.app.launching.rank import EXIT_CODE, output_of, run_slurm_task
from sparrow.app.launching.sweep_bar import SweepBar
from sparrow.app.parent import checked_with_parent
from sparrow.core.errors import ConfigError
from sparrow.core.files import content_of, write_json
from sparrow.core.settings import AboveZero, AtLeast0, AtLeast1, NotNegative, run_id, setting, settings
from sparrow.report.progress import NOTE
from sparrow.settings import SCHEMAS

log = logging.getLogger(__name__)
# Names that submitit has for all its executors; the others are given to it with the prefix `slurm_`.
COMMON = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "tasks_per_node")
# Options of sbatch that are not the user's to give, with the settings that stand for them.
OWN_OPTIONS = {
    "signal": "hydra.launcher.signal_delay_s",
    "requeue": "hydra.launcher.max_requeues",
    "no-requeue": "hydra.launcher.max_requeues=0",
}
# What is not for submitit.
OWN = ("submitit_folder", "detach", "max_requeues", "poll_interval_s", "python", "signal_delay_s")


@settings
class SlurmValues:
    """What can be written under `hydra.launcher`; the defaults are those of conf/hydra/launcher/slurm.yaml."""

    submitit_folder: str = setting("where submitit keeps its scripts and the jobs' output")
    detach: bool = setting("return when the jobs are submitted")
    max_requeues: AtLeast0 = setting("how often a job that met its time limit goes back into the queue")
    poll_interval_s: NotNegative = setting("between two looks at the queue", unit="s")
    python: str | None = setting("how Python is started, as in `apptainer exec --nv sparrow.sif python`")
    signal_delay_s: AtLeast0 = setting("time before the limit at which a run saves", unit="s")
    name: str | None = setting("name of the jobs in the queue")
    partition: str | None = setting("partition that the jobs wait for; null: the cluster's default")
    account: str | None = setting("account that pays")
    qos: str | None = setting("quality of service")
    constraint: str | None = setting("features that nodes must have")
    exclude: str | None = setting("nodes that are not used")
    gres: str | None = setting("generic resources; with GPUs among them `gpus_per_node` is left out")
    comment: str | None = setting("comment on the jobs")
    timeout_min: AtLeast1 = setting("time limit of a job", unit="min")
    nodes: AtLeast1 = setting("nodes of a job")
    tasks_per_node: AtLeast1 = setting("ranks on each node")
    gpus_per_node: int | str | None = setting("a number, or a type and a number such as `a100:1`")
    cpus_per_task: AtLeast1 | None = setting("cores of a rank")
    mem_gb: AboveZero | None = setting("memory of each node", unit="GB")
    array_parallelism: AtLeast1 = setting("jobs at once")
    setup: list[str] = setting("lines of shell before srun")
    srun_args: list[str] = setting("further arguments of srun")
    additional_parameters: dict[str, Any] = setting("further options of sbatch")


class SlurmLauncher(CheckedLauncher):
    """Carries out the jobs of a multirun as one array of SLURM jobs, each by its command."""

    schema = SlurmValues

    def carry_out(self, jobs: Sequence[Job], values: SlurmValues) -> Sequence[JobReturn]:
        """Submit what is neither finished nor in the queue already, and wait for all of it."""
        self.values = values
        self._check(jobs)
        try:
            queued = _queue()
        except subprocess.SubprocessError as error:
            raise ConfigError(f"the queue of SLURM cannot be read ({error}); is its controller running?") from error
        ids: dict[int, str] = {}
        notes = {job.number: json.loads(content_of(job.folder / NOTE) or "{}") for job in jobs}
        results = {
            job.number: failed(job, f"is in the queue as job {job_id}; scancel it before restart=true")
            for job in jobs
            if job.restarts and (job_id := notes[job.number].get("job_id")) in queued
        }
        results |= stored_results([job for job in jobs if job.number not in results])
        for job in jobs:
            note = notes[job.number]
            if job.number not in results and note.get("job_id") in queued:
                job_id = ids[job.number] = note["job_id"]
                if note.get("run_id") != _run_id(job):
                    told = f"is in the queue as job {job_id} with other settings; scancel it, or restore them"
                    results[job.number] = failed(job, told)
        self._submit([job for job in jobs if job.number not in results and job.number not in ids], ids)
        if self.values.detach:
            print("detached: run the same command again to see what became of them", flush=True)
            submitted = {job.number: JobReturn(job.overrides, status=JobStatus.COMPLETED) for job in jobs}
            results = submitted | results
        else:
            self._wait([job for job in jobs if job.number not in results], ids, results)
        return [results[job.number] for job in jobs]

    def _check(self, jobs: Sequence[Job]) -> None:
        """Refuse what cannot work."""
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise ConfigError("hydra/launcher=slurm needs submitit: pip install submitit") from None
        missing = [tool for tool in ("sbatch", "srun", "squeue", "scontrol") if shutil.which(tool) is None]
        if missing:
            raise ConfigError(
                f"hydra/launcher=slurm: {', '.join(missing)} not found on this machine; log in where the cluster's "
                "jobs are submitted, or use hydra/launcher=parallel"
            )
        for what, key in (("devices", "tasks_per_node"), ("num_nodes", "nodes")):
            values, settled = {getattr(job, what) for job in jobs}, getattr(self.values, key)
            if values != {settled}:
                raise ConfigError(
                    f"trainer.{what}={','.join(map(str, sorted(values)))} where hydra.launcher.{key}={settled}: "
                    "the jobs of an array are all of one size, which is settled when it is submitted; give "
                    f"trainer.{what} once for the whole sweep, or submit one sweep for each value"
                )
        for option, remedy in OWN_OPTIONS.items():
            if option in {key.replace("_", "-") for key in self.values.additional_parameters}:
                raise ConfigError(
                    f"hydra.launcher.additional_parameters.{option}: Sparrow gives sbatch its own, by which runs save "
                    f"and go back into the queue; leave it out, and set {remedy}"
                )
        if self.values.signal_delay_s >= 60 * self.values.timeout_min:
            raise ConfigError("hydra.launcher.signal_delay_s must be below timeout_min, or no run could begin")

    def _submit(self, jobs: Sequence[Job], ids: dict[int, str]) -> None:
        """Submit the jobs as one array and note where each is."""
        if not jobs:
            return
        import submitit

        values = self.values
        settings = {key: value for key, value in asdict(values).items() if key not in OWN and value is not None}
        if any(resource.split(":")[0] == "gpu" for resource in (values.gres or "").split(",")):
            settings.pop("gpus_per_node", None)
        settings["tasks_per_node"] = jobs[0].ranks_per_node
        settings["srun_args"] = ["--kill-on-bad-exit=1", *values.srun_args]
        # submitit would send, and handle, another signal; this one is left to the run itself.
        own_signal = {"signal": f"USR1@{values.signal_delay_s}", "requeue": True}
        settings["additional_parameters"] = own_signal | values.additional_parameters
        executor = submitit.AutoExecutor(
            folder=self._folder("%j"), cluster="slurm", slurm_max_num_timeout=0, slurm_python=values.python
        )
        commands = [job.command("trainer.progress_bar=false") for job in jobs]
        try:
            named = {key if key in COMMON else f"slurm_{key}": value for key, value in settings.items()}
            executor.update_parameters(**named)
            with _outside_allocation():
                submitted = executor.map_array(run_slurm_task, commands, [values.max_requeues] * len(jobs))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            told = " ".join(line for line in str(error).splitlines() if "error" in line) or str(error)
            raise ConfigError(f"sbatch refused the jobs: {told}{_remedy(str(error), len(jobs))}") from None
        for job, entry in zip(jobs, submitted, strict=True):
            ids[job.number] = str(entry.job_id)
            note = {"job_id": str(entry.job_id), "overrides": job.overrides, "run_id": _run_id(job)}
            write_json(job.folder / NOTE, note | {"output": str(entry.paths.stdout)})
            say(job, f"submitted as job {entry.job_id}; its output: {entry.paths.stdout}, errors beside it (.err)")

    def _wait(self, jobs: Sequence[Job], ids: dict[int, str], results: dict[int, JobReturn]) -> None:
        """Wait until the queue holds none of the jobs; Ctrl-C leaves them there."""
        waiting = {job.number: job for job in jobs}
        absent: set[int] = set()
        bar = SweepBar(jobs)
        try:
            while waiting:
                time.sleep(self.values.poll_interval_s)
                try:
                    queued = _queue()
                except subprocess.SubprocessError as error:
                    log.warning("the queue cannot be read (%s); the jobs go on", error)
                    continue
                gone = {number for number in waiting if ids[number] not in queued}
                # Seen twice, so that a shared file system has had the time to show the last writing.
                for number in gone & absent:
                    job = waiting.pop(number)
                    results[number] = self._result(job, ids[number])
                    completed = results[number].status == JobStatus.COMPLETED
                    bar.tell_of(job, "finished" if completed else "did not finish", ended=True)
                absent = gone
        except KeyboardInterrupt:
            left = " ".join(ids[number] for number in waiting)
            told = f"the jobs go on: run the same command again to wait for them, or end them: scancel {left}"
            print(told, file=sys.stderr, flush=True)
            raise
        finally:
            bar.close()

    def _result(self, job: Job, job_id: str) -> JobReturn:
        written = (path for path in self._folder(job_id).glob(f"{job_id}_*_log.*") if path.stat().st_size)
        outputs = sorted(written, key=lambda path: path.suffix)  # what a run prints to stderr is told first
        return result_of(job, self._death(job, job_id), outputs[0] if outputs else Path(NOTE), None)

    def _death(self, job: Job, job_id: str) -> str:
        """How a job's tasks ended, by the exit codes they left and else by accounting; empty where all ended well."""
        codes = [json.loads(file.read_text()) for file in self._folder(job_id).glob(EXIT_CODE.format(job_id, "*"))]
        if len(codes) == job.ranks_per_node * job.num_nodes and not any(codes):
            return ""
        state = _final_state(job_id)
        if state.startswith("COMPLETED"):
            return ""
        told = f"exit code {max(codes)}" if any(codes) else "a task was gone before it could leave its exit code"
        return f"SLURM: {state or told}"

    def _folder(self, job_id: str) -> Path:
        """What submitit keeps of a job."""
        return Path(self.values.submitit_folder).absolute() / job_id


def _run_id(job: Job) -> str:
    return run_id(checked_with_parent(job.settings, SCHEMAS[command_name()]))


@contextmanager
def _outside_allocation() -> Iterator[None]:
    """Hide the allocation that this process is in, whose size sbatch and srun would take for that of the jobs.

    Where the cluster is (`SLURM_CONF`), and the user's own defaults for sbatch, stay.
    """
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    from submitit.helpers import clean_env

    kept = {key: value for key, value in os.environ.items() if key == "SLURM_CONF" or key.startswith("SBATCH_")}
    with clean_env():
        os.environ.update(kept)
        yield


def _told(*command: str) -> str:
    """What a tool of SLURM answers; empty where it is missing or fails, as `sacct` on a cluster without accounting."""
    try:
        return output_of(*command)
    except (OSError, subprocess.SubprocessError):
        return ""


def _queue() -> dict[str, str]:
    """The states of the user's jobs that wait or run, an entry for each task of an array."""
    lines = output_of("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines if line.strip())


def known_queue() -> dict[str, str] | None:
    """The states of the user's jobs; None where no SLURM answers."""
    with suppress(OSError, subprocess.SubprocessError):
        return _queue()
    return None


def _final_state(job_id: str) -> str:
    """What accounting says of a job that is over; empty where it knows nothing."""
    lines = _told("sacct", "--noheader", "--parsable2", "-X", "-j", job_id, "-o", "State,ExitCode").splitlines()
    return " ".join(lines[-1].split("|")) if lines else ""


def _remedy(message: str, num_jobs: int) -> str:
    """How to fix what sbatch refuses, where SLURM knows it."""
    if "partition" in message and (known := _told("sinfo", "--noheader", "--format=%R").split()):
        return f"; hydra.launcher.partition can be {', '.join(sorted(set(known)))}"
    if "array specification" not in message:
        return ""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _told("scontrol", "show", "config"))
    largest = found[1] if found else "N"
    return (
        f"; the sweep has {num_jobs} jobs, an array of this cluster at most MaxArraySize={largest}: submit it in parts "
        f"with hydra.sweeper.max_batch_size={largest}"
    )
