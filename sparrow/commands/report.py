"""`sparrow report`: the report over folders of runs, rebuilt from disk, and how the jobs of a sweep stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sparrow.report.output import print_table, write_report
from sparrow.report.progress import ExpectedJob, status_table, status_text
from sparrow.report.study import read_studies


def report(folders: Sequence[Path], out: Path) -> None:
    """Write the report over all runs below some folders; print its tables and the paths of its files."""
    studies = read_studies(folders)
    paths = write_report(studies, out)
    print_table(studies)
    print(*paths.all, sep="\n")


def print_status(folders: Sequence[Path], expected_jobs: Callable[[Path], list[ExpectedJob]]) -> None:
    """Print how each job below some folders stands; `expected_jobs` lists those that a sweep asked for."""
    print(status_text(status_table(folder, expected_jobs(folder)) for folder in folders))
