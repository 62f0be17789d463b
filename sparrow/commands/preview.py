"""One HTML page of samples as the model gets them: the frames it sees, the tokens it reads, which of them it learns."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
from PIL import Image
from torch import Tensor

from sparrow.core.files import write_atomically
from sparrow.core.templating import render
from sparrow.data.batching import StepDataset
from sparrow.data.encode import IGNORED, EncodedSample
from sparrow.data.plan import Plan
from sparrow.models.backbone import Backbone
from sparrow.planning.manifest import num_left_out, reasons
from sparrow.planning.run_inputs import Prepared, prepare
from sparrow.settings import ExperimentConfig, PreviewConfig

MAX_FRAMES = 24
MAX_REJECTED = 500
MAX_PNG_SIDE_PX = 128
JPEG_QUALITY = 92

PieceKind = Literal["text", "control", "frames"]


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens of one kind, decoded; for frames `text` says which ones, and how many tokens.

    `frame` is the number of the one frame that the tokens stand for, 0 where it is none or several.
    """

    kind: PieceKind
    text: str
    frame: int = 0


@dataclass(frozen=True)
class Span:
    """Neighbouring tokens that are all supervised, or all not."""

    supervised: bool
    pieces: list[Piece]


@dataclass(frozen=True)
class PreviewedSample:
    """One sample of the page: `step`, from 1, is the first with the sample, `frames` are data URIs of some."""

    id: str
    step: int
    spans: list[Span]
    frames: list[str]
    num_frames: int
    visual_tokens: int
    text_tokens: int
    supervised_tokens: int

    @property
    def num_tokens(self) -> int:
        """Length of the sequence."""
        return self.visual_tokens + self.text_tokens


class Refused(NamedTuple):
    """A sample or record that the run leaves out."""

    component: str
    source: str
    sample: str
    reason: str


def preview(config: PreviewConfig, folder: Path, checkpoint: str | None = None) -> None:
    """Write `preview.html` to a folder; arguments as of `prepare`."""
    page = write_preview(prepare(config, checkpoint), folder / "preview.html", config.num_samples, config)
    print(f"open {page}")


def write_preview(prepared: Prepared, path: Path, num_samples: int, config: ExperimentConfig | None = None) -> Path:
    """Write a self-contained page of the first samples of every component; equal input gives equal bytes.

    Each component has an equal share of the samples while it has them, in the plan's order.
    """
    plan, backbone = prepared.plan, prepared.backbone
    dataset = StepDataset(plan, prepared)
    chosen = choose(plan, num_samples)
    manifest, refused = plan.manifest(), _refused(prepared)
    limits = [backbone.context_length_tokens, *([] if config is None else [config.batching.max_seq_len_tokens])]
    page = render(
        "preview.html.jinja",
        config=config,
        backbone=backbone,
        manifest=manifest,
        presentations=prepared.presentations,
        page=prepared.page_style,
        notes=[*prepared.notes, *reasons(manifest["components"])],
        left_out={name: num_left_out(part) for name, part in manifest["components"].items()},
        limit=min(limits),
        shown={
            name: [_previewed(dataset, position, step) for position, step in chosen.get(name, [])]
            for name in manifest["components"]
        },
        refused=refused[:MAX_REJECTED],
        num_refused=len(refused),
        max_png_side_px=MAX_PNG_SIDE_PX,
    )
    # Ids may hold halves of surrogate pairs, which JSON can write and UTF-8 cannot.
    write_atomically(path, page.encode("utf-8", "backslashreplace"))
    return path


def choose(plan: Plan, num_samples: int) -> dict[str, list[tuple[int, int]]]:
    """The samples that the run sees first: (ledger position, step from 1) by component, in the plan's order.

    Components take turns, so each has an equal share, and what one lacks goes to the others.
    """
    shown = [(position, step) for step, positions in enumerate(plan.steps, start=1) for position in positions.tolist()]
    first = pd.DataFrame(shown, columns=["position", "step"]).drop_duplicates("position", ignore_index=True)
    first["component"] = plan.ledger["component"].to_numpy()[first["position"]]
    turns = first.groupby("component").cumcount().sort_values(kind="stable")
    by_component = first.loc[turns.index[:num_samples]].groupby("component", sort=False)
    return {name: list(zip(part["position"], part["step"], strict=True)) for name, part in by_component}


