"""The manifest as tables: what every component of a mixture was drawn from, what it got, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparrow.runs.tables import Table

WIDTH = 120


def manifest_table(manifest: Mapping[str, Any]) -> str:
    """The plan's manifest as aligned text."""
    components: Mapping[str, Mapping[str, Any]] = manifest["components"]
    drawn = Table(
        "Drawn",
        ("component", "source", "records", "rejected", "left out", "requested", "used", "rejected in the plan"),
        [
            (
                name,
                counts["source"],
                *_counts(counts, "records_read", "records_rejected"),
                f"{sum(counts['records_left_out'].values()) + sum(counts['samples_left_out'].values()):,}",
                *_counts(counts, "requested", "used", "rejected"),
            )
            for name, counts in components.items()
        ],
        left=2,
        note="\n".join(_reasons(components)),
    )
    shown = Table(
        "Shown",
        ("component", "frames", "pages", "visual tokens", "text tokens", "supervised", "length 5/50/95/100 %"),
        [
            (
                name,
                *_counts(counts, "frames", "pages", "visual_tokens", "text_tokens", "supervised_tokens"),
                "/".join(str(value) for value in counts["length_percentiles_tokens"].values()),
            )
            for name, counts in components.items()
        ],
        note=(
            f"{manifest['num_samples']:,} samples in {manifest['num_steps']:,} optimizer steps; "
            f"{manifest['packing_efficiency']:.0%} of the computed tokens are the samples' own, the rest is padding; "
            f"manifest {manifest['content_hash']}"
        ),
    )
    return f"{drawn.text(width=WIDTH)}\n\n{shown.text(width=WIDTH)}"


def _counts(counts: Mapping[str, Any], *names: str) -> list[str]:
    return [f"{counts[name]:,}" for name in names]


def _reasons(components: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, counts in components.items():
        kinds = (("records_left_out", "records left out"), ("samples_left_out", "samples left out"))
        for key, what in (*kinds, ("rejected_by_reason", "rejected")):
            lines += [f"{name}: {number:,} {what}: {reason}" for reason, number in counts[key].items()]
        if counts["missing_characters"]:
            lines.append(
                f"{name}: {counts['missing_characters']:,} characters are in no font and drawn as boxes; "
                "install the fonts of their scripts (Noto), or name some in text_to_image.fallback_fonts"
            )
    return lines
