"""Signals that ask a run to stop, which its forked workers get as well."""

from __future__ import annotations

import os
import signal

# SLURM can send SIGUSR1 some time before a limit, to all processes of a job.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


def passed_by(number: int, owner: int) -> bool:
    """Whether a handler has nothing to do, because it was inherited from the process `owner`.

    A worker goes on where the run is asked to save, and ends at SIGTERM, with which its parent stops it.
    """
    if os.getpid() == owner:
        return False
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return True
