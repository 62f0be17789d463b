"""`sparrow report`: the report over folders of runs, rebuilt from disk, and how the jobs of a sweep stand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sparrow.report.output import print_table, write_report
from sparrow.report.progress import ExpectedJob, status_text
from sparrow.report.study import read_studies


def report(folders: Sequence[Path], out: Path) -> None:
    """Write the report over all runs below some folders; print its tables and the paths of its files."""
    studies = read_studies(folders)
    paths = write_report(studies, out)
    print_table(studies)
    print(*paths.all, sep="\n")


def print_status(
    folders: Sequence[Path],
    expected_jobs: Callable[[Path], list[ExpectedJob]],
    queue: Callable[[], Mapping[str, str] | None],
    every_s: float | None = None,
) -> None:
    """Print how each job below some folders stands, once or every so many seconds.

    `expected_jobs` lists those that a sweep asked for, `queue` the states of SLURM's jobs or None.
    """
    while True:
        queued = queue()
        shown = [status_text(folder, expected_jobs(folder), queued) for folder in folders]
        print("\033[2J\033[H" * (every_s is not None) + "\n".join(shown), flush=True)
        if every_s is None:
            return
        print(f"at {datetime.now():%H:%M:%S}, again in {every_s:g} s; Ctrl-C ends", flush=True)
        time.sleep(every_s)
