"""What a report says about a study, table by table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparrow.analysis.scores import paper_means
from sparrow.runs.collect import EVERY_CATEGORY
from sparrow.runs.record import Accuracy, RunRecord, Score
from sparrow.runs.report.results import Arm, Comparison, StudyResults
from sparrow.runs.tables import NOTHING, Table, duration, interval, p_value, percent, short_count

Row = tuple[str, ...]


def full_tables(study: StudyResults) -> list[Table]:
    """All tables that have something to say, in the order of the written report."""
    sections = (scores, protocols, means, between_arms, within_arms, categories, published, unfinished, data)
    return [table for section in sections if (table := section(study)).rows]


def short_tables(study: StudyResults) -> list[Table]:
    """What a terminal shows after a run: scores and costs, how they were asked, differences, and what went wrong."""
    sections = (short_scores, protocols, means, against_first_arm, unfinished)
    return [table for section in sections if (table := section(study)).rows]


def scores(study: StudyResults) -> Table:
    """Accuracy by arm and benchmark, with all that it took."""
    header = ("samples", "visual tokens", "text tokens", "supervised", "time")

    def cost(record: RunRecord) -> Row:
        counts = (record.num_samples, record.tokens.visual, record.tokens.text, record.tokens.supervised)
        return (*(f"{count:,}" for count in counts), duration(record.total_time_s))

    return _scores(
        study,
        header,
        cost,
        "Accuracies in percent; the interval is that of *after*. Guessing exceeds the bound of chance in 5 % of cases. "
        "*Blind* is the trained model without frames. Supervised tokens are a part of the text tokens.",
    )


def short_scores(study: StudyResults) -> Table:
    """The same, narrow enough for a terminal."""

    def cost(record: RunRecord) -> Row:
        return (short_count(record.num_samples), short_count(record.tokens.total), duration(record.total_time_s))

    return _scores(study, ("samples", "tokens", "time"), cost)


def _scores(study: StudyResults, cost_header: Row, cost: Callable[[RunRecord], Row], note: str = "") -> Table:
    header = ("benchmark", "arm", "before", "after", "95 % interval", "gain", "chance (bound)", "blind", *cost_header)
    rows = []
    for benchmark in [*study.benchmarks, NOTHING]:
        for arm in study.arms:
            record = arm.run.record
            costs = cost(record) if record else (NOTHING,) * len(cost_header)
            if benchmark in (record.scores if record and record.scores else [NOTHING]):
                rows.append((benchmark, arm.title, *_accuracies(arm, benchmark), *costs))
    return Table("Scores", header, rows, left=2, note=note)


def _accuracies(arm: Arm, benchmark: str) -> Row:
    before, after, blind = (arm.score(benchmark, phase) for phase in ("before", "after", "blind"))
    gain = NOTHING
    if after and before and after.accuracy is not None and before.accuracy is not None:
        gain = percent(after.accuracy - before.accuracy, signed=True)
    bounds = interval(after.low, after.high) if after else NOTHING
    return _share(before), _share(after), bounds, gain, _chance(after or before), _share(blind)


def _share(part: Accuracy | None) -> str:
    return percent(part.accuracy) if part else NOTHING


def _chance(part: Accuracy | None) -> str:
    return f"{percent(part.chance)} ({percent(part.chance_bound)})" if part else NOTHING


def protocols(study: StudyResults) -> Table:
    """Each benchmark's own score and how its questions were asked, without which a number compares with nothing."""
    rows = [
        (
            *(benchmark, arm.label, _asked(after), percent(after.official)),
            *(interval(*(after.official_interval or (None, None))), percent(after.accuracy)),
            percent(after.macro_accuracy),
            *(str(n) for n in (after.num_questions, after.num_unanswered, after.num_unscored)),
        )
        for benchmark in study.benchmarks
        for arm in study.arms
        if (after := arm.score(benchmark, "after")) and after.protocol
    ]
    header = ("benchmark", "arm", "asked", "score", "95 % interval", "micro", "macro", "questions")
    return Table(
        "Benchmarks and protocols",
        (*header, "unanswered", "unscored"),
        rows,
        left=3,
        note="Score: the benchmark's own, of the named kind. Micro: over all questions; macro: mean of the categories. "
        "Unanswered questions count as wrong; unscored ones have no options, need a judge, and are in no denominator.",
    )


def _asked(score: Score) -> str:
    how = score.protocol
    tasks = f", tasks {' '.join(how['tasks'])}" if how.get("tasks") else ""
    return (
        f"prompts {how.get('protocol')}, frames {how.get('frames')}, subtitles {how.get('subtitles')}, "
        f"{score.scoring}, options {how.get('options')}{tasks}; score: {score.metric}; {how.get('note')}"
    )


def means(study: StudyResults) -> Table:
    """The paper's two means, where all their benchmarks were asked."""
    rows = []
    for arm in study.arms:
        after = [score for name in study.benchmarks if (score := arm.score(name, "after"))]
        found = paper_means({str(score.protocol.get("format")): score for score in after})
        if found:
            rows.append((arm.label, *(percent(found.get(name)) for name in ("general", "long"))))
    note = (
        "General: mean of Video-MME, MVBench, TempCompass multi-choice; long: of long Video-MME, LongVideoBench, MLVU."
    )
    return Table("Means over benchmarks (arXiv 2411.19951)", ("arm", "general", "long"), rows, note=note)


def between_arms(study: StudyResults) -> Table:
    """Paired differences between arms after training."""
    return _between(
        study.between,
        "Second minus first over the same questions after training, in percentage points, with its 95 % interval "
        "(bootstrap over videos) and the exact p of McNemar's test; not adjusted for the number of comparisons.",
    )


