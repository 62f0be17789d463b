"""InternVL3 and InternVL3.5 in their native port: InternViT, pixel-shuffle projector, Qwen language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import transformers
from transformers import InternVLConfig
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from typing_extensions import override

from sparrow.models.backbone import WithoutVideo
from sparrow.models.square_frames import SquareFrames
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


class InternVL(SquareFrames):
    """Adapter of `InternVLForConditionalGeneration`; a frame is one view, never cut into tiles."""

    end_of_turn = "<|im_end|>"
    processor_class = InternVLProcessor
    video_processor_type = "InternVLVideoProcessor"
    vision_blocks = "vision_tower.encoder.layer"
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
        super().configure_processor()
        self.processor.image_seq_length = (self.frame_size_px // step) ** 2
        self.processor.image_processor.crop_to_patches = False
        # transformers' own processor asks for tiles whatever the folder says; it gets one.
        self.processor.image_processor.min_patches = self.processor.image_processor.max_patches = 1

    @cached_property
    @override
    def square_token_ids(self) -> list[int]:
        processor = self.processor
        context = [processor.image_token_id] * processor.image_seq_length
        return [processor.start_image_token_id, *context, processor.end_image_token_id]

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
