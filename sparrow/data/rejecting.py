"""Samples that a plan cannot use: what is rejected, how much of it a run bears, and which media files are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sparrow.core.errors import DataError
from sparrow.core.samples import Image, Video
from sparrow.data.sources import SourceData
from sparrow.media.frame_folders import find_video

SHOWN = 10


@dataclass(frozen=True)
class BadSamples:
    """What becomes of samples that cannot be used.

    With the policy `fail` the first one is an error, with `skip` only more than the fraction.
    """

    policy: str = "fail"
    max_fraction: float = 0.0


FAIL = BadSamples()


class UnusableSamples(DataError):
    """Samples of a mixture cannot be used.

    `source` and `where` name one of them; `missing` has the media files that are not there, of all of them.
    """

    def __init__(
        self, what: str, missing: list[Path], *, source: str | None = None, where: str | None = None, remedy: str
    ) -> None:
        super().__init__(what, source=source, where=where, remedy=f"{remedy}{missing_text(missing)}")
        self.missing = missing


def reject_long(ledger: pd.DataFrame, limit: int) -> None:
    """Reject used samples of more tokens than `limit`."""
    num_tokens = ledger["visual_tokens"] + ledger["text_tokens"]
    too_long = (ledger["status"] == "used") & (num_tokens > limit)
    remedy = f" tokens, at most {limit}; lower frames.max_frames or raise batching.max_seq_len_tokens"
    ledger.loc[too_long, "status"] = "rejected"
    ledger.loc[too_long, "reason"] = f"longer than {limit} tokens"
    ledger.loc[too_long, "detail"] = num_tokens.astype(str) + remedy


def enforce_policy(ledger: pd.DataFrame, sources: Mapping[str, SourceData], bad_samples: BadSamples) -> None:
    """Accept the rejected samples of a ledger, or raise.

    Raises:
        UnusableSamples: If there are more than the policy accepts, or no others.
    """
    bad = ledger[ledger["status"] == "rejected"]
    if not len(bad):
        return
    first = bad.iloc[0]
    of_all = f"{len(bad)} of {len(ledger)} samples cannot be used"
    place = {"source": first["source"], "where": f"sample {first['sample_id']!r}"}
    if len(bad) == len(ledger):
        what = f"none of the {len(ledger)} samples can be used; the first: {first['detail']}"
        raise UnusableSamples(what, missing_media(ledger, sources), **place, remedy="fix them")
    if bad_samples.policy == "fail":
        remedy = f"{of_all}: fix them, or set on_bad_sample=skip"
        raise UnusableSamples(str(first["detail"]), missing_media(ledger, sources), **place, remedy=remedy)
    if len(bad) > bad_samples.max_fraction * len(ledger):
        ids = ", ".join(f"{row.sample_id} ({row.reason})" for row in bad.head(5).itertuples())
        what = f"{of_all}, more than max_bad_fraction={bad_samples.max_fraction}: {ids}"
        raise UnusableSamples(what, missing_media(ledger, sources), remedy="fix them, or raise max_bad_fraction")


def missing_media(ledger: pd.DataFrame, sources: Mapping[str, SourceData]) -> list[Path]:
    """Media files of a ledger's rejected samples that are not there, sorted, each once."""
    missing: set[Path] = set()
    bad = ledger[ledger["status"] == "rejected"]
    for source, row in bad[["source", "row"]].drop_duplicates().itertuples(index=False, name=None):
        data = sources[source]
        try:
            shown = [find_video(data.media_roots, p.path) for p in data[row].parts() if isinstance(p, (Image, Video))]
        except DataError:  # a path that leads out of the root is told as such
            continue
        files = (file for found in shown for file in ([found] if isinstance(found, Path) else found))
        missing.update(file for file in files if not file.exists())
    return sorted(missing)


def missing_text(missing: list[Path]) -> str:
    """The first missing files, a line each; nothing where none is."""
    if not missing:
        return ""
    more = [f"... and {len(missing) - SHOWN} more"] if len(missing) > SHOWN else []
    lines = "\n  ".join([*map(str, missing[:SHOWN]), *more])
    what = "media file is" if len(missing) == 1 else "media files are"
    return f"\n{len(missing)} {what} missing:\n  {lines}"