def spans_of(
    sample: EncodedSample, backbone: Backbone, max_frames: int = MAX_FRAMES, frame_word: str = "frame"
) -> list[Span]:
    """The sample's tokens decoded; those of a frame are one piece, those of all frames past `max_frames` too."""
    ids = sample.input_ids.tolist()
    supervised = (sample.labels != IGNORED).tolist()
    frames = _frames_of_tokens(ids, sample, backbone)
    control = set(backbone.tokenizer.all_special_ids)

    def key(at: int) -> tuple[bool, PieceKind, int]:
        if (shown := frames[at]) is not None:
            return supervised[at], "frames", min(shown.start, max_frames + 1)
        return (supervised[at], "control", at) if ids[at] in control else (supervised[at], "text", 0)

    pieces: list[tuple[bool, Piece]] = []
    for (is_supervised, kind, _), group in groupby(range(len(ids)), key):
        places = list(group)
        shown, shown_last = frames[places[0]], frames[places[-1]]
        if shown is not None and shown_last is not None:
            first, last = shown.start, shown_last.stop - 1
            which = f"{frame_word} {first}" if first == last else f"{frame_word}s {first}–{last}"
            piece = Piece(kind, f"[{which}: {len(places):,} tokens]", first if first <= max_frames else 0)
        else:
            words = backbone.tokenizer.decode([ids[at] for at in places], clean_up_tokenization_spaces=False)
            piece = Piece(kind, words)
        pieces.append((is_supervised, piece))
    return [Span(mark, [piece for _, piece in group]) for mark, group in groupby(pieces, lambda pair: pair[0])]


def _frames_of_tokens(ids: Sequence[int], sample: EncodedSample, backbone: Backbone) -> list[range | None]:
    """For each token the numbers of its frames, from 1: several where they are merged; None for text."""
    frames: list[range | None] = [None] * len(ids)
    at, number = 0, 1
    for size, video in sample.frames.units():
        if video is None:
            patterns, count = [backbone.frame_token_ids(size)], 1
        else:
            count = video.num_frames
            patterns = [tokens for _, tokens in backbone.video_placeholders(size, [0.0] * count)]
        merged = -(-count // len(patterns))
        for i, pattern in enumerate(patterns):
            at = next(i for i in range(at, len(ids)) if ids[i] == pattern[0] and ids[i : i + len(pattern)] == pattern)
            shown = range(number + i * merged, number + min((i + 1) * merged, count))
            frames[at : at + len(pattern)] = [shown] * len(pattern)
            at += len(pattern)
        number += count
    return frames


def frame_uri(frame: Tensor, *, lossless: bool) -> str:
    """A prepared frame, uint8 [3, H, W], as the data URI of a PNG, or of a JPEG, which is a tenth of the size."""
    pixels = frame.permute(1, 2, 0).numpy()
    is_grey = bool((pixels == pixels[..., :1]).all())
    picture = Image.fromarray(pixels[..., 0] if is_grey else pixels)
    buffer, kind = io.BytesIO(), "png" if lossless else "jpeg"
    options = {"optimize": True} if lossless else {"quality": JPEG_QUALITY, "subsampling": 0}
    picture.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _previewed(dataset: StepDataset, position: int, step: int) -> PreviewedSample:
    sample = dataset.encode(position)
    row = dataset.plan.ledger.iloc[position]
    is_pages = dataset.presentations[row["component"]].present_as == "pages"
    lossless = is_pages or dataset.backbone.frame_size_px <= MAX_PNG_SIDE_PX
    return PreviewedSample(
        id=row["sample_id"],
        step=step,
        spans=spans_of(sample, dataset.backbone, frame_word="page" if is_pages else "frame"),
        frames=[frame_uri(frame, lossless=lossless) for frame in sample.frames[:MAX_FRAMES]],
        num_frames=len(sample.frames),
        visual_tokens=sample.num_visual_tokens,
        text_tokens=len(sample.input_ids) - sample.num_visual_tokens,
        supervised_tokens=int((sample.labels != IGNORED).sum()),
    )


def _refused(prepared: Prepared) -> list[Refused]:
    """Drawn samples that the plan rejects, then records that could not be read at all."""
    ledger = prepared.plan.ledger
    refused = [
        Refused(row.component, row.source, row.sample_id, row.detail or row.reason)
        for row in ledger[ledger["status"] == "rejected"].itertuples()
    ]
    for name, source in prepared.sources.items():
        for record in source.rejected:
            sample = f"{record.id} ({record.where})" if record.id else record.where
            refused.append(Refused("", name, sample, record.reason))
    return refused
