"""The pictures of a report, readable in black and white: scores by arm, and over what they took."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle, groupby
from typing import TYPE_CHECKING, Any

from sparrow.analysis.seeds import Estimate
from sparrow.core.tables import DAGGER, percent, wrap
from sparrow.report.arm import Arm, spelt_factors
from sparrow.report.data_value import Curve, curves, size_factor
from sparrow.report.published import Published, arm_of, asked_otherwise, is_comparable, read_published
from sparrow.report.study import StudyResults
from sparrow.runs.record import Phase, RunRecord

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
PANEL_HEIGHT = 3.2
BESIDE = 0.02  # of the range of sizes, so that arms of one size do not hide each other
MIN_DEVICE_HOURS = 0.1  # below, hours tell of how busy the machine was
MARKERS = "osD^vPX*<>"
LINES = ("-", "--", "-.", ":")
FACES = ("black", "white", "0.65")
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
    of_studies = [[*own] for _, own in groupby(panels, key=lambda panel: id(panel.study))]
    rows = [own[i : i + MAX_COLUMNS] for own in of_studies for i in range(0, len(own), MAX_COLUMNS)]
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
    drawn: dict[str, Any] = {}
    for axes in figure.get_axes():
        drawn |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = sorted(drawn, key=lambda label: LEGEND.index(label) if label in LEGEND else len(LEGEND))
    widest = max(map(len, labels), default=0)
    ncols = max(1, min(len(labels), int((2.2 + 3.2 * columns) * 13 / (widest + 6))))
    handles = [drawn[label] for label in labels]
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
    panels = [Panel(s, name, partial(_draw_bars, s, name)) for s in studies for name in s.benchmarks]
    title = "Score before and after training, by arm and benchmark"
    return picture("report", title, panels, lambda study: 1.3 + _arm_height(study) * len(study.arms))


def _arm_height(study: StudyResults) -> float:
    num_lines = max(_label(arm).count("\n") + 1 for arm in study.arms)
    return max(0.55 if _was_asked_before(study) else 0.4, LABEL_LINE_HEIGHT_INCHES * num_lines)


def _label(arm: Arm) -> str:
    return "\n".join(wrap(arm.title, LABEL_WIDTH_CHARACTERS))


def _was_asked_before(study: StudyResults) -> bool:
    return any(arm.estimate(name, "before") for arm in study.arms for name in study.benchmarks)


def _draw_bars(study: StudyResults, benchmark: str, axes: Axes) -> None:
    has_two_bars = _was_asked_before(study)
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


def _bar(axes: Axes, y: float, found: Estimate, style: dict[str, Any]) -> None:
    low, high = (100 * (found.mean if bound is None else bound) for bound in (found.low, found.high))
    axes.barh(y, 100 * found.mean, BAR_HEIGHT, edgecolor="black", linewidth=0.8, **style)
    axes.plot([low, high], [y, y], color="black", linewidth=1.2, marker="|", label=LEGEND[2])
    # On white, so that the line of chance does not cross the number.
    under = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    axes.text(high + 1.5, y, percent(found.mean), va="center", fontsize=7, bbox=under, zorder=6)


def pictures(studies: list[StudyResults]) -> list[Picture]:
    """All pictures that have something to show."""
    hours = [s for s in studies if max((arm.device_hours or 0 for arm in s.arms), default=0) >= MIN_DEVICE_HOURS]
    on_gpus = all(arm.on_gpu for study in hours for arm in study.arms if arm.device_hours)
    unit = "GPU hours" if on_gpus else "device hours"
    alike = [study for study in studies if len(_diversity_sizes(study)) == 1]
    drawn = (
        bars(studies),
        _scaling(studies),
        _against(hours, "hours", f"{unit} of training", lambda arm: arm.device_hours),
        _against(alike, "diversity", "diversity of the instructions (Vendi score)", _diversity),
    )
    return [found for found in drawn if found is not None]


def _styles() -> Callable[[], dict[str, Any]]:
    """Markers, lines and fills that stay apart without colour."""
    cycles = cycle(MARKERS), cycle(LINES), cycle(FACES)

    def style() -> dict[str, Any]:
        marker, line, face = (next(values) for values in cycles)
        return {"marker": marker, "linestyle": line, "markerfacecolor": face, "color": "black", "linewidth": 1.2}

    return style


def _scaling(studies: list[StudyResults]) -> Picture | None:
    panels = [Panel(s, name, partial(_draw_curves, s, name)) for s in studies if curves(s) for name in s.measures]
    by_step = {curve.unit for panel in panels for curve in curves(panel.study)} == {"step"}
    title = "Score by step" if by_step else "Score by number of samples"
    return picture("scaling", title, panels, lambda study: PANEL_HEIGHT)


def _draw_curves(study: StudyResults, name: str, axes: Axes) -> None:
    next_style = _styles()
    found = curves(study)
    sizes = [size for curve in found for size in curve.sizes]
    apart = BESIDE * (max(sizes) - min(sizes))
    for place, curve in enumerate(found):
        points = [(size, estimate) for size, arm in curve.measured(name) if (estimate := arm.estimate(name))]
        if zero := study.zero_shot(curve.arms[0], name):
            points.insert(0, (0.0, zero))
        shift = apart * (place - (len(found) - 1) / 2)
        _line(axes, [(size + shift, estimate) for size, estimate in points], curve.label, next_style())
    for table in read_published(study.study.published)[0]:
        _published_lines(axes, study, found, table, name)
    unit = found[0].unit.replace("_", " ")
    _name_axes(axes, f"{unit} (curves set side by side)" if len(found) > 1 else unit)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}K" if value >= 1000 else f"{value:g}")


def _published_lines(axes: Axes, study: StudyResults, found: list[Curve], table: Published, name: str) -> None:
    """Published scores of our backbone over the sizes of our arms of the same name, one dotted line a curve."""
    swept = str(size_factor(study)).rsplit(".", 1)[-1]
    for curve, marker in zip(found, cycle("+x1234")):
        points = []
        for label, cells in table.arms.items():
            arm, size = arm_of(label, table, study), spelt_factors(label).get(swept)
            if name not in cells or arm is None or size is None or not is_comparable(table, arm):
                continue
            if asked_otherwise(table, arm, name):  # named in the table
                continue
            if any(arm is own for own in curve.arms):
                points.append((float(size), cells[name]))
        if points:
            zero = [(0.0, table.zero_shot[name])] if name in table.zero_shot else []
            text = f"published: {table.backbone}, {curve.label}"
            x, y = zip(*sorted([*zero, *points]), strict=True)
            axes.plot(x, y, color="0.45", linestyle=":", marker=marker, linewidth=1, label=text)


def _line(axes: Axes, points: list[tuple[float, Estimate]], label: str, style: dict[str, Any]) -> None:
    x, y = [size for size, _ in points], [100 * estimate.mean for _, estimate in points]
    axes.errorbar(x, y, yerr=_bounds([e for _, e in points]), capsize=3, elinewidth=0.8, label=label, **style)


def _bounds(estimates: list[Estimate]) -> list[list[float]]:
    # A bound of a bootstrap may lie a hair on the wrong side of the mean of a few questions.
    below = [0.0 if e.low is None else max(0.0, 100 * (e.mean - e.low)) for e in estimates]
    return [below, [0.0 if e.high is None else max(0.0, 100 * (e.high - e.mean)) for e in estimates]]


def _against(
    studies: list[StudyResults], name: str, what: str, amount: Callable[[Arm], float | None]
) -> Picture | None:
    panels = [
        Panel(study, measure, partial(_draw_against, what, amount, study, measure))
        for study in studies
        if sum(amount(arm) is not None for arm in study.arms) > 1
        for measure in study.measures
    ]
    return picture(f"score_by_{name}", f"Score by {what}", panels, lambda study: PANEL_HEIGHT)


def _draw_against(what: str, amount: Callable[[Arm], float | None], study: StudyResults, name: str, axes: Axes) -> None:
    next_style = _styles()
    for arm in study.arms:
        style, x, found = next_style(), amount(arm), arm.estimate(name)
        if x is not None and found:
            _line(axes, [(x, found)], arm.label, {**style, "linestyle": "none"})
    _name_axes(axes, what)
    axes.locator_params(axis="x", nbins=4)


def _name_axes(axes: Axes, what: str) -> None:
    axes.set_xlabel(what)
    axes.set_ylabel("score (%)")
    axes.tick_params(labelleft=True)


def _diversity_sizes(study: StudyResults) -> set[int]:
    """Of how many instructions the runs' diversity is; it grows with them, so that unequal ones are not drawn."""
    return {record.diversity.num_instructions for arm in study.arms for record in arm.counted if record.diversity}


def _diversity(arm: Arm) -> float | None:
    return arm.mean_of(vendi_score(record) for record in arm.counted)


def vendi_score(record: RunRecord) -> float | None:
    """The Vendi score of the instructions of a run's whole mixture, where it is stored."""
    return record.diversity.mixture.get("vendi_score") if record.diversity else None
