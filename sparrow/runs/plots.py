"""The picture of a report: accuracy before and after training, by arm and benchmark."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from sparrow.runs.record import Phase
from sparrow.runs.results import StudyResults
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
    with rc_context({"font.size": 9, "hatch.linewidth": 0.6}):
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
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(labels) if columns > 1 else 2, frameon=False
        )
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _panel(axes: Axes, study: StudyResults, benchmark: str) -> None:
    for phase, offset, style, blind_phase in BARS:
        scored = [
            (place + offset, score, arm.score(benchmark, blind_phase))
            for place, arm in enumerate(study.arms)
            if (score := arm.score(benchmark, phase)) and score.accuracy is not None
        ]
        for y, score, blind in scored:
            assert score.accuracy is not None
            mean = 100 * score.accuracy
            low, high = (mean if bound is None else 100 * bound for bound in (score.low, score.high))
            axes.barh(y, mean, BAR_HEIGHT, edgecolor="black", linewidth=0.8, **style)
            axes.plot([low, high], [y, y], color="black", linewidth=1.2, marker="|", label=LEGEND[2])
            axes.text(max(high, mean) + 1.5, y, percent(score.accuracy), va="center", fontsize=7)
            if blind and blind.accuracy is not None:
                axes.scatter(
                    100 * blind.accuracy,
                    y,
                    marker="D",
                    facecolor="white",
                    edgecolor="black",
                    label=LEGEND[4],
                    s=26,
                    zorder=5,
                )
            if score.chance is not None:
                axes.axvline(100 * score.chance, color="black", linestyle="--", linewidth=1, label=LEGEND[3], zorder=4)
    labels = ["\n".join(wrap(arm.title, LABEL_WIDTH_CHARACTERS)) for arm in study.arms]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 25))
    axes.set_title("\n".join(wrap(benchmark, LABEL_WIDTH_CHARACTERS)))
    axes.set_xlabel("accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)
