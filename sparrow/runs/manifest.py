"""The manifest as a table: what every component of a mixture asked for, got, and costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparrow.runs.tables import Table


def manifest_table(manifest: Mapping[str, Any]) -> str:
    """The plan's manifest as aligned text."""
    header = ("component", "source", "requested", "used", "rejected", "frames", "visual", "text", "supervised")
    numbers = ("requested", "used", "rejected", "frames", "visual_tokens", "text_tokens", "supervised_tokens")
    rows = [
        (name, counts["source"], *(f"{counts[key]:,}" for key in numbers), _percentiles(counts))
        for name, counts in manifest["components"].items()
    ]
    reasons = [
        f"{name}: {count} rejected: {reason}"
        for name, counts in manifest["components"].items()
        for reason, count in counts["rejected_by_reason"].items()
    ]
    steps = f"{manifest['num_samples']:,} samples in {manifest['num_steps']:,} optimizer steps"
    note = "\n".join([f"{steps}; manifest {manifest['content_hash']}", *reasons])
    return Table("Plan", (*header, "length 5/50/95/100 %"), rows, left=2, note=note).text(width=140)


def _percentiles(counts: Mapping[str, Any]) -> str:
    return "/".join(str(value) for value in counts["length_percentiles_tokens"].values())
