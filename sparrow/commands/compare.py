"""Two runs side by side: what differs in their settings and their data, and what each scored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sparrow.analysis.answers import read_predictions
from sparrow.analysis.intervals import MIN_CLUSTERS
from sparrow.analysis.paired import paired_difference
from sparrow.analysis.scores import Score
from sparrow.commands.checkpoint_settings import ALIKE
from sparrow.core.errors import DataError, RunError
from sparrow.core.tables import NOTHING, Table, counted, duration, interval, p_value, percent
from sparrow.runs.differences import leaves
from sparrow.runs.find import PHASES
from sparrow.runs.record import FILE_NAME, MANIFEST, RunRecord
from sparrow.settings import SCHEMAS, is_recorded

Row = tuple[str, ...]
COUNTED = ["num_frames", "visual_tokens", "text_tokens", "supervised_tokens"]


@dataclass(frozen=True)
class RunFolder:
    """What a folder holds of a run; a folder of `sparrow prepare` has data only."""

    folder: Path
    record: RunRecord | None
    manifest: Mapping[str, Any] | None
    ledger: pd.DataFrame | None


def read_run(folder: Path) -> RunFolder:
    """What is there of a run.

    Raises:
        RunError: If there is neither a record nor a plan, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise RunError(f"{str(folder)!r} is not a folder; name the folder of a run")
    record = RunRecord.load(folder) if (folder / FILE_NAME).is_file() else None
    manifest, ledger = folder / MANIFEST, folder / "ledger.parquet"
    if record is None and not manifest.is_file():
        raise RunError(f"{folder}: there is no {FILE_NAME} and no manifest.json; name the folder of one run")
    try:
        counts = json.loads(manifest.read_text()) if manifest.is_file() else None
        return RunFolder(folder, record, counts, pd.read_parquet(ledger) if ledger.is_file() else None)
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}: its manifest or ledger cannot be read ({error}); prepare the run again") from None


def compare(first: Path, second: Path) -> str:
    """What differs between two runs, as tables in plain text.

    Raises:
        RunError: If one of the folders holds no run.
    """
    one, other = read_run(first), read_run(second)
    tables = [_runs(one, other), *_settings(one, other), *_data(one, other), *_scores(one, other)]
    tables += paired_tables(first, one.record, second, other.record)
    return "\n".join(table.text() for table in tables)


def _runs(one: RunFolder, other: RunFolder) -> Table:
    facts = zip(_facts(one), _facts(other), strict=True)
    rows: list[Row] = [(name, a, b) for (name, a), (_, b) in facts if (a, b) != (NOTHING, NOTHING)]
    note = "" if one.record and other.record else f"Settings are kept where there is a {FILE_NAME}: not compared."
    return Table("Runs", ("", "A", "B"), rows, left=3, note=note)


def _facts(run: RunFolder) -> Iterator[tuple[str, str]]:
    record, manifest = run.record, run.manifest or {}
    yield "folder", str(run.folder)
    yield "run_id", record.run_id if record else NOTHING
    yield "status", f"{record.command}, {record.status}" if record else "prepare"
    yield "parent", (record.parent if record else None) or NOTHING
    yield "plan", str(manifest.get("content_hash", NOTHING))
    steps = counted(manifest["num_steps"], "step") if manifest else NOTHING
    yield "samples", f"{manifest['num_samples']:,} in {steps}" if manifest else NOTHING
    yield "final loss", f"{record.final_loss:.4f}" if record and record.final_loss is not None else NOTHING
    yield "time", duration(record.total_time_s) if record else NOTHING
    git = record.git if record else None
    yield "revision", str(git or NOTHING)


def _settings(one: RunFolder, other: RunFolder) -> Iterator[Table]:
    if one.record is None or other.record is None:
        return
    schemas = {SCHEMAS[one.record.command], SCHEMAS[other.record.command]}
    differing = _differing(one.record.config, other.record.config)
    if len(schemas) > 1:  # a run and an evaluation, where null is the checkpoint's own
        alike = (*ALIKE, "benchmark.")
        differing = [row for row in differing if row[0].startswith(alike) and not {NOTHING, "None"} & {*row[1:]}]
    recorded = [row for row in differing if any(is_recorded(schema, row[0]) for schema in schemas)]
    changing = [row for row in differing if row not in recorded]
    note = "" if changing else "None differs."
    note += "" if len(schemas) == 1 else " A run and an evaluation share those of the benchmarks, frames and world."
    yield Table("Settings that determine the result", ("setting", "A", "B"), changing, left=3, note=note)
    if recorded:
        yield Table("Settings that do not", ("setting", "A", "B"), recorded, left=3)
    if versions := _differing(one.record.versions, other.record.versions):
        yield Table("Versions", ("package", "A", "B"), versions, left=3)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Row]:
    """Leaves that differ between two documents, by key; a leaf that one lacks is `-`."""
    mine, theirs = dict(leaves(one)), dict(leaves(other))
    keys = [key for key in {**mine, **theirs} if key not in mine or key not in theirs or mine[key] != theirs[key]]
    return [(key, *(str(leaves.get(key, NOTHING)) for leaves in (mine, theirs))) for key in keys]


