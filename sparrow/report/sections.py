"""What a report says about a study, table by table: scores, data, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sparrow.analysis.scores import PAPER_MEANS, Accuracy, names_by_format
from sparrow.analysis.seeds import Estimate
from sparrow.core.tables import DAGGER, NOTHING, Table, duration, interval, mean_and_sd, number, percent, short_count
from sparrow.report.arm import Arm
from sparrow.report.cost import equivalents, fitted, prices, published, shared_steps
from sparrow.report.difference_tables import against_baseline, between_arms, by_category, within_arms
from sparrow.report.study import StudyResults
from sparrow.report.table_words import Row, worded
from sparrow.runs.record import Phase

MAX_NAMED_ARMS = 4


def full_tables(study: StudyResults) -> list[Table]:
    """All tables that have something to say, in the order of the written report."""
    return _tables(
        study,
        *(results, scores, protocols, prices, shared_steps, equivalents, fitted, between_arms, within_arms),
        *(categories, by_category, published, differences, to_look_at, data),
    )


def paper_tables(study: StudyResults) -> list[Table]:
    """The tables that fit into a paper, for LaTeX."""
    return _tables(study, results, short_scores, prices, equivalents, fitted, between_arms, published, differences)


def short_tables(study: StudyResults) -> list[Table]:
    """What a terminal shows after a run: scores and costs, how they were asked, differences, and what went wrong."""
    return _tables(
        study,
        *(short_results, short_scores, shared_steps, short_protocols, equivalents, against_baseline, differences),
        to_look_at,
    )


def _tables(study: StudyResults, *sections: Callable[[StudyResults], Table]) -> list[Table]:
    """Tables with rows; those that lay arms side by side are marked where arms differ in what is not declared."""
    tables = []
    for section in sections:
        table = section(study)
        if table.rows and study.confounds and section not in UNMARKED:
            what = ", ".join(difference.what for difference in study.confounds[:3])
            more = f" and {len(study.confounds) - 3} more" if len(study.confounds) > 3 else ""
            note = f"{DAGGER} The runs differ in more than the declared factors: {what}{more} (Undeclared differences)."
            table = replace(table, marked=True, note=f"{table.note} {note}".strip())
        if table.rows:
            tables.append(table)
    return tables


def results(study: StudyResults) -> Table:
    """One row an arm, one column a benchmark: the score over seeds, the best in bold, beside what it took."""

    def cost(arm: Arm) -> Row:
        hours = number(arm.device_hours, 2) if arm.on_gpu else NOTHING
        return str(len(arm.counted)), number(arm.samples), number(arm.tokens), hours

    return _results(study, ("runs", "samples", "tokens", "GPU hours"), cost)


def short_results(study: StudyResults) -> Table:
    """The same, narrow enough for a terminal; nothing where it would say no more than the scores below it."""
    if len(study.measures) < 2 and all(len(arm.runs) == 1 for arm in study.arms):
        return Table("Results", (), [])
    return _results(study, ("runs",), lambda arm: (str(len(arm.counted)),))


def _results(study: StudyResults, cost_header: Row, cost: Callable[[Arm], Row]) -> Table:
    found = [[arm.estimate(name) for name in study.measures] for arm in study.arms]
    rows = [
        (arm.title, *(_mean(estimate) for estimate in estimates), *cost(arm))
        for arm, estimates in zip(study.arms, found, strict=True)
    ]
    bold: set[tuple[int, int]] = set()
    for column in range(len(study.measures)):
        shown = {row: percent(e.mean) for row, estimates in enumerate(found) if (e := estimates[column])}
        best = max(shown.values(), key=float, default=None)
        bold |= {(row, column + 1) for row, text in shown.items() if text == best and len(shown) > 1}
    several = any(estimate and estimate.sd is not None for estimates in found for estimate in estimates)
    over_seeds = "Mean and sample standard deviation over seeds; a single run has none."
    seeds = over_seeds if several else "A single seed: no standard deviation."
    means = (
        " general: mean of Video-MME, MVBench, TempCompass multi-choice; long: of long Video-MME, LongVideoBench, "
        f"MLVU (arXiv 2411.19951). Evaluated here: {study.asked}."
    )
    said = {"seeds": seeds, "means": means if set(study.measures) & set(PAPER_MEANS) else ""}
    columns = (*study.measures, *cost_header)
    return worded("results", rows if study.measures else [], columns, bold, **said, formats=_note_of_formats(study))


def _note_of_formats(study: StudyResults) -> str:
    """Which benchmark the paper's means are of where several have one format."""
    scores = {n: s for arm in study.arms for r in arm.records for n, p in r.scores.items() if (s := p.get("after"))}
    return "".join(
        f" Of the format {kind}: {', '.join(own)}; general and long are of {kind if kind in own else 'none of them'}."
        for kind, own in names_by_format(scores).items()
        if len(own) > 1 and any(kind in parts for parts in PAPER_MEANS.values())
    )


