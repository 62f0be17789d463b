"""Pictures of scores over what they took: samples, hours of training, and the diversity of the instructions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import TYPE_CHECKING, Any

from sparrow.analysis.seeds import Estimate
from sparrow.report.arm import Arm, spelt_factors
from sparrow.report.data_value import Curve, curves, size_factor
from sparrow.report.plots import Panel, Picture, bars, picture
from sparrow.report.published import Published, arm_of, is_comparable, read_published
from sparrow.report.study import StudyResults
from sparrow.runs.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_HEIGHT = 3.2
BESIDE = 0.02  # of the range of sizes, so that arms of one size do not hide each other
MIN_DEVICE_HOURS = 0.1  # below, hours tell of how busy the machine was
MARKERS = "osD^vPX*<>"
LINES = ("-", "--", "-.", ":")
FACES = ("black", "white", "0.65")


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
    panels = [Panel(s, name, _scaling_panel(s, name)) for s in studies if curves(s) for name in s.measures]
    return picture("scaling", "Score by number of samples", panels, lambda study: PANEL_HEIGHT)


def _scaling_panel(study: StudyResults, name: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
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
        axes.set_xlabel(f"{unit} (curves set side by side)" if len(found) > 1 else unit)
        axes.set_ylabel("score (%)")
        axes.tick_params(labelleft=True)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}K" if value >= 1000 else f"{value:g}")

    return draw


def _published_lines(axes: Axes, study: StudyResults, found: list[Curve], table: Published, name: str) -> None:
    """Published scores of our backbone over the sizes of our arms of the same name, one dotted line a curve."""
    swept = str(size_factor(study)).rsplit(".", 1)[-1]
    for curve, marker in zip(found, cycle("+x1234")):
        points = []
        for label, cells in table.arms.items():
            arm, size = arm_of(label, table, study), spelt_factors(label).get(swept)
            if name not in cells or arm is None or size is None or not is_comparable(table, arm):
                continue
            if any(arm is own for own in curve.arms):
                points.append((float(size), cells[name]))
        if points and name in table.zero_shot:
            points.append((0.0, table.zero_shot[name]))
        if points:
            x, y = zip(*sorted(points), strict=True)
            text = f"published: {table.backbone}, {curve.label}"
            axes.plot(x, y, color="0.45", linestyle=":", marker=marker, linewidth=1, label=text)


def _line(axes: Axes, points: list[tuple[float, Estimate]], label: str, style: dict[str, Any]) -> None:
    x, y = [size for size, _ in points], [100 * estimate.mean for _, estimate in points]
    axes.errorbar(x, y, yerr=_bounds([e for _, e in points]), capsize=3, elinewidth=0.8, label=label, **style)


def _bounds(estimates: list[Estimate]) -> list[list[float]]:
    below = [100 * (e.mean - e.low) if e.low is not None else 0.0 for e in estimates]
    above = [100 * (e.high - e.mean) if e.high is not None else 0.0 for e in estimates]
    # A bound of a bootstrap may lie a hair on the wrong side of the mean of a few questions.
    return [[max(0.0, value) for value in below], [max(0.0, value) for value in above]]


def _against(
    studies: list[StudyResults], name: str, what: str, amount: Callable[[Arm], float | None]
) -> Picture | None:
    panels = [
        Panel(study, measure, _against_panel(study, measure, what, amount))
        for study in studies
        if sum(amount(arm) is not None for arm in study.arms) > 1
        for measure in study.measures
    ]
    return picture(f"score_by_{name}", f"Score by {what}", panels, lambda study: PANEL_HEIGHT)


def _against_panel(
    study: StudyResults, measure: str, what: str, amount: Callable[[Arm], float | None]
) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        next_style = _styles()
        for arm in study.arms:
            style, x, found = next_style(), amount(arm), arm.estimate(measure)
            if x is not None and found:
                _line(axes, [(x, found)], arm.label, {**style, "linestyle": "none"})
        axes.set_xlabel(what)
        axes.locator_params(axis="x", nbins=4)
        axes.set_ylabel("score (%)")
        axes.tick_params(labelleft=True)

    return draw


def _diversity_sizes(study: StudyResults) -> set[int]:
    """Of how many instructions the runs' diversity is; it grows with them, so that unequal ones are not drawn."""
    return {record.diversity.num_instructions for arm in study.arms for record in arm.counted if record.diversity}


def _diversity(arm: Arm) -> float | None:
    return arm.mean_of(vendi_score(record) for record in arm.counted)


def vendi_score(record: RunRecord) -> float | None:
    """The Vendi score of the instructions of a run's whole mixture, where it is stored."""
    return record.diversity.mixture.get("vendi_score") if record.diversity else None