def _data(one: RunFolder, other: RunFolder) -> Iterator[Table]:
    if one.ledger is None or other.ledger is None:
        return
    mine, theirs = _used(one.ledger), _used(other.ledger)
    components = list(dict.fromkeys([*mine["component"], *theirs["component"]]))
    rows = [_shared(name, mine[mine["component"] == name], theirs[theirs["component"] == name]) for name in components]
    rows.append(_shared("all", mine, theirs))
    header = ("component", "used A", "used B", "in both", "only A", "only B", "other tokens")
    yield Table("Data", header, rows, note=_order(mine, theirs))


def _used(ledger: pd.DataFrame) -> pd.DataFrame:
    used = ledger[ledger["status"] == "used"]
    return used.assign(key=used["source"] + "/" + used["sample_id"] + "#" + used["showing"].astype(str))


def _shared(name: str, mine: pd.DataFrame, theirs: pd.DataFrame) -> Row:
    one, other = (table.set_index("key")[COUNTED] for table in (mine, theirs))
    both = one.index.intersection(other.index)
    altered = int((one.loc[both] != other.loc[both]).any(axis=1).sum())
    counts = (len(mine), len(theirs), len(both), len(one) - len(both), len(other) - len(both), altered)
    return (name, *(f"{count:,}" for count in counts))


def _order(mine: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """Whether the steps of the first epoch hold the same samples; within a step their order does not count."""
    one, other = (table.groupby("first_step")["key"].agg(frozenset).to_dict() for table in (mine, theirs))
    for step in sorted({*one, *other}):
        if one.get(step) != other.get(step):
            return f"Step {step} is the first that holds other samples; the first is step 0."
    return "Every step holds the same samples."


def _scores(one: RunFolder, other: RunFolder) -> Iterator[Table]:
    mine, theirs = (run.record.scores if run.record else {} for run in (one, other))
    rows: list[Row] = []
    for benchmark in sorted({*mine, *theirs}):
        for phase in PHASES:
            a, b = mine.get(benchmark, {}).get(phase), theirs.get(benchmark, {}).get(phase)
            if a or b:
                rows.append((benchmark, phase, *_score(a), *_score(b)))
    if rows:
        yield Table("Scores in %", ("benchmark", "phase", "A", "95 %", "B", "95 %"), rows, left=2)


def _score(score: Score | None) -> tuple[str, str]:
    if score is None or score.official is None:
        return NOTHING, NOTHING
    return percent(score.official), interval(*(score.official_interval or (None, None)))


HEADER = (
    *("benchmark", "phase", "B is", "B - A", "95 % interval", "p"),
    *("questions", "only A", "only B", "answers differ"),
)


def paired_tables(first: Path, one: RunRecord | None, second: Path, other: RunRecord | None) -> Iterator[Table]:
    """The paired differences; where two cannot be compared, why. Nothing where no benchmark is common."""
    rows = [
        (benchmark, phase, *_compared(first, score, second, theirs))
        for benchmark, phases in sorted(one.scores.items() if one else ())
        for phase, score in phases.items()
        if other and (theirs := other.scores.get(benchmark, {}).get(phase))
    ]
    if rows:
        note = (
            "Of the benchmark's own score, in percentage points, and the questions that it is of. p: McNemar's exact "
            "one where every video has one question and all weigh the same, else of the standard error with videos as "
            f"clusters. Interval: bootstrap over videos; with fewer than {MIN_CLUSTERS} videos, or where all resamples "
            "agree, that of the gains minus the losses, each exact with a video as one trial."
        )
        yield Table("Paired differences", HEADER, rows, left=3, note=note)


def _compared(first: Path, mine: Score, second: Path, theirs: Score) -> tuple[str, ...]:
    try:
        if mine.metric != theirs.metric:
            raise DataError(f"the score is {mine.metric} of A and {theirs.metric} of B")
        answers = read_predictions(first / mine.predictions), read_predictions(second / theirs.predictions)
        result = paired_difference(*answers, mine.metric)
    except DataError as error:
        return f"not compared: {error}", *[NOTHING] * (len(HEADER) - 3)
    verdict = ("higher" if result.difference > 0 else "lower") if result.is_shown else "no difference shown"
    counts = (result.num_questions, result.num_only_first, result.num_only_second, result.num_different)
    bounds = interval(result.low, result.high, signed=True)
    return verdict, percent(result.difference, signed=True), bounds, p_value(result.p_value), *map(str, counts)
