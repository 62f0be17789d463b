"""A look at videos' headers before a plan measures them: which prove themselves, and what the others will cost."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence

from sparrow.core.bars import Bar
from sparrow.core.errors import DataError
from sparrow.core.files import Roots, inside_root
from sparrow.core.tables import counted
from sparrow.data.supervised_loader import AtWork, Mapped, watched
from sparrow.media.frames import VideoInfo, look_at_header
from sparrow.media.settings import FramePolicy

log = logging.getLogger(__name__)
PIXELS_PER_S = 200e6  # that a core decodes; benchmarks/video.py
PARALLEL_FROM = 500
CHUNK = 64


def look_at_headers(
    files: Iterable[str],
    known: Mapping[str, bytes],
    roots: Roots,
    policy: FramePolicy,
    num_workers: int,
    timeout_s: int,
) -> dict[str, bytes]:
    """What the headers of video files say, as JSON by `video:PATH`; what cannot be opened is left out.

    Says in the log how many will be decoded, and what that will take. `known` was found before.
    """
    videos = [name for name in files if name.startswith("video:")]
    if not videos:
        return {}
    new = [name for name in videos if name not in known] if policy.verify != "frames" else []
    at_work = AtWork()

    def look(number: int) -> tuple[str, bytes | None]:
        at_work.begin(number)
        try:
            info = look_at_header(inside_root(roots, new[number].removeprefix("video:")), policy)
        except DataError:  # told of the samples that show it
            return new[number], None
        return new[number], json.dumps(vars(info)).encode()

    chunks = watched(
        Mapped(look, range(len(new))),
        at_work,
        new.__getitem__,
        num_workers=num_workers if len(new) >= PARALLEL_FROM else min(num_workers, 1),
        timeout_s=timeout_s,
        batch_size=CHUNK,
        collate_fn=list,
    )
    looked_at = Bar(chunks, total=-(-len(new) // CHUNK), desc="opening videos", unit="batch")
    found = {name: value for chunk in looked_at for name, value in chunk if value is not None}
    headers = [json.loads(value) for name in videos if (value := found.get(name) or known.get(name)) is not None]
    log.info("%s", _outlook(len(videos), [VideoInfo(**header) for header in headers], policy))
    return found


def _outlook(num_files: int, headers: Sequence[VideoInfo], policy: FramePolicy) -> str:
    if policy.verify == "frames":
        return f"{counted(num_files, 'video')}: frames.verify=frames, so that all frames to be shown are decoded now"
    decoded = [info for info in headers if not info.suffices(policy)]
    num_pixels = sum(info.num_frames * info.width_px * info.height_px for info in decoded)
    return (
        f"{counted(num_files, 'video')}: {len(headers) - len(decoded):,} planned by their header; {len(decoded):,} to "
        f"be decoded whole, {counted(sum(info.num_frames for info in decoded), 'frame')}, about "
        f"{math.ceil(num_pixels / PIXELS_PER_S):,} s on one core; {num_files - len(headers):,} cannot be opened"
    )
