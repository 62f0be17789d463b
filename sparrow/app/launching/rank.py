"""One rank of one job in a process of its own: `python -m sparrow.app.launching.rank train ...`.

The launcher gives the place among the ranks by the variables `PLACE`, so that Lightning starts no process by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from sparrow.core.files import write_json

FIRST_PORT, NUM_PORTS = 20000, 20000
PLACE = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT_S = 60
ENDED_BY_SIGNAL = 128
EXIT_CODE = "{}_{}_exit_code"  # a file in submitit's folder of a job, by the job's id and the task's rank
log = logging.getLogger(__name__)


def run_rank(arguments: list[str]) -> int:
    """Carry out `sparrow ARGUMENTS` in this process; its exit code, 128 plus the number of a signal that ended it."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _stop)
    sys.argv[1:] = arguments
    try:
        runpy.run_module("sparrow", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def run_slurm_task(arguments: list[str], max_requeues: int) -> None:
    """Carry out a task of a SLURM job; `submitit` calls it in the job.

    The signal that is sent before the time limit ends the run with a checkpoint; then the job is requeued here, and
    nowhere else: neither Lightning nor submitit gets to handle that signal. So is a job that is preempted with a grace
    time, which SLURM takes for failed when it ends by itself, where its partition requeues what is preempted; without
    a grace time SLURM does it.

    At its time limit, the job goes back into the queue `max_requeues` times at most.
    """
    from submitit import JobEnvironment

    place = JobEnvironment()
    port = FIRST_PORT + int(place.raw_job_id) % NUM_PORTS
    values = (place.global_rank, place.local_rank, place.node, place.num_tasks, place.hostnames[0], port)
    os.environ.update(zip(PLACE, map(str, values), strict=True))
    # Lightning takes the place from these, as everywhere; by SLURM's own, a parent run on one device is refused.
    os.environ.pop("SLURM_NTASKS", None)
    left = Path(place.paths.folder) / EXIT_CODE.format(place.job_id, place.global_rank)
    left.unlink(missing_ok=True)
    code = run_rank(arguments)
    if _requeued(code, place.job_id, place.global_rank, max_requeues):
        sys.exit(0)
    write_json(left, code)
    sys.exit(code)


def _requeued(code: int, job_id: str, rank: int, max_requeues: int) -> bool:
    """Put the job back into the queue where that is due; rank 0 does it for all."""
    may_requeue = int(os.environ.get("SLURM_RESTART_COUNT", "0")) < max_requeues
    try:
        at_limit = code == ENDED_BY_SIGNAL + signal.SIGUSR1 and may_requeue
        due = at_limit or (code == ENDED_BY_SIGNAL + signal.SIGTERM and _is_to_requeue(job_id))
        if due and rank == 0:
            output_of("scontrol", "requeue", job_id)
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip()
        log.error(
            "job %s was not requeued, since scontrol failed: %s; in a container, mount scontrol, slurm.conf and the "
            "socket of munge (docs/slurm.md). The same command run again resumes the run",
            job_id,
            told,
        )
        return False
    return due


def _is_to_requeue(job_id: str) -> bool:
    """Whether a job that was sent SIGTERM is preempted, in a partition that requeues, with time left to end by itself.

    One that is cancelled, or that SLURM requeues at once, is no longer running by then.
    """
    job = _told_of("job", job_id)
    if job.get("JobState") != "RUNNING" or job.get("PreemptTime", "None") == "None":
        return False
    return "REQUEUE" in _told_of("partition", job.get("Partition", "")).get("PreemptMode", "")


def _told_of(kind: str, name: str) -> dict[str, str]:
    """What `scontrol` knows of a job or a partition."""
    told = output_of("scontrol", "--oneliner", "show", kind, name)
    return dict(word.split("=", 1) for word in told.split() if "=" in word)


def output_of(*command: str) -> str:
    """What a tool of SLURM prints; `OSError` where it is missing, `SubprocessError` where it fails or hangs."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout


def main() -> None:
    """Carry out the command of the shell; end orderly when the launching process is gone."""
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    sys.exit(run_rank(sys.argv[1:]))


def _stop_when_alone() -> None:
    """The launcher holds the other end of stdin and writes nothing: it ends when the launcher does."""
    with contextlib.suppress(OSError):
        os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(ENDED_BY_SIGNAL + number)


if __name__ == "__main__":
    main()
