"""MiniCPM-V 4.7: MiniCPM-V 4.6 with positions in height and width on a canvas of each image."""

from __future__ import annotations

from typing import Any

import transformers
from torch import Tensor
from transformers import MiniCPMV4_7Config
from typing_extensions import override

from sparrow.models.backbone import Backbone
from sparrow.models.frame_buffer import Frames
from sparrow.models.minicpmv import MiniCPMV, WholeImages


class MiniCPMV4_7Processor(WholeImages, transformers.MiniCPMV4_7Processor):  # noqa: N801
    """The family's processor for images."""


class MiniCPMV4_7(MiniCPMV):  # noqa: N801
    """Adapter of `MiniCPMV4_7ForConditionalGeneration`, which derives positions from what `token_inputs` says."""

    family = "minicpmv4_7"
    template_of = "minicpmv"
    config_class = MiniCPMV4_7Config
    processor_class = MiniCPMV4_7Processor
    native_checkpoints = ("openbmb/MiniCPM-V-4.7-1B",)

    # The model computes chosen logits only, other than 4.6.
    forward = Backbone.forward  # type: ignore[assignment]

    @override
    def token_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (input_ids == self.image_token_id).int()}

    @override
    def position_shift(self, input_ids: Tensor, frames: Frames | None) -> Tensor | int:
        core: Any = self.model.model
        return core.rope_deltas if frames is not None and len(frames) else 0

    @staticmethod
    @override
    def control_token_ids(tokenizer: Any) -> dict[str, int]:
        markers = ("image_start", "image_end", "slice_start", "slice_end")
        return MiniCPMV.control_token_ids(tokenizer) | {
            "newline_id": tokenizer.encode("\n", add_special_tokens=False)[0],
            **{f"{marker}_id": getattr(tokenizer, f"{marker}_token_id") for marker in markers},
        }
