"""The processes of one job on this machine, one per rank: started, watched and stopped together."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

from sparrow.app.launching.multirun import Job
from sparrow.app.launching.rank import PLACE

GRACE_S = 30.0  # for the other ranks, once rank 0 has ended or some rank has failed
ORDERLY_ENDS = tuple(128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))


class RankProcesses:
    """Starts the ranks of a job.

    `gpus` are named as in `CUDA_VISIBLE_DEVICES`, none where empty; the job's own settings win over `overrides`.
    """

    def __init__(self, job: Job, gpus: list[str], overrides: Sequence[str]) -> None:
        self.job, self.gpus = job, gpus
        self.started_s = time.monotonic()
        self._to_blame: tuple[int, int] | None = None  # rank and exit code of the first that failed
        self._last_call_s: float | None = None
        job.folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._processes = [self._start(rank, port, overrides) for rank in range(job.ranks_per_node)]

    def log(self, rank: int) -> Path:
        """What a rank prints."""
        return self.job.folder / f"rank-{rank}.log"

    def have_ended(self) -> bool:
        """Whether nothing is to be waited for any more: all ranks are gone, or the rest cannot go on."""
        codes = [process.poll() for process in self._processes]
        failures = [(rank, code) for rank, code in enumerate(codes) if code]
        if failures and self._to_blame is None:
            self._to_blame = failures[0]
        if None not in codes:
            return True
        if self._last_call_s is None and (codes[0] is not None or failures):
            self._last_call_s = time.monotonic() + GRACE_S
        return self._last_call_s is not None and time.monotonic() > self._last_call_s

    def send(self, number: signal.Signals) -> None:
        """Send every living rank a signal; SIGKILL also to what it started."""
        send = os.killpg if number == signal.SIGKILL else os.kill
        for process in self._processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    send(process.pid, number)

    def wait(self) -> None:
        """Wait until every rank is gone."""
        for process in self._processes:
            process.wait()
        self.have_ended()

    @property
    def ended_orderly(self) -> bool:
        """Whether no rank died before it was asked to."""
        return self._to_blame is None or self._to_blame[1] in ORDERLY_ENDS

    @property
    def blamed_log(self) -> Path:
        """The log of the rank that failed first."""
        return self.log(self._to_blame[0] if self._to_blame else 0)

    @property
    def death(self) -> str:
        """How the first rank that failed ended; empty where none did."""
        if self._to_blame is None:
            return ""
        rank, code = self._to_blame
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"rank {rank} {how}"

    def _start(self, rank: int, port: int, overrides: Sequence[str]) -> Popen:
        place = (rank, rank, 0, self.job.ranks_per_node, "127.0.0.1", port)
        environment = os.environ | dict(zip(PLACE, map(str, place), strict=True))
        environment.pop("SLURM_NTASKS", None)  # by which Lightning would take each rank for a task of SLURM
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        command = [sys.executable, "-m", "sparrow.app.launching.rank", *self.job.command(*overrides, rank=rank)]
        with open(self.log(rank), "ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the launching process alone, which passes it on once.
            return Popen(command, env=environment, stdin=PIPE, stdout=log, stderr=STDOUT, start_new_session=True)
