"""InternVL3 and InternVL3.5 in their native port: InternViT, pixel-shuffle projector, Qwen language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
import transformers
from torch import nn
from transformers import InternVLConfig
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from typing_extensions import override

from sparrow.models.backbone import Backbone, Size
from sparrow.models.frame_buffer import Frames
from sparrow.models.processors import WithoutVideo
from sparrow.models.tiny import PATCH_PX, TinySizes, token_ids, train_tokenizer

NAMED_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}


class InternVLProcessor(WithoutVideo, transformers.InternVLProcessor):
    """The family's processor for images, which shows an image as one view unless asked to cut it."""

    images_kwargs: ClassVar[Any] = {"crop_to_patches": False}  # type: ignore[misc]


class InternVL(Backbone):
    """Adapter of `InternVLForConditionalGeneration`; a frame is one view, never cut into tiles."""

    family = "internvl"
    end_of_turn = "<|im_end|>"
    processor_class = InternVLProcessor
    video_processor_type = "InternVLVideoProcessor"
    native_checkpoints = (
        "OpenGVLab/InternVL3-1B-hf",
        "OpenGVLab/InternVL3-2B-hf",
        "OpenGVLab/InternVL3-8B-hf",
        "OpenGVLab/InternVL3_5-1B-HF",
        "OpenGVLab/InternVL3_5-2B-HF",
        "OpenGVLab/InternVL3_5-4B-HF",
        "OpenGVLab/InternVL3_5-8B-HF",
    )

    @override
    def configure_processor(self) -> None:
        step = int(self.config.vision_config.patch_size[0] / self.config.downsample_ratio)
        self._require_multiple(step)
        self.processor.image_seq_length = (self.frame_size_px // step) ** 2
        self.processor.image_processor.size = {"height": self.frame_size_px, "width": self.frame_size_px}
        self.processor.image_processor.crop_to_patches = False
        # transformers' own processor asks for tiles whatever the folder says; it gets one.
        self.processor.image_processor.min_patches = self.processor.image_processor.max_patches = 1

    @property
    @override
    def image_token_id(self) -> int:
        return int(self.processor.image_token_id)

    @cached_property
    def _frame_token_ids(self) -> list[int]:
        processor = self.processor
        context = [processor.image_token_id] * processor.image_seq_length
        return [processor.start_image_token_id, *context, processor.end_image_token_id]

    @override
    def frame_token_ids(self, size: Size) -> list[int]:
        return self._frame_token_ids

    @override
    def prepared_size(self, size: Size) -> Size:
        return self.frame_size_px, self.frame_size_px

    @override
    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        return {"pixel_values": self.normalized_stack(frames, dtype)}

    @override
    def parts(self) -> dict[str, nn.Module]:
        core: Any = self.model.model
        return self._three_parts(core.vision_tower, core.multi_modal_projector, core.language_model)

    @override
    def blocks(self) -> list[nn.Module]:
        core: Any = self.model.model
        return [*core.vision_tower.encoder.layer, *core.language_model.layers]

    @staticmethod
    @override
    def frame_size_of(processor: Any) -> int:
        return int(processor.image_processor.size["height"])

    @classmethod
    @override
    def tiny(cls, texts: Sequence[str], frame_size_px: int, sizes: TinySizes) -> tuple[Any, Any]:
        tokenizer = train_tokenizer(
            texts, eos_token=cls.end_of_turn, other_special_tokens=["<|im_start|>"], named_tokens=NAMED_TOKENS
        )
        config = InternVLConfig(
            **token_ids(tokenizer, image_token_id="<IMG_CONTEXT>"),
            image_seq_length=(frame_size_px // PATCH_PX // 2) ** 2,
            vision_config=sizes.vision(
                image_size=[frame_size_px] * 2,
                patch_size=[PATCH_PX] * 2,
                use_qk_norm=False,
                model_type="internvl_vision",
            ),
            text_config=sizes.text(tokenizer, model_type="qwen2"),
        )
        return config, InternVLProcessor(GotOcr2ImageProcessorPil(), tokenizer, None)
