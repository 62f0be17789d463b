"""SmolVLM2: Idefics3's design with smaller parts, and a pixel shuffle of its own scale."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import SmolVLMConfig
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from sparrow.models.backbone import WithoutVideo
from sparrow.models.idefics3 import Idefics3


class SmolVLMProcessor(WithoutVideo, transformers.SmolVLMProcessor):
    """The family's processor for images."""

    # Only what stands here by name is written into a folder.
    def __init__(
        self, image_processor: Any, tokenizer: Any, image_seq_len: int = 169, chat_template: str | None = None
    ) -> None:
        super().__init__(image_processor, tokenizer, None, image_seq_len, chat_template)


class SmolVLM(Idefics3):
    """Adapter of `SmolVLMForConditionalGeneration`; a frame is one global view, never split into tiles."""

    family = "smolvlm"
    template_of = "idefics3"
    processor_class = SmolVLMProcessor
    tiny_classes = (SmolVLMConfig, SmolVLMImageProcessorPil, SmolVLMProcessor)
    tiny_bos_token = "<|im_start|>"
    video_processor_type = "SmolVLMVideoProcessor"
    native_checkpoints = (
        "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
    )

    def time_words(self, time_s: float) -> str:
        """The form of the family's own video prompt."""
        return f"\nFrame from {int(time_s // 60):02d}:{int(time_s % 60):02d}:"
