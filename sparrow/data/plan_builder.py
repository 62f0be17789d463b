"""From a drawn mixture to its plan: samples measured, those that do not fit rejected, the rest ordered into steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparrow.core.hashing import combined_hash, content_hash, hash_order, list_hash
from sparrow.data.encode import Presentation
from sparrow.data.mixture import Selection, nested_turns
from sparrow.data.packing import length_grouped, packed_epoch
from sparrow.data.plan import Origin, Plan, PlanInputs
from sparrow.data.rejecting import FAIL, BadSamples, enforce_policy, reject_long
from sparrow.data.sample_costs import FONT_SEPARATOR, measure_samples
from sparrow.data.settings import Batching
from sparrow.data.sources import SourceData
from sparrow.media.pages import page_fonts
from sparrow.models.flops import ModelFlops
from sparrow.models.settings import Tuning

HASHED_TOGETHER = 10_000  # rows of a ledger
MOST_REASONS = 20  # of rejected records, in a manifest; the texts of some hold what stands in the record


def build_plan(
    selections: Sequence[Selection],
    inputs: PlanInputs,
    batching: Batching,
    *,
    data_seed: int,
    tuning: Tuning | None = None,
    bad_samples: BadSamples = FAIL,
    cache_root: Path | None = None,
) -> Plan:
    """Measure the drawn samples and order them into optimizer steps.

    Every epoch shows each used sample once, in a hash order of its own; the last step of an epoch may be smaller. In
    nested order samples come by their turns, and those that would make a smaller last step are rejected. A sample
    longer than `batching.max_seq_len_tokens` is rejected, never cut.

    `batching` also says how many processes measure; `tuning` which parts learn, for what a sample takes to compute, all
    of them where None. Measurements are kept below `cache_root` for the next run.

    Raises:
        UnusableSamples: If a sample cannot be used (`fail`), too many cannot (`skip`), or none can.
    """
    sources, backbone = inputs.sources, inputs.backbone
    tables = []
    for selection in selections:
        table = measure_component(
            inputs, selection.component, selection.source, selection.rows, batching, cache_root=cache_root
        )
        table.insert(0, "component", selection.component)
        table.insert(1, "source", selection.source)
        table["showing"] = table.groupby("row").cumcount()
        tables.append(table)
    ledger = pd.concat(tables, ignore_index=True)
    reject_long(ledger, min(batching.max_seq_len_tokens, backbone.context_length_tokens))
    enforce_policy(ledger, sources, bad_samples)
    if batching.nested_order:
        turns = _turns(ledger, selections)
        _leave_out_part_of_a_step(ledger, turns, batching.global_batch_size_samples)
    costs = ModelFlops(backbone, tuning)
    ledger["flops"] = costs.training(
        *(ledger[name].to_numpy() for name in ("visual_tokens", "text_tokens", "num_frames", "supervised_tokens"))
    )
    rows = _rows(ledger, batching, data_seed, turns if batching.nested_order else None)
    steps = [np.concatenate(step) for step in rows]
    origins = {
        selection.component: _origin(selection, sources[selection.source], inputs.presentations[selection.component])
        for selection in selections
    }
    fonts = plan_fonts(ledger, inputs)
    content = _plan_hash(ledger, steps, inputs)
    if ledger["complex_characters"].any():  # plans without such texts keep the hash that they had before
        content = combined_hash([content, content_hash([ledger["complex_characters"].tolist(), fonts])])
    return Plan(
        ledger, steps, content, origins, batching, rows if batching.name == "packed_epoch" else None, fonts=fonts
    )


def plan_fonts(ledger: pd.DataFrame, inputs: PlanInputs) -> dict[str, str]:
    """Hashes of this machine's fonts that may draw pages of a plan and of further ones that do, by file name."""
    found: dict[str, str] = {}
    for name, rows in ledger.groupby("component", sort=False):
        how = inputs.presentations[str(name)]
        if how.present_as == "pages":
            found |= page_fonts(how.style, {font for fonts in rows["fonts"] for font in fonts.split(FONT_SEPARATOR)})
    return dict(sorted(found.items()))


def measure_component(
    inputs: PlanInputs,
    component: str,
    source: str,
    rows: Sequence[int],
    batching: Batching,
    *,
    cache_root: Path | None = None,
) -> pd.DataFrame:
    """Frames and tokens of some rows of a source, as a component shows them; see `measure_samples`."""
    return measure_samples(
        inputs.sources[source],
        rows,
        inputs.backbone,
        inputs.presentations[component],
        cache_root=cache_root,
        num_workers=batching.num_workers,
        timeout_s=batching.sample_timeout_s,
    )


