"""The files of a report: tidy CSV, Markdown, LaTeX, pictures and one HTML page; the same runs give the same bytes."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sparrow.core.errors import RunError
from sparrow.core.files import write_atomically
from sparrow.core.tables import DAGGER
from sparrow.report.html_page import page
from sparrow.report.plots import Picture, pictures
from sparrow.report.sections import full_tables, paper_tables, short_tables
from sparrow.report.study import StudyResults, read_studies
from sparrow.runs.find import EVERY_CATEGORY, tidy_rows

PICTURES = ("report", "scaling", "score_by_hours", "score_by_diversity")
FORMATS = ("png", "pdf")


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report, and of its pictures those that have something to show."""

    csv: Path
    categories: Path
    markdown: Path
    latex: Path
    html: Path
    pictures: tuple[Path, ...]

    @property
    def png(self) -> Path | None:
        """The bars of all scores; None where nothing has been scored."""
        return next((path for path in self.pictures if path.name == "report.png"), None)

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file."""
        return self.csv, self.categories, self.markdown, self.latex, self.html, *self.pictures


def build_report(folders: list[Path], out: Path) -> ReportPaths:
    """Write the report over all runs in `folders` and below to `out`; it raises what `read_studies` does."""
    return write_report(read_studies(folders), out)


def write_report(studies: list[StudyResults], out: Path) -> ReportPaths:
    """Write all files to `out`; pictures of an earlier report that are no longer drawn are removed."""
    drawn = pictures(studies)
    images = {out / f"{picture.name}.{kind}": getattr(picture, kind) for picture in drawn for kind in FORMATS}
    paths = ReportPaths(
        csv=out / "report.csv",
        categories=out / "categories.csv",
        markdown=out / "report.md",
        latex=out / "report.tex",
        html=out / "report.html",
        pictures=tuple(images),
    )
    rows = _rows(studies)
    write_atomically(paths.csv, _csv([row for row in rows if row["category"] in (None, EVERY_CATEGORY)]))
    write_atomically(paths.categories, _csv(rows))
    write_atomically(paths.markdown, markdown(studies, drawn))
    write_atomically(paths.latex, _latex(studies))
    write_atomically(paths.html, page(studies, drawn, out))
    for path, content in images.items():
        write_atomically(path, content)
    for path in {out / f"{name}.{kind}" for name in PICTURES for kind in FORMATS} - images.keys():
        path.unlink(missing_ok=True)
    return paths


def print_table(studies: list[StudyResults], *, file: TextIO | None = None, width: int = 120) -> None:
    """Print the scores, the differences between arms and the unfinished runs of each study."""
    for study in studies:
        heading = f"{study.study.name}: {study.study.question}" if study.study.question else study.study.name
        print("\n\n".join([heading, *(table.text(width) for table in short_tables(study))]), file=file or sys.stdout)


def _rows(studies: list[StudyResults]) -> list[dict[str, Any]]:
    """A row a run, benchmark, phase and category, with the arm of the run, and a remark where it is to be looked at."""
    own: dict[str, dict[str, Any]] = {}
    for study in studies:
        arms = {id(run): arm.label for arm in study.arms for run in arm.runs}
        for run in study.runs:
            remarks = [why for other, why in study.remarks if other is run]
            remarks += [f"{DAGGER} undeclared differences"] if study.confounds else []
            remark = "; ".join(remarks) or None
            own[run.label] = {"study": study.study.name, "arm": arms.get(id(run)), "remark": remark}
    rows = tidy_rows(run for study in studies for run in study.runs)
    return [{"study": None, "arm": None, "remark": None, **row, **own[row["folder"]]} for row in rows]


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown(studies: list[StudyResults], drawn: list[Picture]) -> str:
    """The report's text with all tables, and links to its pictures."""
    parts = ["# Report", *(f"![{picture.title}]({picture.name}.png)" for picture in drawn)]
    for study in studies:
        parts.append(f"## {study.study.name}")
        if study.study.question:
            parts.append(study.study.question)
        parts += [table.markdown().rstrip("\n") for table in full_tables(study)]
        parts.append(origin(study))
    return "\n\n".join(parts) + "\n"


def _latex(studies: list[StudyResults]) -> str:
    parts = [r"% \usepackage{booktabs,graphicx} in the preamble; compile with a Unicode engine or inputenc's utf8."]
    for study in studies:
        parts += [f"% study {' '.join(study.study.name.split())}", *(table.latex() for table in paper_tables(study))]
    return "\n".join(parts)


def origin(study: StudyResults) -> str:
    """The revisions of the code that the runs were made with."""
    commits = {str(record.git) for arm in study.arms for record in arm.records if record.git}
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
    print(f"\nruns, tables and plots: {folder}")
    print(f"open in a browser:      {paths.html}")
    if paths.png is not None:
        print(f"plot:                   {paths.png}")
    print(f"curves and frames:      tensorboard --logdir {folder}")
