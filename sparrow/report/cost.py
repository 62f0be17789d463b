"""Tables of what data was worth: gains and their price, equivalent samples, fitted curves, published numbers."""

from __future__ import annotations

import math

from sparrow.analysis.scaling import POWER_LAW, CurveFit, EquivalentSamples, Located, gain_per
from sparrow.core.tables import NOTHING, Table, number, percent
from sparrow.report.data_value import areas, curves, equivalents_of, fits
from sparrow.report.published import Published, arm_of, asked_otherwise, backbones_of, is_comparable, read_published
from sparrow.report.study import ZERO_SHOT, StudyResults
from sparrow.report.table_words import Row, worded


def prices(study: StudyResults) -> Table:
    """What each arm gained over its zero-shot score, by what the gain took."""
    rows: list[Row] = []
    for name in study.measures:
        for arm in study.arms:
            gain = study.gain(arm, name)
            if gain is not None:
                took = (arm.samples, 1e3), (arm.tokens, 1e6), (arm.device_hours if arm.on_gpu else None, 1.0)
                per = (_points(gain_per(gain, amount, unit)) for amount, unit in took)
                rows.append((name, arm.label, percent(gain, signed=True), *per))
    return worded("prices", rows)


def shared_steps(study: StudyResults) -> Table:
    """Where sizes share the steps before their decay (`study.trunk`): what each trained, and all of them together."""
    counts = [
        (arm.label, sum(r.num_steps_done for r in arm.records), sum(r.num_steps_taken_over for r in arm.records))
        for arm in study.arms
    ]
    rows: list[Row] = [(label, f"{done:,}", f"{taken:,}", f"{done - taken:,}") for label, done, taken in counts if done]
    done, taken = sum(count[1] for count in counts), sum(count[2] for count in counts)
    share = f"; together {done - taken:,} of {done:,} ({(done - taken) / done:.2f})" if done else ""
    return worded("shared_steps", rows if taken else [], share=share)


def _points(value: float | None) -> str:
    return NOTHING if value is None else f"{round(100 * value, 9):+.3g}"


def equivalents(study: StudyResults) -> Table:
    """How many samples of the baseline reach the score of each other arm."""
    rows: list[Row] = []
    baseline = next((curve.label for curve in curves(study)), "")
    for name in study.measures:
        own = equivalents_of(study, name)
        if len(own) > 1 and len({str(found) for _, found in own}) == 1 and isinstance(own[0][1], str):
            rows.append((name, "all arms", *_equivalent(own[0][1])))
        else:
            rows += [(name, arm.label, *_equivalent(found, arm.samples or 1.0)) for arm, found in own]
    return worded("equivalents", rows, baseline=baseline)


def _equivalent(equivalent: EquivalentSamples | str, own: float = 1.0) -> Row:
    if isinstance(equivalent, str):
        return f"none: {equivalent}", NOTHING, NOTHING, NOTHING
    smallest, largest = equivalent.smallest, equivalent.largest

    def written(located: Located, divisor: float, digits: int) -> str:
        if located.samples is not None:
            return number(located.samples / divisor, digits)
        sign, end = ("<", smallest) if located.side < 0 else (">", largest)
        return f"{sign} {number(end / divisor, digits)}"

    cells = []
    for divisor, digits in ((1.0, 0), (own, 2)):
        bounds = [written(bound, divisor, digits) for bound in equivalent.interval or ()]
        cells += [written(equivalent.found, divisor, digits), f"[{', '.join(bounds)}]" if bounds else NOTHING]
    if equivalent.found.samples is None:
        cells[0] = f"outside the measured range: {cells[0]}"
    return tuple(cells)


def fitted(study: StudyResults) -> Table:
    """The curve fitted to each line of arms with its residuals, and the area under the curve."""
    rows: list[Row] = []
    ranges = []
    for name in study.measures if curves(study) else ():
        area = areas(study, name)
        if area is not None:
            ranges.append(f"{name}: {number(area[0][0])} to {number(area[0][1])}")
        for curve, fit in fits(study, name):
            under = percent(area[1].get(curve.label)) if area else NOTHING
            if isinstance(fit, CurveFit):
                formula = _formula(fit)
                pairs = zip(fit.sizes, fit.residuals, strict=True)
                residuals = ", ".join(f"{number(size)}: {percent(rest, signed=True, digits=2)}" for size, rest in pairs)
                rows.append((name, curve.label, formula, residuals, percent(fit.rmse, digits=2), under))
            elif len(curve.arms) > 1 or under != NOTHING:  # one size makes no curve
                rows.append((name, curve.label, f"none: {fit}", NOTHING, NOTHING, under))
    power_law = "100 - s(n) = c n^-b, to the logarithms of the errors"
    form = power_law if study.study.fit == POWER_LAW else "s(n) = a + b ln n"
    return worded("fitted", rows, form=form, ranges=f" ({'; '.join(ranges)})" if ranges else "")


def _formula(fit: CurveFit) -> str:
    if fit.form == POWER_LAW:
        return f"100 - {100 * math.exp(-fit.intercept):.3g} n^{-fit.slope:.3g}"
    return f"{percent(fit.intercept)} {percent(fit.slope, signed=True)} ln n"


def published(study: StudyResults) -> Table:
    """Published numbers beside ours: scores of the same backbone, asked alike; of others only the gain."""
    tables, problems = read_published(study.study.published)
    otherwise: dict[str, None] = {}  # how ours were asked
    rows: list[Row] = [row for table in tables for row in _published_rows(table, study, otherwise)]
    rows += [(problem, *[NOTHING] * 6) for problem in problems]
    return worded(
        "published",
        rows,
        backbones=", ".join(backbones_of(study)) or "unknown backbone",
        sources="; ".join(f"{table.backbone}: {table.source}" for table in tables),
        otherwise=f" Left out, since ours were asked otherwise: {'; '.join(otherwise)}." if otherwise else "",
        asked=f" Ours were asked: {study.asked}." if study.asked else "",
    )


def _published_rows(table: Published, study: StudyResults, otherwise: dict[str, None]) -> list[Row]:
    """Rows with something to compare: a score of our backbone, asked as ours, or a gain; `otherwise` gets the rest."""
    trained = [arm for arm in study.arms if is_comparable(table, arm)]
    rows: list[Row] = []
    for name, score in table.zero_shot.items() if trained else ():
        if difference := asked_otherwise(table, trained[0], name):
            otherwise[difference] = None
            continue
        mine = study.zero_shot(trained[0], name)
        ours = percent(mine.mean) if mine else NOTHING
        rows.append((table.backbone, ZERO_SHOT, name, f"{score:.1f}", NOTHING, ours, NOTHING))
    for label, cells in table.arms.items():
        arm = arm_of(label, table, study)
        for name, score in cells.items():
            zero, mine = table.zero_shot.get(name), arm.estimate(name) if arm else None
            difference = asked_otherwise(table, arm, name) if arm and trained else ""
            if difference:
                otherwise[difference] = None
            if zero is None and (difference or not trained):
                continue
            numbers = (
                f"{score:.1f}" if trained and not difference else NOTHING,
                NOTHING if zero is None else f"{score - zero:+.1f}",
                percent(mine.mean) if mine else NOTHING,
                percent(study.gain(arm, name), signed=True) if arm else NOTHING,
            )
            rows.append((table.backbone, label, name, *numbers))
    return rows
