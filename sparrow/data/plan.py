"""The plan: which samples a run sees, in which order and optimizer step, and what each costs, before a GPU is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparrow.core.files import write_atomically, write_json
from sparrow.data.encode import Presentation
from sparrow.data.packing import deal_rows, packed_step, padded_step
from sparrow.data.sample_costs import COUNTS
from sparrow.data.settings import Batching
from sparrow.data.sources import SourceData
from sparrow.media.settings import TextStyle
from sparrow.models.backbone import Backbone

PERCENTILES = (5, 50, 95, 100)
SUMMED = tuple(COUNTS)


@dataclass(frozen=True)
class PlanInputs:
    """What a plan is built from, and its samples are encoded with.

    `sources` by name; `presentations` by component; `backbone` needs no model.
    """

    sources: Mapping[str, SourceData]
    presentations: Mapping[str, Presentation]
    backbone: Backbone

    @property
    def page_style(self) -> TextStyle | None:
        """How pages are drawn, where any component is shown as pages."""
        return next((how.style for how in self.presentations.values() if how.present_as == "pages"), None)


@dataclass(frozen=True)
class Origin:
    """Where a component's samples were drawn from: counts of its source's records, and of samples left out by rules.

    A record may give several samples: read = used + rejected + left out. `unknown_fields` has the fields that nothing
    reads, with the number of records that fill them and where the first stands. `alters_text` says how the pages'
    spelling differs from the source's, if it does; `changes` which settings of frames and pages differ from those of
    the other components.
    """

    records_read: int
    records_rejected: int
    records_left_out: dict[str, int]
    samples_left_out: dict[str, int]
    present_as: str
    records_rejected_by_reason: dict[str, int] = field(default_factory=dict)
    records_used: int = 0
    samples_available: int = 0
    num_replaced_chars: int = 0
    unknown_fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    alters_text: str | None = None
    changes: dict[str, Any] | None = None


@dataclass(frozen=True)
class Plan:
    """Every planned sample with its cost, and the optimizer steps.

    Args:
        ledger: A row a requested sample: `component, source, row, sample_id, status` (used | rejected | failed),
            `reason, num_frames, num_pages` (those of the frames that are pages), `visual_tokens, text_tokens,
            supervised_tokens, num_sequential` (videos that each reading decodes from the beginning), `num_verified`
            (videos decoded while planning), `num_interlaced, num_fallback` (videos that PyAV reads, not decord),
            `showing` (number of the repetition), `flops` (of training on it once).
        steps: For every optimizer step the positions in `ledger` of its samples, all ranks together.
        content_hash: Hash of what the model will see, in order, fonts and tokenizer included; a video counts by its
            record, number of frames and tokens, not by its pixels.
        rows: For every step the positions in `ledger` of each packed row, where rows were packed from whole epochs.
        held_out: Plan of the samples that validation looks at and training never sees.
        fonts: Hashes of the fonts that may draw its pages, by file name.
    """

    ledger: pd.DataFrame
    steps: list[np.ndarray]
    content_hash: str
    origins: dict[str, Origin] = field(default_factory=dict)
    batching: Batching = field(default_factory=lambda: Batching(name="padded", micro_batch_size_samples=1))
    rows: list[list[np.ndarray]] | None = None
    held_out: Plan | None = None
    fonts: dict[str, str] = field(default_factory=dict)

    @property
    def num_samples(self) -> int:
        """Samples over all steps; a sample counts once an epoch."""
        return int(sum(len(step) for step in self.steps))

    @property
    def packed(self) -> bool:
        """Whether the samples of a micro-batch share one row."""
        return self.batching.name in ("packed", "packed_epoch")

    def micro_batches(self, step: int, world_size: int) -> list[list[np.ndarray]]:
        """How a step is computed: for every rank equally many micro-batches, each the ledger positions of its samples.

        A pure function of plan and number of ranks; a micro-batch without samples keeps its rank in step.
        """
        positions, batching = self.steps[step], self.batching
        if self.rows is not None:
            return deal_rows(self.rows[step], self.flops, world_size)
        lengths = self.lengths[positions]
        if self.packed:
            shares = packed_step(lengths, self.flops[positions], batching.max_seq_len_tokens, world_size)
        else:
            shares = padded_step(lengths, batching.micro_batch_size_samples, world_size)
        return [[positions[indices] for indices in share] for share in shares]

    def tokens_of(self, positions: np.ndarray) -> int:
        """Tokens of the micro-batch of the samples at some ledger positions, padding included."""
        own = self.lengths[positions]
        return int(own.sum() if self.packed else len(own) * own.max(initial=0))

    def longest_micro_batch(self, world_size: int, ranks: Iterable[int]) -> np.ndarray:
        """Ledger positions of the micro-batch of the most tokens on some of the ranks that share the steps; of several
        such, of that with the longest sample.
        """
        chosen = tuple(ranks)
        planned = (
            positions
            for step in range(len(self.steps))
            for shares in [self.micro_batches(step, world_size)]
            for rank in chosen
            for positions in shares[rank]
        )
        return max(planned, key=lambda own: (self.tokens_of(own), int(self.lengths[own].max(initial=0))))

    def packing_efficiency(self) -> float:
        """Share of the samples' own tokens among those computed on one rank; the rest is padding.

        Frames that only keep ranks in step are left out.
        """
        if self.packed:
            return 1.0
        lengths = self.lengths
        computed = 0
        for step in range(len(self.steps)):
            (rows,) = self.micro_batches(step, 1)
            computed += sum(int(len(row) * lengths[row].max()) for row in rows if len(row))
        useful = int(sum(lengths[step].sum() for step in self.steps))
        return round(useful / computed, 4) if computed else 1.0

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of every ledger row, int64."""
        return (self.ledger["visual_tokens"] + self.ledger["text_tokens"]).to_numpy()

    @cached_property
    def flops(self) -> np.ndarray:
        """Operations of training once on every ledger row, float64."""
        return self.ledger["flops"].to_numpy()

    def manifest(self) -> dict[str, Any]:
        """Counts a component, which reconcile (`_outcome`), lengths, steps and the content hash."""
        components = {}
        for name, rows in self.ledger.groupby("component", sort=False):
            used = rows[rows["status"] == "used"]
            lengths = (used["visual_tokens"] + used["text_tokens"]).to_numpy()
            origin = self.origins[str(name)]
            components[str(name)] = {
                "source": str(rows["source"].iloc[0]),
                **{key: value for key, value in asdict(origin).items() if value is not None},
                **_outcome(rows),
                **{name.removeprefix("num_"): int(used[name].sum()) for name in SUMMED},
                "length_percentiles_tokens": (
                    {str(p): int(np.percentile(lengths, p)) for p in PERCENTILES} if len(lengths) else {}
                ),
            }
        return {
            "content_hash": self.content_hash,
            "num_steps": len(self.steps),
            "num_samples": self.num_samples,
            "packing_efficiency": self.packing_efficiency(),
            "components": components,
            "held_out": self._held_out_counts(),
            "fonts": self.fonts,
        }

    def _held_out_counts(self) -> dict[str, dict[str, Any]]:
        """What became of the samples for validation, a component."""
        if self.held_out is None:
            return {}
        components = self.held_out.ledger.groupby("component", sort=False)
        return {str(name): _outcome(rows) for name, rows in components}

    def failures_allowed(self, max_fraction: float) -> float:
        """How often training may fail to read a sample, in all epochs, until a share of the requested is not learnt."""
        num_used = int((self.ledger["status"] == "used").sum())
        return (max_fraction * len(self.ledger) - (len(self.ledger) - num_used)) * self.num_samples / max(1, num_used)

    def without(self, failed: Mapping[int, tuple[str, str]]) -> Plan:
        """The plan as it was carried out: samples that could not be read in the end are `failed`, with the reason.

        Args:
            failed: Reason and detail by position in the ledger.
        """
        ledger = self.ledger.copy()
        for position, (reason, detail) in failed.items():
            ledger.loc[position, ["status", "reason", "detail"]] = ["failed", f"while training: {reason}", detail]
        return replace(self, ledger=ledger)

    def write(self, folder: Path, run_id: str | None = None) -> None:
        """Write `manifest.json`, with the id of the run that it belongs to, and `ledger.parquet`."""
        write_json(folder / "manifest.json", {**({"run_id": run_id} if run_id else {}), **self.manifest()})
        self.write_ledger(folder)

    def write_ledger(self, folder: Path) -> None:
        """Write `ledger.parquet`: one row per requested sample, with its first step; then those held out."""
        ledger = self.ledger.copy()
        first_step = np.full(len(ledger), -1, dtype=np.int64)
        for number, positions in reversed(list(enumerate(self.steps))):
            first_step[positions] = number
        ledger["first_step"] = first_step
        if self.held_out is not None:
            held_out = self.held_out.ledger.replace({"status": {"used": "held_out"}})
            ledger = pd.concat([ledger, held_out.assign(first_step=-1)], ignore_index=True)
        write_atomically(folder / "ledger.parquet", ledger.to_parquet(index=False))


def _outcome(rows: pd.DataFrame) -> dict[str, Any]:
    """Counts of a ledger's rows: requested = used + rejected + failed, the last only where there are such."""
    status = rows["status"]
    totals = {name: int((status == name).sum()) for name in ("used", "rejected", "failed")}
    counts = {name: total for name, total in totals.items() if total or name != "failed"}
    return {"requested": len(rows), **counts, "rejected_by_reason": dict(Counter(rows[status != "used"]["reason"]))}
