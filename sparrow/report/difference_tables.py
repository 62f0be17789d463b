"""Tables of paired differences: between the arms of a study, and of each arm to itself."""

from __future__ import annotations

from sparrow.core.tables import NOTHING, Table, interval, p_value, percent
from sparrow.report.arm_pairs import Comparison
from sparrow.report.study import StudyResults
from sparrow.report.table_words import Row, worded

UNPAIRED = (
    " Arms of unequal seeds are compared over those that both have, if two or more (3 of 5 seeds); else over all runs "
    "without pairs (3 and 2 runs), which are then the unit (Welch's t), or questions where an arm has a single run."
)


def between_arms(study: StudyResults) -> Table:
    """Paired differences between arms after training."""
    primary = ", ".join(study.study.primary)
    family = f"the comparisons with a baseline on {primary} (other rows are exploratory)" if primary else "all rows"
    unpaired = "" if all(_is_whole(c) for c in study.between) else UNPAIRED
    return worded("between_arms", _between(study.between), family=family, unpaired=unpaired)


def against_baseline(study: StudyResults) -> Table:
    """Those with a baseline only, of which a terminal has room for all."""
    others = len(study.between) - len(study.against_baseline)
    more = f"{others} more comparisons are in the written report." if others else ""
    return worded("against_baseline", _between(study.against_baseline), others=more)


def _between(comparisons: list[Comparison]) -> list[Row]:
    return [
        (c.benchmark, c.first[0].label, c.second[0].label, c.verdict, _unit(c), *_difference(c), p_value(c.adjusted_p))
        for c in comparisons
    ]


def by_category(study: StudyResults) -> Table:
    """Paired differences of each arm to its baseline, one row per category one column per arm."""
    baselines = study.baselines
    others = list(dict.fromkeys(c.second[0].label for c in study.by_category))
    found = {(c.benchmark, c.category, c.second[0].label): c for c in study.by_category}
    rows: list[Row] = []
    bold: set[tuple[int, int]] = set()
    for benchmark, category in dict.fromkeys((c.benchmark, c.category or "") for c in study.by_category):
        own = [found.get((benchmark, category, label)) for label in others]
        bold |= {(len(rows), 2 + i) for i, c in enumerate(own) if c and c.result and c.result.is_shown}
        rows.append((benchmark, category, *(" ".join(_difference(c)[:2]) if c and c.result else NOTHING for c in own)))
    labels = "; ".join(arm.label for arm in baselines)
    meant = "the named one" if len(baselines) < 2 else f"that one of {labels} which shares most of its factors,"
    baseline = labels if len(baselines) == 1 else "the baseline"
    return worded("by_category", rows, tuple(others), bold, baseline=baseline, meant=meant)


def within_arms(study: StudyResults) -> Table:
    """Paired differences of an arm to itself: before training, and without frames."""
    rows = [(c.benchmark, c.first[0].label, c.first[1], c.verdict, _unit(c), *_difference(c)) for c in study.within]
    return worded("within_arms", rows)


def _unit(comparison: Comparison) -> str:
    result = comparison.result
    if result is None:
        return NOTHING
    one, other = comparison.seeds
    if result.num_pairs == 0:
        behind = f"{len(one)} and {len(other)} runs"
    else:
        behind = f"{result.num_pairs}{'' if _is_whole(comparison) else f' of {len(one | other)}'} seeds"
    if result.unit != "question":
        return behind
    return f"{result.num_questions:,} questions" + ("" if _is_whole(comparison) else f", {behind}")


def _is_whole(comparison: Comparison) -> bool:
    """Whether every run of both arms has its pair, as far as they were compared."""
    one, other = comparison.seeds
    return comparison.result is None or comparison.result.num_pairs == len(one | other)


def _difference(comparison: Comparison) -> Row:
    result = comparison.result
    if result is None:
        return (NOTHING,) * 3
    bounds = interval(result.low, result.high, signed=True)
    return percent(result.difference, signed=True), bounds, p_value(result.p_value)
