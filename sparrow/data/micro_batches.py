"""What one forward pass takes: encoded samples padded to rows of their own, or packed into one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sparrow.data.encode import IGNORED, EncodedSample
from sparrow.models.backbone import Backbone
from sparrow.models.frame_buffer import Frames

GREY = 128
NOTHING = -1


@dataclass(frozen=True)
class MicroBatch:
    """Samples of one forward pass; each is a segment, wherever it lies.

    Args:
        input_ids: int64 [b, L], padded on the right.
        labels: int64 [b, L], -100 where nothing is learnt and on each segment's first token.
        segments: int64 [b, L], the segment that a token belongs to, -1 on padding.
        components: int64 [s], index of each segment's mixture component, -1 for one that only keeps ranks in step.
        frames: Prepared frames of all segments, in reading order.
        attention_mask: int64 [b, L], zero on padding; None where the segments share a row.
        position_ids: int64 [1, L] or [k, 1, L], which start anew in each segment; None where each has its own row.
        lengths: Tokens of each segment of a packed row; None where each has its own row.
    """

    input_ids: Tensor
    labels: Tensor
    segments: Tensor
    components: Tensor
    frames: Frames
    attention_mask: Tensor | None = None
    position_ids: Tensor | None = None
    lengths: tuple[int, ...] | None = None

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        return self._each("to", device, non_blocking=True)

    def pin_memory(self) -> MicroBatch:
        """The same in page-locked memory."""
        return self._each("pin_memory")

    def _each(self, method: str, *arguments: Any, **options: Any) -> MicroBatch:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        moved = {
            name: getattr(value, method)(*arguments, **options)
            for name, value in values.items()
            if isinstance(value, Tensor | Frames)
        }
        return replace(self, **moved)

    def supervised_tokens(self) -> Tensor:
        """Tokens of each segment that are learnt, int64 [s]."""
        return self.segments[self.labels != IGNORED].bincount(minlength=len(self.components))


def pad(samples: Sequence[tuple[EncodedSample, int]], backbone: Backbone) -> MicroBatch:
    """Pad encoded samples, each with its component's index, to one micro-batch of a row each."""
    filled = _with_frames(samples, backbone)
    rows = [sample.input_ids for sample, _ in filled]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return MicroBatch(
        input_ids=pad_sequence(rows, batch_first=True, padding_value=backbone.tokenizer.pad_token_id),
        labels=pad_sequence([sample.labels for sample, _ in filled], batch_first=True, padding_value=IGNORED),
        segments=torch.arange(len(rows)).unsqueeze(1).where(mask.bool(), NOTHING),
        components=torch.tensor([component for _, component in filled]),
        frames=Frames.joined([sample.frames for sample, _ in filled]),
        attention_mask=mask,
    )


def pack(samples: Sequence[tuple[EncodedSample, int]], backbone: Backbone) -> MicroBatch:
    """Join encoded samples, each with its component's index, to one row in which they do not see each other.

    Raises:
        BackboneError: If the model would mix the samples.
    """
    filled = _with_frames(samples, backbone)
    lengths = [len(sample.input_ids) for sample, _ in filled]
    return MicroBatch(
        input_ids=torch.cat([sample.input_ids for sample, _ in filled]).unsqueeze(0),
        labels=torch.cat([sample.labels for sample, _ in filled]).unsqueeze(0),
        segments=torch.arange(len(filled)).repeat_interleave(torch.tensor(lengths)).unsqueeze(0),
        components=torch.tensor([component for _, component in filled]),
        frames=Frames.joined([sample.frames for sample, _ in filled]),
        position_ids=backbone.packed_position_ids([(sample.input_ids, sample.frames) for sample, _ in filled]),
        lengths=tuple(lengths),
    )


def _with_frames(samples: Sequence[tuple[EncodedSample, int]], backbone: Backbone) -> list[tuple[EncodedSample, int]]:
    """The samples, with one of a grey frame and without labels where none shows a frame.

    So every parameter has a gradient on every rank and in every step.
    """
    if any(len(sample.frames) for sample, _ in samples):
        return list(samples)
    side = backbone.frame_size_px
    ids = torch.tensor(backbone.frame_token_ids(backbone.prepared_size((side, side))))
    frames = backbone.prepare_frames([np.full((side, side), GREY, dtype=np.uint8)])
    return [*samples, (EncodedSample(ids, torch.full_like(ids, IGNORED), frames, len(ids)), NOTHING)]