def against_first_arm(study: StudyResults) -> Table:
    """The same against the first arm only, of which a terminal has room for all."""
    comparisons = [c for c in study.between if c.first[0] is study.arms[0]]
    others = len(study.between) - len(comparisons)
    return _between(comparisons, f"{others} more comparisons are in the written report." if others else "")


def _between(comparisons: list[Comparison], note: str) -> Table:
    rows = [(c.benchmark, c.first[0].label, c.second[0].label, c.verdict, *_difference(c)) for c in comparisons]
    header = ("benchmark", "first", "second", "second is", *_DIFFERENCE_HEADER)
    return Table("Differences between arms", header, rows, left=4, note=note)


def within_arms(study: StudyResults) -> Table:
    """Paired differences of an arm to itself: before training, and without frames."""
    rows = [(c.benchmark, c.first[0].label, c.first[1], c.verdict, *_difference(c)) for c in study.within]
    return Table(
        "What training and frames gave",
        ("benchmark", "arm", "against", "after is", *_DIFFERENCE_HEADER),
        rows,
        left=4,
        note="After training, against before it and against the trained model without frames (*blind*).",
    )


_DIFFERENCE_HEADER = ("difference", "95 % interval", "p")


def _difference(comparison: Comparison) -> Row:
    result = comparison.result
    if result is None:
        return (NOTHING,) * len(_DIFFERENCE_HEADER)
    bounds = interval(result.low, result.high, signed=True)
    return percent(result.difference, signed=True), bounds, p_value(result.p_value)


def categories(study: StudyResults) -> Table:
    """Accuracy after training by category of question, an arm a column."""
    rows = []
    arms = [arm for arm in study.arms if any(arm.score(benchmark, "after") for benchmark in study.benchmarks)]
    for benchmark in study.benchmarks:
        afters = [arm.score(benchmark, "after") for arm in arms]
        names = sorted({name for after in afters if after for name in after.by_category})
        for category in [EVERY_CATEGORY, *names]:
            parts = [_part(after, category) for after in afters]
            if known := next((part for part in parts if part), None):
                rows.append((benchmark, category, str(known.num_questions), _chance(known), *map(_share, parts)))
    header = ("benchmark", "category", "questions", "chance (bound)", *(arm.title for arm in arms))
    return Table("By category, after training", header, rows, left=2)


def _part(score: Score | None, category: str) -> Accuracy | None:
    if score is None or category == EVERY_CATEGORY:
        return score
    return score.by_category.get(category)


def published(study: StudyResults) -> Table:
    """Published numbers beside ours; both in percent, each with the backbone that it was measured on.

    `study.published` reads `backbone: {arm: {benchmark: percent}}`; other entries are printed as they are.
    """
    known, other = _published_rows(study.study.published)
    ours = {
        (f"ours: {_backbone(arm.run.record)}", arm.title): {
            benchmark: percent(score.accuracy)
            for benchmark in study.benchmarks
            if (score := arm.score(benchmark, "after"))
        }
        for arm in study.arms
        if arm.run.record
    }
    rows = {**ours, **known} if study.study.published else {}
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    return Table(
        "Published",
        ("backbone", "arm", *columns),
        [(*names, *(cells.get(column, NOTHING) for column in columns)) for names, cells in rows.items()],
        left=2,
        note="Numbers compare within a backbone only. " + " ".join(f"{key}: {value}." for key, value in other.items()),
    )


def _published_rows(entries: dict[str, Any]) -> tuple[dict[tuple[str, str], dict[str, str]], dict[str, Any]]:
    rows, other = {}, {}
    for backbone, arms in entries.items():
        if isinstance(arms, dict) and all(isinstance(cells, dict) for cells in arms.values()):
            for arm, cells in arms.items():
                rows[backbone, str(arm)] = {str(column): str(value) for column, value in cells.items()}
        else:
            other[backbone] = arms
    return rows, other


def _backbone(record: RunRecord | None) -> str:
    settings = record.config.get("backbone") if record else None
    if not isinstance(settings, dict):
        return "unknown backbone"
    family, checkpoint = settings.get("family"), settings.get("checkpoint")
    if settings.get("tiny"):
        return f"{family}, tiny"
    return Path(checkpoint).name if checkpoint else str(family)


def unfinished(study: StudyResults) -> Table:
    """Runs that did not finish, with the last line of their error."""
    rows: list[Row] = []
    for arm in study.arms:
        run = arm.run
        if run.status == "finished":
            continue
        record = run.record
        if record is None:
            why = run.problem
        elif record.error:
            why = record.error.last_line
        else:
            why = f"last heartbeat {record.heartbeat_at or record.started_at}"
        rows.append((arm.label, run.status, run.label, why))
    return Table("Unfinished runs", ("arm", "status", "folder", "last line"), rows, left=4)


def data(study: StudyResults) -> Table:
    """What became of the requested samples, by arm and component."""
    rows = []
    for arm in study.arms:
        for component, counts in arm.run.record.data.items() if arm.run.record else ():
            reasons = ", ".join(f"{reason}: {n:,}" for reason, n in sorted(counts.rejected_by_reason.items()))
            numbers = (counts.requested, counts.used, counts.rejected, counts.frames)
            tokens = (counts.visual_tokens, counts.text_tokens, counts.supervised_tokens)
            reconciled = "yes" if counts.reconciles else "NO"
            rows.append(
                (arm.label, component, reasons or NOTHING, reconciled, *(f"{n:,}" for n in (*numbers, *tokens)))
            )
    header = ("arm", "component", "rejected for", "reconciled", "requested", "used", "rejected", "frames")
    return Table(
        "Data",
        (*header, "visual tokens", "text tokens", "supervised"),
        rows,
        left=4,
        note="Reconciled: requested = used + rejected, every rejection has a reason. Tokens are those of one epoch.",
    )
