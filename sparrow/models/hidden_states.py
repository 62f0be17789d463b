"""Running a backbone without its output head, as training does: the loss makes logits of what is supervised only."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sparrow.models.backbone import Backbone
from sparrow.models.frame_buffer import Frames
from sparrow.models.packed_attention import attending_within


def hidden_states(
    backbone: Backbone,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    frames: Frames | None,
    *,
    position_ids: Tensor | None = None,
    sample_lengths: Sequence[int] | None = None,
) -> Tensor:
    """What the backbone's `output_head` makes logits of, [b, L, d].

    The whole model runs, so that what wraps it is called as ever, but its head is given nothing to compute. The
    arguments are those of `Backbone.forward`; `sample_lengths`, the tokens of each sample of a packed row, only spare
    work: the positions tell the samples apart too.
    """
    seen: list[Tensor] = []

    def take(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        seen.append(inputs[0])
        return inputs[0][:, :0]

    packed: contextlib.AbstractContextManager = contextlib.nullcontext()
    if sample_lengths is not None:
        language_model: Any = backbone.parts()["language_model"]
        packed = attending_within(language_model[0], sample_lengths, input_ids.device)
    hook = backbone.output_head.register_forward_pre_hook(take)
    try:
        with packed:
            backbone.forward(input_ids, attention_mask, frames, position_ids=position_ids)
    finally:
        hook.remove()
    return seen[0]