def _mean(estimate: Estimate | None) -> str:
    return mean_and_sd(estimate.mean, estimate.sd) if estimate else NOTHING


def scores(study: StudyResults) -> Table:
    """Accuracy by arm and benchmark, with all that it took."""
    header = ("samples", "visual tokens", "text tokens", "supervised", "time", "device hours")

    def cost(arm: Arm) -> Row:
        records = [record for record in arm.counted if record.command == "train"]
        kinds = ("visual", "text", "supervised")
        counts = [arm.mean_of(getattr(record.tokens, kind) for record in records) for kind in kinds]
        seen = arm.mean_of(record.num_samples for record in records)
        hours = number(arm.device_hours, 2) + ("" if arm.device_hours is None else " GPU" if arm.on_gpu else " CPU")
        return (*(number(count) for count in (seen, *counts)), _time(arm), hours)

    return _scores("scores", study, header, cost)


def short_scores(study: StudyResults) -> Table:
    """The same, narrow enough for a terminal."""

    def cost(arm: Arm) -> Row:
        seen = arm.mean_of(record.num_samples for record in arm.counted if record.command == "train")
        amounts = (seen, arm.tokens)
        return (*(NOTHING if n is None else short_count(round(n)) for n in amounts), _time(arm))

    return _scores("short_scores", study, ("samples", "tokens", "time"), cost)


def _time(arm: Arm) -> str:
    seconds = arm.mean_of(record.total_time_s for record in arm.counted)
    return NOTHING if seconds is None else duration(seconds)


def _scores(name: str, study: StudyResults, cost_header: Row, cost: Callable[[Arm], Row]) -> Table:
    one_frame = any(arm.scores(benchmark, "one_frame") for benchmark in study.benchmarks for arm in study.arms)
    baselines: tuple[Phase, ...] = ("blind", "one_frame") if one_frame else ("blind",)
    titles = (phase.replace("_", " ") for phase in baselines)
    if not study.benchmarks:
        return Table("Runs", ("arm", *cost_header), [(arm.title, *cost(arm)) for arm in study.arms])
    rows = []
    for benchmark in [*study.benchmarks, NOTHING]:
        for arm in study.arms:
            evaluated = {name for record in arm.records for name in record.scores}
            if benchmark in (evaluated or {NOTHING}):
                rows.append((benchmark, arm.title, *_accuracies(arm, benchmark, baselines), *cost(arm)))
    return worded(name, rows, (*titles, *cost_header))


def _accuracies(arm: Arm, benchmark: str, baselines: tuple[Phase, ...]) -> Row:
    before, after = arm.accuracy(benchmark, "before"), arm.accuracy(benchmark, "after")
    shares = (_share(arm.accuracy(benchmark, phase)) for phase in baselines)
    gain = percent(arm.gain(f"{benchmark}.accuracy"), signed=True)
    bounds = interval(after.low, after.high) if after else NOTHING
    known = [*arm.scores(benchmark, "after"), *arm.scores(benchmark, "before")]
    return _share(before), _share(after), bounds, gain, _chance(known[0] if known else None), *shares


def _share(found: Estimate | None) -> str:
    return percent(found.mean) if found else NOTHING


def _chance(part: Accuracy | None) -> str:
    return f"{percent(part.chance)} ({percent(part.chance_bound)})" if part else NOTHING


