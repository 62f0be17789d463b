"""LLaVA-OneVision: SigLIP at one fixed size, MLP projector, Qwen2 language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import LlavaOnevisionConfig
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from sparrow.models.backbone import Backbone, Size
from sparrow.models.frames import Frames
from sparrow.models.processors import WithoutVideo
from sparrow.models.tiny import PATCH_PX, text_sizes, train_tokenizer, vision_sizes


class LlavaOnevisionProcessor(WithoutVideo, transformers.LlavaOnevisionProcessor):
    """The family's processor for images."""


class LlavaOnevision(Backbone):
    """Adapter of `LlavaOnevisionForConditionalGeneration`.

    A frame is one view, as the family shows several images; a single image too, which its own processor would cut
    into tiles.
    """

    family = "llava_onevision"
    end_of_turn = "<|im_end|>"
    processor_class = LlavaOnevisionProcessor
    video_processor_type = "LlavaOnevisionVideoProcessor"
    native_checkpoints = ("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "llava-hf/llava-onevision-qwen2-7b-ov-hf")

    def configure_processor(self) -> None:  # noqa: D102
        self._require_size(self.config.vision_config.image_size)
        self.processor.image_processor.size = {"height": self.frame_size_px, "width": self.frame_size_px}

    @property
    def image_token_id(self) -> int:  # noqa: D102
        return int(self.processor.image_token_id)

    def frame_token_ids(self, size: Size) -> list[int]:
        """The last one stands for the learnt end of a line."""
        return [self.image_token_id] * (self.processor.num_image_tokens + 1)

    def prepared_size(self, size: Size) -> Size:  # noqa: D102
        return self.frame_size_px, self.frame_size_px

    def prepare_frame(self, frame: np.ndarray) -> np.ndarray:
        """Squared with the image processor's mean colour at both sides, then resized."""
        height, width = frame.shape[:2]
        if height != width:
            longest = max(height, width)
            colour = [int(mean * 255) for mean in self.processor.image_processor.image_mean]
            square = np.full((longest, longest, 3), colour, dtype=np.uint8)
            top, left = (longest - height) // 2, (longest - width) // 2
            square[top : top + height, left : left + width] = frame if frame.ndim == 3 else frame[..., None]
            frame = square
        return super().prepare_frame(frame)

    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Tensor]:
        """One view an image.

        The model takes a single image for a tiled one; as one of two images it is one view, and the other's features
        are dropped again in `forward`.
        """
        pixels = self.normalized_stack(frames, dtype)
        count = len(pixels)
        sizes = torch.tensor(frames.sizes, device=pixels.device)
        return {"pixel_values": pixels.unsqueeze(1), "image_sizes": sizes, "batch_num_images": torch.tensor([count])}

    def parts(self) -> dict[str, nn.Module]:  # noqa: D102
        core: Any = self.model.model
        parts = self._three_parts(core.vision_tower, core.multi_modal_projector, core.language_model)
        return parts | {"projector": _WithNewline(core.multi_modal_projector, core.image_newline)}

    def blocks(self) -> list[nn.Module]:  # noqa: D102
        core: Any = self.model.model
        return [*core.vision_tower.encoder.layers, *core.language_model.layers]
