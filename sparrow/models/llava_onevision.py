"""LLaVA-OneVision: SigLIP at one fixed size, MLP projector, Qwen2 language model."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, cast

import numpy as np
import torch
import transformers
from torch import nn
from transformers import LlavaOnevisionConfig
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from sparrow.models.backbone import Backbone, Size
from sparrow.models.frames import Frames
from sparrow.models.processors import WithoutVideo
from sparrow.models.tiny import PATCH_PX, text_sizes, token_ids, train_tokenizer, vision_sizes


class LlavaOnevisionProcessor(WithoutVideo, transformers.LlavaOnevisionProcessor):
    """The family's processor for images."""


class LlavaOnevision(Backbone):
    """Adapter of `LlavaOnevisionForConditionalGeneration`.

    A frame is one view, as the family shows several images; a single image too, which its own processor would cut
    into tiles. A frame of a native video is squeezed to the square and its features pooled to a quarter.
    """

    family = "llava_onevision"
    end_of_turn = "<|im_end|>"
    processor_class = LlavaOnevisionProcessor
    video_processor_type = "LlavaOnevisionVideoProcessor"
    native_checkpoints = ("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "llava-hf/llava-onevision-qwen2-7b-ov-hf")

    video_needs_times = False

    def configure_processor(self) -> None:  # noqa: D102
        self._require_size(self.config.vision_config.image_size)
        self.processor.image_processor.size = {"height": self.frame_size_px, "width": self.frame_size_px}

    @property
    def image_token_id(self) -> int:  # noqa: D102
        return int(self.processor.image_token_id)

    def frame_token_ids(self, size: Size) -> list[int]:
        """The last one stands for the learnt end of a line."""
        return [self.image_token_id] * (self.processor.num_image_tokens + 1)

    @property
    def video_token_id(self) -> int:  # noqa: D102
        return int(self.processor.video_token_id)

    def video_placeholders(self, size: Size, times_s: Sequence[float]) -> list[tuple[str, list[int]]]:
        """One block, ended by the learnt end of a line."""
        pooled = -(-isqrt(self.processor.num_image_tokens) // 2)
        return [("", [self.video_token_id] * (len(times_s) * pooled**2 + 1))]

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

    def prepare_video_frame(self, frame: np.ndarray) -> np.ndarray:
        """Resized to the square, whatever its proportions."""
        return super().prepare_frame(frame)

    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:  # noqa: D102
        if not frames.videos:
            return self._image_inputs(frames, dtype)
        images, core = frames.images(), cast(Any, self.model.model)
        outputs: dict[str, Any] = {}
        if len(images):
            inputs = self._image_inputs(images, dtype)
            outputs = inputs.get("mm_encoder_outputs") or {"image": core.get_image_features(**inputs, return_dict=True)}
        # Videos of any length, so one by one; the model takes their features as rows of equal length.
        videos = [self.normalized(stack, dtype).unsqueeze(0) for stack in frames.video_stacks()]
        features = [core.get_video_features(video, return_dict=True) for video in videos]
        features[0].pooler_output = torch.cat([each.pooler_output for each in features], dim=1)
        return {"mm_encoder_outputs": outputs | {"video": features[0]}}

    def _image_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        views = self.normalized_stack(frames, dtype).unsqueeze(1)
        sizes = torch.tensor(frames.sizes, device=views.device)
        if len(views) > 1:
            return {"pixel_values": views, "image_sizes": sizes, "batch_num_images": [len(views)]}
        # The model takes a single image for a tiled one. Shown twice it is one view each time, of which one is used.
        core: Any = self.model.model
        features = core.get_image_features(
            views.repeat(2, 1, 1, 1, 1), sizes.repeat(2, 1), batch_num_images=[2], return_dict=True
        )
        features.pooler_output = features.pooler_output[:1]
        return {"mm_encoder_outputs": {"image": features}}

    def parts(self) -> dict[str, nn.Module]:  # noqa: D102
        core: Any = self.model.model
        projector = nn.ModuleList([core.multi_modal_projector, nn.ParameterList([core.image_newline])])
        return self._three_parts(core.vision_tower, projector, core.language_model)

    def unused(self) -> list[nn.Module]:
        """The projector reads what goes into the encoder's last norm."""
        core: Any = self.model.model
        return [core.vision_tower.post_layernorm]

    def blocks(self) -> list[nn.Module]:  # noqa: D102
        core: Any = self.model.model
        return [*core.vision_tower.encoder.layers, *core.language_model.layers]

    @staticmethod
    def frame_size_of(processor: Any) -> int:  # noqa: D102
        return int(processor.image_processor.size["height"])

    @classmethod
    def tiny(cls, texts: Sequence[str], frame_size_px: int) -> tuple[Any, Any]:  # noqa: D102
        tokenizer = train_tokenizer(
            texts, eos_token=cls.end_of_turn, other_special_tokens=["<|im_start|>", "<image>", "<video>"]
        )
        config = LlavaOnevisionConfig(
            **token_ids(tokenizer, image_token_id="<image>", video_token_id="<video>"),
            vision_feature_layer=-1,
            image_grid_pinpoints=[[frame_size_px, frame_size_px]],
            vision_config=vision_sizes(
                image_size=frame_size_px, model_type="siglip_vision_model", vision_use_head=False
            ),
            text_config=text_sizes(tokenizer, model_type="qwen2"),
        )
        processor = LlavaOnevisionProcessor(
            LlavaOnevisionImageProcessorPil(image_grid_pinpoints=[[frame_size_px, frame_size_px]]),
            tokenizer,
            None,
            num_image_tokens=(frame_size_px // PATCH_PX) ** 2,
            vision_feature_select_strategy="full",
        )
        return config, processor
