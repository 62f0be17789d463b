"""Qwen2.5-VL: a vision encoder for any frame size, positions in time, height and width."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from sparrow.models.backbone import Backbone, Size
from sparrow.models.frames import Frames
from sparrow.models.processors import WithoutVideo
from sparrow.models.tiny import PATCH_PX, TEXT_WIDTH, VISION_WIDTH, text_sizes, token_ids, train_tokenizer

VISION_TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
TINY_ROPE_SECTIONS = [TEXT_WIDTH // 4 // 2 // 3] * 3


class Qwen2_5_VLProcessor(WithoutVideo, transformers.Qwen2_5_VLProcessor):  # noqa: N801
    """The family's processor for images."""


class Qwen2_5_VL(Backbone):  # noqa: N801
    """Adapter of `Qwen2_5_VLForConditionalGeneration`.

    A frame keeps its proportions and takes at most `frame_size_px` squared pixels; its tokens follow from its size.
    """

    family = "qwen2_5_vl"
    end_of_turn = "<|im_end|>"
    processor_class: ClassVar[Any] = Qwen2_5_VLProcessor
    video_processor_type = "Qwen2VLVideoProcessor"
    native_checkpoints: ClassVar[tuple[str, ...]] = ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct")
    vision_merging_parts: ClassVar[tuple[str, ...]] = ("merger",)

    @property
    def _step_px(self) -> int:
        """Side of the square of pixels that one token stands for."""
        image_processor = self.processor.image_processor
        return int(image_processor.patch_size * image_processor.merge_size)

    def configure_processor(self) -> None:  # noqa: D102
        self._require_multiple(self._step_px)
        most = self.frame_size_px**2
        self.processor.image_processor.size = {
            "shortest_edge": min(most, (2 * self._step_px) ** 2),
            "longest_edge": most,
        }

    @property
    def image_token_id(self) -> int:  # noqa: D102
        return int(self.processor.image_token_id)

    def frame_token_ids(self, size: Size) -> list[int]:  # noqa: D102
        return [self.image_token_id] * (size[0] * size[1] // self._step_px**2)

    def prepared_size(self, size: Size) -> Size:  # noqa: D102
        limits = self.processor.image_processor.size
        return smart_resize(*size, self._step_px, limits["shortest_edge"], limits["longest_edge"])

    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:  # noqa: D102
        patch = self.processor.image_processor.patch_size
        grids = [[1, height // patch, width // patch] for height, width in frames.sizes]
        patches = [self._patches(self.normalized(stack, dtype)) for stack in frames.stacks()]
        return {
            "pixel_values": torch.cat(patches),
            "image_grid_thw": torch.tensor(grids, device=frames.pixels.device),
        }

    def _patches(self, stack: Tensor) -> Tensor:
        """Patches [k g, 3 t p p] of normalised frames [k, 3, h, w], those that merge to one token side by side."""
        image_processor = self.processor.image_processor
        patch, merge, times = (
            image_processor.patch_size,
            image_processor.merge_size,
            image_processor.temporal_patch_size,
        )
        count, channels, height, width = stack.shape
        rows, columns = height // patch // merge, width // patch // merge
        patches = stack.reshape(count, channels, rows, merge, patch, columns, merge, patch)
        patches = patches.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
        return patches.expand(*[-1] * 6, times, -1, -1).reshape(-1, channels * times * patch * patch)

    def token_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:  # noqa: D102
        return {"mm_token_type_ids": (input_ids == self.image_token_id).int()}

    def position_ids(self, input_ids: Tensor, sizes: Sequence[Size]) -> Tensor:
        """int64 [4, n]: place in the sample, then time, height and width; an image is as long as its longer side."""
        length = len(input_ids)
        positions = torch.arange(length).repeat(4, 1)
        images = (input_ids == self.image_token_id).nonzero().squeeze(1).tolist()
        first = shift = 0
        for height, width in sizes:
            rows, columns = height // self._step_px, width // self._step_px
            begin, end = images[first], images[first] + rows * columns
            start = begin + shift
            positions[1, begin:end] = start
            positions[2, begin:end] = start + torch.arange(rows).repeat_interleave(columns)
            positions[3, begin:end] = start + torch.arange(columns).repeat(rows)
            shift += max(rows, columns) - rows * columns
            positions[1:, end:] = torch.arange(end, length) + shift
            first += rows * columns
        return positions.to(input_ids.device)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        frames: Frames | None,
        *,
        position_ids: Tensor | None = None,
        logits_to_keep: Tensor | int = 0,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> Any:
        """As the base class; what images save in positions goes with the cache to what follows them."""
        if past_key_values is not None and position_ids is not None:
            position_ids = position_ids + past_key_values.position_shift
        output = super().forward(
            input_ids,
            attention_mask,
            frames,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        if use_cache and past_key_values is None:
            core: Any = self.model.model
            output.past_key_values.position_shift = core.rope_deltas if frames is not None and len(frames) else 0
        return output

    def parts(self) -> dict[str, nn.Module]:  # noqa: D102
        core: Any = self.model.model
        of_vision = dict(core.visual.named_children())
        projector = nn.ModuleDict({name: of_vision.pop(name) for name in self.vision_merging_parts})
        return self._three_parts(nn.ModuleDict(of_vision), projector, core.language_model)

    def blocks(self) -> list[nn.Module]:  # noqa: D102
        core: Any = self.model.model
        return [*core.visual.blocks, *core.language_model.layers]

    @staticmethod
    def frame_size_of(processor: Any) -> int:  # noqa: D102
        return isqrt(processor.image_processor.size["longest_edge"])

    @classmethod
    def tiny(cls, texts: Sequence[str], frame_size_px: int) -> tuple[Any, Any]:  # noqa: D102
        tokenizer = train_tokenizer(
            texts, eos_token=cls.end_of_turn, other_special_tokens=["<|im_start|>", *VISION_TOKENS.values()]
        )
        config = Qwen2_5_VLConfig(
            **token_ids(
                tokenizer,
                image_token_id="<|image_pad|>",
                video_token_id="<|video_pad|>",
                vision_start_token_id="<|vision_start|>",
                vision_end_token_id="<|vision_end|>",
            ),
            vision_config={
                "depth": 2,
                "hidden_size": VISION_WIDTH,
                "intermediate_size": 2 * VISION_WIDTH,
                "num_heads": 4,
                "out_hidden_size": TEXT_WIDTH,
                "patch_size": PATCH_PX,
                "window_size": 4 * PATCH_PX,
                "fullatt_block_indexes": [1],
            },
            text_config=text_sizes(
                tokenizer,
                rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": TINY_ROPE_SECTIONS},
            ),
        )
        return config, Qwen2_5_VLProcessor(Qwen2VLImageProcessorPil(patch_size=PATCH_PX), tokenizer, None)
