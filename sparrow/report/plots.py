"""The pictures of a report, readable in black and white: bars by arm, and what all pictures share."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparrow.analysis.seeds import Estimate
from sparrow.core.tables import DAGGER, percent, wrap
from sparrow.report.arm import Arm
from sparrow.report.study import StudyResults
from sparrow.runs.record import Phase

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS = 3
LABEL_WIDTH_CHARACTERS = 26
BAR_HEIGHT = 0.38
LABEL_LINE_HEIGHT_INCHES = 0.17
PNG_DPI = 150
LEGEND = ("before training", "after training", "95 % interval", "chance", "without frames")
# Phase, place within the arm, bar style.
BARS: tuple[tuple[Phase, float, dict[str, Any]], ...] = (
    ("before", -BAR_HEIGHT / 2, {"facecolor": "white", "hatch": "////", "label": LEGEND[0]}),
    ("after", BAR_HEIGHT / 2, {"facecolor": "0.65", "label": LEGEND[1]}),
)
STYLE = {"font.size": 9, "hatch.linewidth": 0.6, "text.parse_math": False}


@dataclass(frozen=True)
class Picture:
    """One picture in two formats; the same results give the same bytes."""

    name: str
    title: str
    png: bytes
    pdf: bytes


@dataclass(frozen=True)
class Panel:
    """One study's part of a picture for one measure, and how it is drawn."""

    study: StudyResults
    name: str
    draw: Callable[[Axes], None]


def picture(
    name: str, title: str, panels: list[Panel], panel_height: Callable[[StudyResults], float]
) -> Picture | None:
    """A row of panels for each study, or several, with one legend below; None without a panel."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not panels:
        return None
    rows: list[list[Panel]] = []
    for panel in panels:
        if rows and rows[-1][0].study is panel.study and len(rows[-1]) < MAX_COLUMNS:
            rows[-1].append(panel)
        else:
            rows.append([panel])
    columns = max(map(len, rows))
    heights = [panel_height(row[0].study) for row in rows]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.2 * columns, 0.4 + sum(heights)), layout="constrained")
        parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, row in zip(parts, rows, strict=True):
            study = row[0].study
            part.suptitle(study.study.name + (f" {DAGGER}" if study.confounds else ""), fontweight="bold")
            places = part.subplots(1, columns, sharey=True, squeeze=False)[0]
            for axes, panel in zip(places, row, strict=False):
                panel.draw(axes)
                axes.set_title("\n".join(wrap(panel.name, LABEL_WIDTH_CHARACTERS)))
                axes.spines[["top", "right"]].set_visible(False)
            for axes in places[len(row) :]:
                axes.set_visible(False)
        _legend(figure, columns)
        return Picture(name, title, *_saved(figure))


def _legend(figure: Figure, columns: int) -> None:
    drawn = {
        label: handle
        for axes in figure.get_axes()
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    labels = [*(label for label in LEGEND if label in drawn), *(label for label in drawn if label not in LEGEND)]
    handles = [drawn[label] for label in labels]
    widest = max((len(label) for label in labels), default=0)
    ncols = max(1, min(len(labels), int((2.2 + 3.2 * columns) * 13 / (widest + 6))))
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False)


def _saved(figure: Figure) -> tuple[bytes, bytes]:
    # The layout is computed once, not for each format.
    figure.draw_without_rendering()
    figure.set_layout_engine(None)
    saved = []
    for kind, undated in (("png", {}), ("pdf", {"CreationDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=undated)
        saved.append(buffer.getvalue())
    return saved[0], saved[1]


def bars(studies: list[StudyResults]) -> Picture | None:
    """Scores before and after training, arms one below the other, so that names of any length stay apart."""
    panels = [Panel(s, name, _bar_panel(s, name)) for s in studies for name in s.benchmarks]
    title = "Score before and after training, by arm and benchmark"
    return picture("report", title, panels, lambda study: 1.3 + _arm_height(study) * len(study.arms))


def _arm_height(study: StudyResults) -> float:
    num_lines = max(_label(arm).count("\n") + 1 for arm in study.arms)
    return max(0.55 if _was_asked_before(study) else 0.4, LABEL_LINE_HEIGHT_INCHES * num_lines)


def _label(arm: Arm) -> str:
    return "\n".join(wrap(arm.title, LABEL_WIDTH_CHARACTERS))


def _was_asked_before(study: StudyResults) -> bool:
    return any(arm.estimate(name, "before") for arm in study.arms for name in study.benchmarks)


def _bar_panel(study: StudyResults, benchmark: str) -> Callable[[Axes], None]:
    has_two_bars = _was_asked_before(study)

    def draw(axes: Axes) -> None:
        for phase, beside, style in BARS:
            offset = beside if has_two_bars else 0.0
            for place, arm in enumerate(study.arms):
                if found := arm.estimate(benchmark, phase):
                    _bar(axes, place + offset, found, style)
                if phase == "after" and (blind := arm.estimate(benchmark, "blind")):
                    mark = axes.scatter(100 * blind.mean, place + offset, s=26, marker="D", zorder=5, label=LEGEND[4])
                    mark.set(facecolor="white", edgecolor="black")
        scores = [score for arm in study.arms for r in arm.records for score in r.scores.get(benchmark, {}).values()]
        for chance in {chance for score in scores if (chance := score.official_chance) is not None}:
            axes.axvline(100 * chance, color="black", linestyle="--", linewidth=1, zorder=4, label=LEGEND[3])
        axes.set_yticks(range(len(study.arms)), map(_label, study.arms))
        axes.set_ylim(len(study.arms) - 0.4, -0.6)
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 25))
        metrics = sorted({score.metric for score in scores})
        axes.set_xlabel(f"{', '.join(metrics)} (%)")

    return draw


def _bar(axes: Axes, y: float, found: Estimate, style: dict[str, Any]) -> None:
    low, high = (100 * (found.mean if bound is None else bound) for bound in (found.low, found.high))
    axes.barh(y, 100 * found.mean, BAR_HEIGHT, edgecolor="black", linewidth=0.8, **style)
    axes.plot([low, high], [y, y], color="black", linewidth=1.2, marker="|", label=LEGEND[2])
    # On white, so that the line of chance does not cross the number.
    under = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    axes.text(high + 1.5, y, percent(found.mean), va="center", fontsize=7, bbox=under, zorder=6)