def protocols(study: StudyResults) -> Table:
    """Each benchmark's own score and how its questions were asked, without which a number compares with nothing."""
    rows = []
    for benchmark in study.benchmarks:
        above = ""
        for arm in study.arms:
            after = [score for score in arm.scores(benchmark, "after") if score.protocol]
            own, micro = arm.estimate(benchmark), arm.accuracy(benchmark)
            if not after:
                continue
            asked = "as above" if after[0].asked == above else after[0].asked
            above = after[0].asked
            macro = arm.mean_of(score.macro_accuracy for score in after)
            counted = ("num_questions", "num_unanswered", "num_not_asked", "num_unscored")
            counts = (arm.mean_of(getattr(score, name) for score in after) for name in counted)
            bounds = interval(own.low, own.high) if own else NOTHING
            numbers = (_mean(own), bounds, _share(micro), percent(macro), *(f"{count:,.10g}" for count in counts))
            rows.append((benchmark, arm.label, asked, *numbers))
    return worded("protocols", rows)


def short_protocols(study: StudyResults) -> Table:
    """The same, with how each benchmark was asked on a line of its own, for which a column is too narrow."""
    table = protocols(study)
    asked = [f"{row[0]}, {row[1]}: {row[2]}." for row in table.rows if row[2] != "as above"]
    header, *rows = ((*row[:2], *row[3:]) for row in (table.header, *table.rows))
    return replace(table, header=header, rows=rows, left=2, note="\n".join([*asked, table.note]))


def categories(study: StudyResults) -> Table:
    """Accuracy after training by category of question, an arm a column."""
    rows = []
    for benchmark in study.benchmarks:
        afters = [score for arm in study.scored for score in arm.scores(benchmark, "after")]
        for category in study.categories(benchmark):
            known = next(part for after in afters if (part := after.by_category.get(category)))
            shares = (_mean(arm.accuracy(benchmark, category=category)) for arm in study.scored)
            rows.append((benchmark, category, str(known.num_questions), _chance(known), *shares))
    return worded("categories", rows, tuple(arm.title for arm in study.scored))


def differences(study: StudyResults) -> Table:
    """What the runs differ in that is no declared factor: one row per value."""

    def named(arms: tuple[str, ...]) -> str:
        more = len(arms) - MAX_NAMED_ARMS
        return "; ".join(arms[:MAX_NAMED_ARMS]) + (f"; and {more} more" if more > 0 else "")

    rows = [(d.what, value, named(arms)) for d in study.confounds for value, arms in d.arms.items()]
    return worded("differences", rows)


def to_look_at(study: StudyResults) -> Table:
    """Runs that did not finish, with the last line of their error, and those that are counted otherwise than meant."""
    rows: list[Row] = []
    unfinished = [(arm.label, run) for arm in study.arms for run in arm.runs if run.status != "finished"]
    for label, run in unfinished:
        record = run.record
        if record is None:
            why = run.problem
        elif record.error:
            why = record.error.last_line
        else:
            why = f"last heartbeat {record.heartbeat_at or record.started_at}"
        rows.append((label, run.status, run.label, why))
    rows += [(NOTHING, run.status, run.label, why) for run, why in study.remarks]
    return worded("to_look_at", rows)


def data(study: StudyResults) -> Table:
    """What became of the requested samples, by arm and component."""
    rows = []
    for arm in study.arms:
        for run in arm.runs:
            label = arm.label if len(arm.runs) == 1 else f"{arm.label}, seeds {'/'.join(map(str, run.seeds))}"
            for component, counts in run.record.data.items() if run.record else ():
                reasons = ", ".join(f"{reason}: {n:,}" for reason, n in sorted(counts.rejected_by_reason.items()))
                numbers = [counts.requested, counts.used, counts.rejected, counts.failed, counts.frames]
                numbers += [counts.visual_tokens, counts.text_tokens, counts.supervised_tokens]
                said = (reasons or NOTHING, "yes" if counts.reconciles else "NO")
                rows.append((label, component, *said, *(f"{n:,}" for n in numbers)))
    return worded("data", rows)


UNMARKED = (shared_steps, differences, to_look_at, data)
