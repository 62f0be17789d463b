"""The manifest as tables: what every component of a mixture was drawn from, what it got, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparrow.core.tables import Table, counted

WIDTH = 120
_BY_REASON = {
    "records_rejected_by_reason": "records rejected",
    "records_left_out": "records left out",
    "samples_left_out": "samples left out",
    "rejected_by_reason": "rejected",
}
_REMARKS = {  # by count: of what, and what is said of them
    "sequential": (
        "video",
        "decoded from the beginning at each reading, as no later start is proved; set batching.cache_frames=true",
    ),
    "interlaced": ("video", "interlaced and shown so, two fields a frame"),
    "fallback": ("video", "read by PyAV, since decord gives other frames"),
    "complex_characters": ("character", "shaped by raqm or composed (NFC)"),
    "missing_characters": (
        "character",
        "in no font and drawn as boxes; install Noto's fonts, or name some in text_to_image.fallback_fonts",
    ),
}


def manifest_table(manifest: Mapping[str, Any]) -> str:
    """The plan's manifest as aligned text."""
    components: Mapping[str, Mapping[str, Any]] = manifest["components"]
    drawn = Table(
        "Drawn",
        (
            *("component", "source", "records", "used", "rejected", "left out"),
            *("samples", "skipped", "requested", "shown", "not shown"),
        ),
        [
            (
                name,
                counts["source"],
                *_counts(counts, "records_read", "records_used", "records_rejected"),
                f"{sum(counts['records_left_out'].values()):,}",
                *_counts(counts, "samples_available"),
                f"{sum(counts['samples_left_out'].values()):,}",
                *_counts(counts, "requested", "used", "rejected"),
            )
            for name, counts in components.items()
        ],
        left=2,
        note="\n".join([*reasons(components), *_held_out(manifest["held_out"])]),
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
            f"{counted(manifest['num_samples'], 'sample')} in {counted(manifest['num_steps'], 'optimizer step')}; "
            f"{manifest['packing_efficiency']:.0%} of the computed tokens are the samples' own, the rest is padding; "
            f"plan {manifest['content_hash']}"
        ),
    )
    return f"{drawn.text(width=WIDTH)}\n\n{shown.text(width=WIDTH)}"


def _counts(counts: Mapping[str, Any], *names: str) -> list[str]:
    return [f"{counts[name]:,}" for name in names]


def num_left_out(counts: Mapping[str, Any]) -> int:
    """Records and samples of a component that rules left out of its draw."""
    return sum(counts["records_left_out"].values()) + sum(counts["samples_left_out"].values())


def reasons(components: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was rejected, left out or altered of each component, a line each with its number and reason."""
    lines = []
    for name, counts in components.items():
        for key, what in _BY_REASON.items():
            lines += [f"{name}: {number:,} {what}: {reason}" for reason, number in counts[key].items()]
        if counts["records_used"] != counts["samples_available"]:
            lines.append(f"{name}: {counts['records_used']:,} records give {counts['samples_available']:,} samples")
        lines += [
            f"{name}: {unknown['num_records']:,} unread field '{path}' (first: {unknown['first']})"
            for path, unknown in counts["unknown_fields"].items()
        ]
        if counts["num_replaced_chars"]:
            lines.append(f"{name}: {counts['num_replaced_chars']:,} NULs and lone surrogates became U+FFFD")
        if "alters_text" in counts:
            lines.append(f"{name}: {counts['alters_text']}")
        for key, (noun, said) in _REMARKS.items():
            if number := counts.get(key):
                lines.append(f"{name}: {counted(number, noun)} {'is' if number == 1 else 'are'} {said}")
        for key, value in counts.get("changes", {}).items():
            lines.append(f"{name}: shown with {key}={value}")
    return lines


def _held_out(components: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, counts in components.items():
        sums = ", ".join(f"{counts[what]:,} {what}" for what in ("requested", "used", "rejected"))
        lines.append(f"{name}, for validation: {sums}")
        lines += [f"{name}, for validation: {n:,} rejected: {why}" for why, n in counts["rejected_by_reason"].items()]
    return lines
