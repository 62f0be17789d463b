"""MiniCPM-V 4.6: SigLIP with two mergers, a Qwen3.5 language model of linear and full attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import transformers
from tokenizers import AddedToken
from torch import Tensor
from transformers import MiniCPMV4_6Config, ProcessorMixin
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
from typing_extensions import override

from sparrow.models.backbone import Backbone, Size, WithoutVideo
from sparrow.models.frame_buffer import Frames
from sparrow.models.tiny import HEAD_WIDTH, PATCH_PX, TinySizes, train_tokenizer

NAMED_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}
SIDE_PATCHES_A_TOKEN = 4


class WholeImages(WithoutVideo):
    """Put before the family's processor class: images only, shown whole and without a number."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        # The family's own constructor asks the video processor for its settings.
        processor: Any = self
        ProcessorMixin.__init__(processor, image_processor, tokenizer, chat_template=chat_template)
        self.slice_mode = False
        self.default_use_image_id = False
        for name in NAMED_TOKENS:
            setattr(self, name, getattr(tokenizer, name))
        self.image_token_id, self.video_token_id = tokenizer.image_token_id, tokenizer.video_token_id


class MiniCPMV4_6Processor(WholeImages, transformers.MiniCPMV4_6Processor):  # noqa: N801
    """The family's processor for images."""


class MiniCPMV(Backbone):
    """Adapter of `MiniCPMV4_6ForConditionalGeneration`.

    A frame is one view of about `frame_size_px` squared pixels in its own proportions, never sliced.
    """

    end_of_turn = "<|im_end|>"
    config_class: ClassVar[Any] = MiniCPMV4_6Config
    processor_class: ClassVar[Any] = MiniCPMV4_6Processor
    video_processor_type = "MiniCPMV4_6VideoProcessor"
    native_checkpoints: ClassVar[tuple[str, ...]] = ("openbmb/MiniCPM-V-4.6",)
    module_names = ("vision_tower", "merger", "language_model")
    # The state of linear attention runs on over cached padding.
    skips_cached_padding = False

    @override
    def configure_processor(self) -> None:
        image_processor = self.processor.image_processor
        self._require_multiple(image_processor.patch_size * SIDE_PATCHES_A_TOKEN)
        image_processor.slice_mode = False
        image_processor.use_image_id = False
        image_processor.downsample_mode = "16x"
        image_processor.scale_resolution = self.frame_size_px

    @override
    def frame_token_ids(self, size: Size) -> list[int]:
        side = self.processor.image_processor.patch_size * SIDE_PATCHES_A_TOKEN
        tokens = [self.image_token_id] * (size[0] * size[1] // side**2)
        return [self.tokenizer.image_start_token_id, *tokens, self.tokenizer.image_end_token_id]

    @override
    def prepared_size(self, size: Size) -> Size:
        image_processor = self.processor.image_processor
        height, width = image_processor.find_best_resize(
            size, self.frame_size_px, image_processor.patch_size, "16x", allow_upscale=True
        )
        return int(height), int(width)

    @override
    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        patch = self.processor.image_processor.patch_size
        strips = [self._strip(self.normalized(stack, dtype)) for stack in frames.stacks()]
        sizes = [[height // patch, width // patch] for height, width in frames.sizes]
        return {
            "pixel_values": torch.cat(strips, dim=-1).unsqueeze(0),
            "target_sizes": torch.tensor(sizes, dtype=torch.int32, device=frames.pixels.device),
        }

    def _strip(self, stack: Tensor) -> Tensor:
        """Normalised frames [k, 3, h, w] as one row of patches, [3, p, k h w / p]."""
        patch = self.processor.image_processor.patch_size
        count, channels, height, width = stack.shape
        patches = stack.reshape(count, channels, height // patch, patch, width // patch, patch)
        return patches.permute(1, 3, 0, 2, 4, 5).reshape(channels, patch, -1)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        frames: Frames | None,
        *,
        logits_to_keep: Tensor | int = 0,
        **options: Any,
    ) -> Any:
        """As the base class; the model itself would compute the logits of every position."""
        head: Any = self.model.lm_head
        hook = head.register_forward_pre_hook(lambda _, inputs: slice_logits_to_keep(inputs[0], logits_to_keep))
        try:
            return super().forward(input_ids, attention_mask, frames, **options)
        finally:
            hook.remove()

    @staticmethod
    @override
    def frame_size_of(processor: Any) -> int:
        return int(processor.image_processor.scale_resolution)

    @classmethod
    @override
    def tiny(cls, texts: Sequence[str], frame_size_px: int, sizes: TinySizes) -> tuple[Any, Any]:
        tokenizer = train_tokenizer(
            texts, eos_token=cls.end_of_turn, other_special_tokens=["<|im_start|>"], named_tokens=NAMED_TOKENS
        )
        tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in ("<think>", "</think>")])
        config = cls.config_class(
            **cls.control_token_ids(tokenizer),
            insert_layer_id=0,
            image_size=frame_size_px,
            vision_config=sizes.vision(image_size=frame_size_px),
            text_config=sizes.text(
                tokenizer,
                model_type="qwen3_5_text",
                head_dim=HEAD_WIDTH,
                layer_types=["linear_attention", "full_attention"],
                linear_num_key_heads=2,
                linear_num_value_heads=2,
                linear_key_head_dim=HEAD_WIDTH,
                linear_value_head_dim=HEAD_WIDTH,
            ),
        )
        return config, cls.processor_class(MiniCPMV4_6ImageProcessorPil(patch_size=PATCH_PX), tokenizer)

    @staticmethod
    def control_token_ids(tokenizer: Any) -> dict[str, int]:
        """Ids of tokens that the model's configuration names."""
        return {"image_token_id": tokenizer.image_token_id, "video_token_id": tokenizer.video_token_id}