def _origin(selection: Selection, source: SourceData, how: Presentation) -> Origin:
    reasons = Counter(rejected.reason for rejected in source.rejected)
    told = dict(reasons.most_common(MOST_REASONS))
    if len(reasons) > MOST_REASONS:
        told["other reasons"] = reasons.total() - sum(told.values())
    return Origin(
        records_read=source.stats.num_records,
        records_rejected=len(source.rejected),
        records_left_out=source.stats.left_out,
        samples_left_out=selection.left_out,
        present_as=how.present_as,
        records_rejected_by_reason=told,
        records_used=source.stats.num_used_records,
        samples_available=len(source),
        num_replaced_chars=source.stats.num_replaced_chars,
        unknown_fields=_most_frequent(source.stats.unknown_fields),
        alters_text=how.style.alters_text if how.present_as == "pages" else None,
        changes=dict(how.changes) or None,
    )


def _most_frequent(fields: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    names = sorted(fields, key=lambda name: -fields[name]["num_records"])
    told = {name: fields[name] for name in names[:MOST_REASONS]}
    for name in names[MOST_REASONS:]:
        others = told.setdefault("other fields", {"num_records": 0, "first": fields[name]["first"]})
        others["num_records"] += fields[name]["num_records"]
    return told


def _turns(ledger: pd.DataFrame, selections: Sequence[Selection]) -> NDArray[np.float64]:
    """When each sample of a ledger has its turn in nested order."""
    turns = np.empty(len(ledger))
    for selection in selections:
        assert selection.share is not None, "drawn in nested order"
        own = (ledger["component"] == selection.component).to_numpy()
        turns[own] = nested_turns(selection.share, int(own.sum()))
    return turns


def _leave_out_part_of_a_step(ledger: pd.DataFrame, turns: NDArray[np.float64], batch_size: int) -> None:
    """Reject the last used samples where they are fewer than a step, unless there is no whole step."""
    used = np.flatnonzero(ledger["status"] == "used")
    num_over = len(used) % batch_size
    if num_over and len(used) > batch_size:
        left_out = ledger.index[used[np.argsort(turns[used], kind="stable")[-num_over:]]]
        ledger.loc[left_out, "status"] = "rejected"
        ledger.loc[left_out, "reason"] = "fewer than a step are left"
        remedy = "batching.nested_order=true keeps whole steps; give a size that global_batch_size_samples divides"
        ledger.loc[left_out, "detail"] = remedy


def _rows(
    ledger: pd.DataFrame, batching: Batching, data_seed: int, turns: NDArray[np.float64] | None
) -> list[list[np.ndarray]]:
    """The rows of every step that the grouping fixes; one for the whole step where it leaves them to the ranks."""
    used = np.flatnonzero(ledger["status"] == "used")
    lengths = (ledger["visual_tokens"] + ledger["text_tokens"]).to_numpy()
    chosen = ledger.iloc[used]
    names = (chosen["component"] + "/" + chosen["sample_id"] + "/" + chosen["showing"].astype("str")).tolist()
    batch_size = batching.global_batch_size_samples
    steps: list[list[np.ndarray]] = []
    for epoch in range(batching.num_epochs):
        if turns is not None:
            order = used[np.argsort(turns[used], kind="stable")]
        else:
            order = used[hash_order(names, data_seed, salt=f"epoch {epoch}")]
        if batching.name == "packed_epoch":
            steps += packed_epoch(order, lengths, batching.max_seq_len_tokens, batch_size)
        elif batching.name == "length_grouped":
            steps += [[step] for step in length_grouped(order, lengths, batch_size)]
        else:
            steps += [[order[begin : begin + batch_size]] for begin in range(0, len(order), batch_size)]
    return steps


def _plan_hash(ledger: pd.DataFrame, steps: Sequence[np.ndarray], inputs: PlanInputs) -> str:
    """Records, order, what is shown and how, as far as it is known without decoding: the pixels of videos are not."""
    backbone = inputs.backbone
    counts = ["num_frames", "visual_tokens", "text_tokens", "supervised_tokens"]
    shown = ledger[["component", "source", "sample_id", "status", *counts]]
    digests = np.empty(len(ledger), np.uint64)
    for name in ledger["source"].unique():
        of_source = (ledger["source"] == name).to_numpy()
        digests[of_source] = inputs.sources[name].digests[ledger["row"].to_numpy()[of_source]]
    return combined_hash(
        [
            list_hash(shown.iloc[part].astype(str).to_numpy().tolist() for part in _parts(len(ledger))),
            list_hash([step.tolist()] for step in steps),
            list_hash(digests[part].tolist() for part in _parts(len(ledger))),
            content_hash({name: how.fingerprint() for name, how in inputs.presentations.items()}),
            content_hash([*backbone.identity(), backbone.tokenizer.backend_tokenizer.to_str()]),
        ]
    )


def _parts(length: int) -> Iterator[slice]:
    return (slice(begin, begin + HASHED_TOGETHER) for begin in range(0, length, HASHED_TOGETHER))
