"""LLaVA-OneVision: SigLIP at one fixed size, MLP projector, Qwen2 language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import LlavaOnevisionConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from typing_extensions import override

from sparrow.models.backbone import WithoutVideo
from sparrow.models.frame_buffer import Frames, Size
from sparrow.models.square_frames import SquareFrames
from sparrow.models.tiny import PATCH_PX, TinySizes, token_ids, train_tokenizer


class LlavaOnevisionProcessor(WithoutVideo, transformers.LlavaOnevisionProcessor):
    """The family's processor for images."""


class LlavaOnevision(SquareFrames):
    """Adapter of `LlavaOnevisionForConditionalGeneration`.

    A frame is one view, as the family shows several images; a single image too, which its own processor would cut
    into tiles. A frame of a native video is squeezed to the square and its features pooled to a quarter.
    """

    end_of_turn = "<|im_end|>"
    processor_class = LlavaOnevisionProcessor
    video_processor_type = "LlavaOnevisionVideoProcessor"
    native_checkpoints = ("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "llava-hf/llava-onevision-qwen2-7b-ov-hf")

    video_needs_times = False
    known_difference = "its history has a space that the prompt of a reply has not, so that it is not learnt from"

    @override
    def configure_processor(self) -> None:
        self._require_size(self.config.vision_config.image_size)
        super().configure_processor()

    @cached_property
    def square_token_ids(self) -> list[int]:
        """The last one stands for the learnt end of a line."""
        return [self.image_token_id] * (self.processor.num_image_tokens + 1)

    def video_placeholders(self, size: Size, times_s: Sequence[float]) -> list[tuple[str, list[int]]]:
        """One block, ended by the learnt end of a line."""
        pooled = -(-isqrt(self.processor.num_image_tokens) // 2)
        return [("", [self.video_token_id] * (len(times_s) * pooled**2 + 1))]

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

    def prepare_video_frame(self, frame: np.ndarray, num_frames: int) -> np.ndarray:
        """Resized to the square, whatever its proportions."""
        return super().prepare_frame(frame)

    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        """Each image is one view; videos of any length stand in a list."""
        images = frames.images()
        inputs: dict[str, Any] = {}
        if len(images):
            inputs["pixel_values"] = self.normalized_stack(images, dtype).unsqueeze(1)
            inputs["image_sizes"] = torch.tensor(images.sizes, device=frames.pixels.device)
            inputs["batch_num_images"] = [len(images)]
        if frames.videos:
            inputs["pixel_values_videos"] = [self.normalized(stack, dtype) for stack in frames.video_stacks()]
        return inputs

    def encoded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The model would call its encoder for images, then for videos of one length, and tile a single image."""
        given = dict(inputs)
        images, videos = given.pop("pixel_values", None), given.pop("pixel_values_videos", [])
        if images is None and not videos:
            return inputs
        num_images = 0 if images is None else len(images)
        views = torch.cat([*([] if images is None else [images[:, 0]]), *videos])
        # A single view is taken for a tiled image, so it is shown twice.
        shown = views if len(views) > 1 else views.repeat(2, 1, 1, 1)
        core: Any = self.model.model
        output = core.get_image_features(
            shown.unsqueeze(1),
            torch.tensor([shown.shape[-2:]] * len(shown), device=shown.device),
            batch_num_images=[len(shown)],
            return_dict=True,
        )
        features = output.pooler_output[: len(views)]
        outputs = {}
        if num_images:
            outputs["image"] = BaseModelOutputWithPooling(pooler_output=features[:num_images])
        if videos:
            pooled = core.apply_pooling(torch.stack([of_view[:-1] for of_view in features[num_images:]]))
            newline = core.image_newline.to(pooled).unsqueeze(0)
            rows = [
                row
                for video in pooled.split([len(video) for video in videos])
                for row in (video.flatten(0, 1), newline)
            ]
            outputs["video"] = BaseModelOutputWithPooling(pooler_output=torch.cat(rows).unsqueeze(0))
        return given | {"mm_encoder_outputs": outputs}

    @override
    def parts(self) -> dict[str, nn.Module]:
        core: Any = self.model.model
        projector = nn.ModuleList([core.multi_modal_projector, nn.ParameterList([core.image_newline])])
        return super().parts() | {"projector": projector}

    def unused(self) -> list[nn.Module]:
        """The projector reads what goes into the encoder's last norm."""
        core: Any = self.model.model
        return [core.vision_tower.post_layernorm]

    @classmethod
    @override
    def tiny(cls, texts: Sequence[str], frame_size_px: int, sizes: TinySizes) -> tuple[Any, Any]:
        tokenizer = train_tokenizer(
            texts, eos_token=cls.end_of_turn, other_special_tokens=["<|im_start|>", "<image>", "<video>"]
        )
        config = LlavaOnevisionConfig(
            **token_ids(tokenizer, image_token_id="<image>", video_token_id="<video>"),
            vision_feature_layer=-1,
            image_grid_pinpoints=[[frame_size_px, frame_size_px]],
            vision_config=sizes.vision(
                image_size=frame_size_px, model_type="siglip_vision_model", vision_use_head=False
            ),
            text_config=sizes.text(tokenizer, model_type="qwen2"),
        )
        processor = LlavaOnevisionProcessor(
            LlavaOnevisionImageProcessorPil(image_grid_pinpoints=[[frame_size_px, frame_size_px]]),
            tokenizer,
            None,
            num_image_tokens=(frame_size_px // PATCH_PX) ** 2,
            vision_feature_select_strategy="full",
        )
        return config, processor
