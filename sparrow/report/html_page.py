"""The report as one HTML page that opens from disk: tables, pictures, first frames, links to TensorBoard."""

from __future__ import annotations

import base64
import os
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sparrow.core.templating import render
from sparrow.report.first_frames import event_files, first_frames
from sparrow.report.plots import Picture
from sparrow.report.sections import full_tables
from sparrow.report.study import StudyResults


def page(studies: list[StudyResults], pictures: list[Picture], out: Path) -> bytes:
    """The page's bytes; texts of any kind are escaped, and nothing is loaded from outside.

    The links lead from the folder `out`, where the page goes.
    """
    text = render(
        "report.html.jinja",
        pictures=[(p, f"data:image/png;base64,{base64.b64encode(p.png).decode()}") for p in pictures],
        studies=[(study, full_tables(study), _previews(study), _links(study, out)) for study in studies],
    )
    return text.encode("utf-8", "backslashreplace")


def _previews(study: StudyResults) -> list[dict[str, Any]]:
    """What the first run of each arm that logged frames was shown, as data URIs."""
    shown = (((arm, run, frames) for run in arm.runs if (frames := first_frames(run.folder))) for arm in study.arms)
    return [
        {"arm": arm.label, "run": run.label, "frames": frames} for own in shown for arm, run, frames in islice(own, 1)
    ]


def _links(study: StudyResults, out: Path) -> list[dict[str, str]]:
    """The runs and the way from the page to their TensorBoard folders, empty where one has none."""
    arms = {id(run): arm.label for arm in study.arms for run in arm.runs}
    links = []
    for run in study.runs:
        files = event_files(run.folder)
        folder = files[0].parent if files else run.folder
        relative = Path(os.path.relpath(folder.resolve(), out.resolve())).as_posix()
        href = quote(f"./{relative}/") if files else ""
        links.append({"arm": arms.get(id(run), ""), "run": run.label, "status": run.status, "href": href})
    return links
