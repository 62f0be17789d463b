"""The picture of a report: accuracy before and after training, by arm and benchmark."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from sparrow.runs.record import Phase, Score
from sparrow.runs.report.results import StudyResults
from sparrow.runs.tables import percent, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_COLUMNS = 3
LABEL_WIDTH_CHARACTERS = 26
BAR_HEIGHT = 0.38
LEGEND = ("before training", "after training", "95 % interval", "chance", "without frames")
# Phase, place within the arm, bar style, and the phase without frames that is marked on the same bar.
BARS: tuple[tuple[Phase, float, dict[str, Any], Phase], ...] = (
    ("before", -BAR_HEIGHT / 2, {"facecolor": "white", "hatch": "////", "label": LEGEND[0]}, "blind_before"),
    ("after", BAR_HEIGHT / 2, {"facecolor": "0.65", "label": LEGEND[1]}, "blind"),
)


def draw(studies: list[StudyResults]) -> bytes | None:
    """A PNG with a panel for each study and benchmark, or None if nothing has been scored.

    Arms stand one below the other, so that names of any length and number stay apart; bars differ by hatch and
    brightness, so that they can be told apart in black and white.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [
        (study, study.benchmarks[start : start + MAX_COLUMNS])
        for study in studies
        for start in range(0, len(study.benchmarks), MAX_COLUMNS)
    ]
    if not rows:
        return None
    columns = max(len(benchmarks) for _, benchmarks in rows)
    heights = [1.3 + 0.55 * len(study.arms) for study, _ in rows]
    buffer = io.BytesIO()
    with rc_context({"font.size": 9, "hatch.linewidth": 0.6, "text.parse_math": False}):
        figure = Figure(figsize=(2.2 + 3.2 * columns, 0.4 + sum(heights)), layout="constrained")
        parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, (study, benchmarks) in zip(parts, rows, strict=True):
            part.suptitle(study.study.name, fontweight="bold")
            panels = part.subplots(1, columns, sharey=True, squeeze=False)[0]
            for axes, benchmark in zip(panels, benchmarks, strict=False):
                _panel(axes, study, benchmark)
            for axes in panels[len(benchmarks) :]:
                axes.set_visible(False)
        drawn = {
            label: handle
            for axes in figure.get_axes()
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        labels = [label for label in LEGEND if label in drawn]
        handles = [drawn[label] for label in labels]
        ncols = len(LEGEND) if columns > 1 else 2
        figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False)
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _panel(axes: Axes, study: StudyResults, benchmark: str) -> None:
    for phase, offset, style, blind_phase in BARS:
        for place, arm in enumerate(study.arms):
            if (score := arm.score(benchmark, phase)) and score.accuracy is not None:
                _bar(axes, place + offset, score.accuracy, score, style)
            if (blind := arm.score(benchmark, blind_phase)) and blind.accuracy is not None:
                mark = axes.scatter(100 * blind.accuracy, place + offset, s=26, marker="D", zorder=5, label=LEGEND[4])
                mark.set(facecolor="white", edgecolor="black")
    for chance in {score.chance for arm in study.arms for score in arm.scores(benchmark) if score.chance is not None}:
        axes.axvline(100 * chance, color="black", linestyle="--", linewidth=1, zorder=4, label=LEGEND[3])
    axes.set_yticks(range(len(study.arms)), ["\n".join(wrap(arm.title, LABEL_WIDTH_CHARACTERS)) for arm in study.arms])
    axes.set_ylim(len(study.arms) - 0.4, -0.6)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 25))
    axes.set_title("\n".join(wrap(benchmark, LABEL_WIDTH_CHARACTERS)))
    axes.set_xlabel("accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)


def _bar(axes: Axes, y: float, accuracy: float, score: Score, style: dict[str, Any]) -> None:
    low, high = (100 * (accuracy if bound is None else bound) for bound in (score.low, score.high))
    axes.barh(y, 100 * accuracy, BAR_HEIGHT, edgecolor="black", linewidth=0.8, **style)
    axes.plot([low, high], [y, y], color="black", linewidth=1.2, marker="|", label=LEGEND[2])
    axes.text(high + 1.5, y, percent(accuracy), va="center", fontsize=7)
