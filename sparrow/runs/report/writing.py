"""The report over a folder of runs, rebuilt from what is on disk: a tidy CSV, Markdown tables and a picture."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from sparrow.core.errors import RunError
from sparrow.core.files import write_atomically
from sparrow.runs.collect import tidy_rows
from sparrow.runs.report.plots import draw
from sparrow.runs.report.results import StudyResults, read_studies
from sparrow.runs.report.sections import full_tables, short_tables


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report; no picture where nothing has been scored."""

    csv: Path
    markdown: Path
    png: Path | None


def build_report(folders: list[Path], out: Path) -> ReportPaths:
    """Write the report over all runs in `folders` and below to `out`; the same runs give the same bytes.

    Raises:
        RunError: If a folder does not exist, or none of them holds a run.
    """
    return write_report(read_studies(folders), out)


def write_report(studies: list[StudyResults], out: Path) -> ReportPaths:
    """Write `report.csv`, `report.md` and `report.png` to `out`."""
    paths = ReportPaths(out / "report.csv", out / "report.md", out / "report.png")
    picture = draw(studies)
    write_atomically(paths.csv, _csv(studies))
    write_atomically(paths.markdown, _markdown(studies, with_picture=picture is not None))
    if picture is None:
        (out / "report.png").unlink(missing_ok=True)
        return ReportPaths(paths.csv, paths.markdown, None)
    write_atomically(out / "report.png", picture)
    return paths


def print_table(studies: list[StudyResults], *, file: TextIO | None = None, width: int = 120) -> None:
    """Print the scores, the differences between arms and the unfinished runs of each study."""
    for study in studies:
        heading = f"{study.study.name}: {study.study.question}" if study.study.question else study.study.name
        print("\n\n".join([heading, *(table.text(width) for table in short_tables(study))]), file=file or sys.stdout)


def _csv(studies: list[StudyResults]) -> str:
    rows = tidy_rows(arm.run for study in studies for arm in study.arms)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(studies: list[StudyResults], *, with_picture: bool) -> str:
    parts = ["# Report"]
    if with_picture:
        parts.append("![Accuracy before and after training, by arm and benchmark](report.png)")
    for study in studies:
        parts.append(f"## {study.study.name}")
        if study.study.question:
            parts.append(study.study.question)
        parts += [table.markdown().rstrip("\n") for table in full_tables(study)]
        parts.append(_origin(study))
    return "\n\n".join(parts) + "\n"


def _origin(study: StudyResults) -> str:
    commits = {
        git.revision[:12] + (" with local changes" if git.dirty else "")
        for arm in study.arms
        if arm.run.record and (git := arm.run.record.git)
    }
    return f"Code revision: {', '.join(sorted(commits)) or 'unknown'}."


def end_of_sweep(folder: Path) -> None:
    """Report on a multirun that has ended: the files in its folder, the table and where things are on the terminal."""
    try:
        studies = read_studies([folder])
    except RunError as error:
        print(f"no report: {error}", file=sys.stderr)
        return
    paths = write_report(studies, folder)
    print_table(studies)
    print(f"\nruns, tables and plot: {folder}")
    if paths.png is not None:
        print(f"plot:                  {paths.png}")
    print(f"curves and frames:     tensorboard --logdir {folder}")
