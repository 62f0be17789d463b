"""From a drawn mixture to its plan: samples measured, those that do not fit rejected, the rest ordered into steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sparrow.core.hashing import combined_hash, content_hash, hash_order
from sparrow.data.encode import Presentation
from sparrow.data.mixture import Selection
from sparrow.data.packing import Grouping, length_grouped, packed_epoch
from sparrow.data.plan import Origin, Plan
from sparrow.data.rejecting import enforce_policy, reject_long
from sparrow.data.sample_costs import measure_samples
from sparrow.data.sources import SourceData
from sparrow.models.backbone import Backbone
from sparrow.models.flops import ModelFlops
from sparrow.models.settings import Tuning

MOST_REASONS = 20  # of rejected records, in a manifest; the texts of some hold what stands in the record


def build_plan(
    selections: Sequence[Selection],
    sources: Mapping[str, SourceData],
    backbone: Backbone,
    presentations: Mapping[str, Presentation],
    *,
    data_seed: int,
    global_batch_size_samples: int,
    max_seq_len_tokens: int,
    batching: str = "padded",
    micro_batch_size_samples: int = 1,
    tuning: Tuning | None = None,
    num_epochs: int = 1,
    on_bad_sample: str = "fail",
    max_bad_fraction: float = 0.0,
    cache_root: Path | None = None,
    num_workers: int = 0,
    sample_timeout_s: int = 0,
) -> Plan:
    """Measure the drawn samples and order them into optimizer steps.

    Every epoch shows each used sample once, in a hash order of its own; the last step of an epoch may be smaller.
    `length_grouped` and `packed_epoch` change which samples share a step, and the latter how many.

    Args:
        selections: What was drawn, a component each.
        sources: Sources by name.
        backbone: Counts the tokens; its model is not needed.
        presentations: How each component's samples are shown.
        data_seed: Orders the samples.
        global_batch_size_samples: Samples of one optimizer step over all ranks.
        max_seq_len_tokens: A longer sample is rejected, never cut; packed rows hold at most so many tokens.
        batching: `padded`, `packed`, `length_grouped` or `packed_epoch`.
        micro_batch_size_samples: Rows of a padded micro-batch.
        tuning: Which parts learn, for what a sample takes to compute; all of them where None.
        num_epochs: Passes over the data.
        on_bad_sample: `fail` raises on the first sample that cannot be used, `skip` rejects and counts it.
        max_bad_fraction: With `skip`, the largest share of rejected samples that is still accepted.
        cache_root: Where measurements are kept for the next run.
        num_workers: Processes that measure.
        sample_timeout_s: Seconds after which a sample that hangs fails the plan; 0 waits for ever.

    Raises:
        UnusableSamples: If a sample cannot be used (`fail`), too many cannot (`skip`), or none can.
    """
    tables = []
    for selection in selections:
        table = measure_samples(
            sources[selection.source],
            selection.rows,
            backbone,
            presentations[selection.component],
            cache_root=cache_root,
            num_workers=num_workers,
            timeout_s=sample_timeout_s,
        )
        table.insert(0, "component", selection.component)
        table.insert(1, "source", selection.source)
        table["showing"] = table.groupby("row").cumcount()
        tables.append(table)
    ledger = pd.concat(tables, ignore_index=True)
    reject_long(ledger, min(max_seq_len_tokens, backbone.context_length_tokens))
    enforce_policy(ledger, sources, on_bad_sample, max_bad_fraction)
    costs = ModelFlops(backbone, tuning)
    ledger["flops"] = costs.training(
        *(ledger[name].to_numpy() for name in ("visual_tokens", "text_tokens", "num_frames", "supervised_tokens"))
    )
    grouping = Grouping(batching, micro_batch_size_samples, max_seq_len_tokens)
    rows = _rows(ledger, grouping, data_seed, global_batch_size_samples, num_epochs)
    steps = [np.concatenate(step) for step in rows]
    origins = {
        selection.component: _origin(selection, sources[selection.source], presentations[selection.component])
        for selection in selections
    }
    content = _plan_hash(ledger, steps, sources, presentations, backbone)
    return Plan(ledger, steps, content, origins, grouping, rows if batching == "packed_epoch" else None)


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
        alters_text=how.style.alters_text if how.present_as == "pages" else None,
    )


def _rows(
    ledger: pd.DataFrame, grouping: Grouping, data_seed: int, batch_size: int, num_epochs: int
) -> list[list[np.ndarray]]:
    """The rows of every step that the grouping fixes; one for the whole step where it leaves them to the ranks."""
    used = np.flatnonzero(ledger["status"] == "used")
    lengths = (ledger["visual_tokens"] + ledger["text_tokens"]).to_numpy()
    columns = ledger[["component", "sample_id", "showing"]].itertuples(index=False, name=None)
    all_names = ["/".join(map(str, values)) for values in columns]
    names = [all_names[i] for i in used]
    steps: list[list[np.ndarray]] = []
    for epoch in range(num_epochs):
        order = used[hash_order(names, data_seed, salt=f"epoch {epoch}")]
        if grouping.name == "packed_epoch":
            steps += packed_epoch(order, lengths, grouping.max_seq_len_tokens, batch_size)
        elif grouping.name == "length_grouped":
            steps += [[step] for step in length_grouped(order, lengths, batch_size)]
        else:
            steps += [[order[begin : begin + batch_size]] for begin in range(0, len(order), batch_size)]
    return steps


def _plan_hash(
    ledger: pd.DataFrame,
    steps: Sequence[np.ndarray],
    sources: Mapping[str, SourceData],
    presentations: Mapping[str, Presentation],
    backbone: Backbone,
) -> str:
    """Records, order, what is shown and how, as far as it is known without decoding: the pixels of videos are not."""
    counts = ["num_frames", "visual_tokens", "text_tokens", "supervised_tokens"]
    columns = ["component", "source", "sample_id", "status", *counts]
    rows = zip(ledger["source"], ledger["row"], strict=True)
    return combined_hash(
        [
            content_hash(ledger[columns].astype(str).to_numpy().tolist()),
            content_hash([step.tolist() for step in steps]),
            content_hash([int(sources[source].digests[row]) for source, row in rows]),
            content_hash({name: how.fingerprint() for name, how in presentations.items()}),
            content_hash(
                [
                    backbone.family,
                    backbone.frame_size_px,
                    backbone.native_video,
                    backbone.chat_template,
                    backbone.tokenizer.backend_tokenizer.to_str(),
                ]
            ),
        ]
    )
