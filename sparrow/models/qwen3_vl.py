"""Qwen3-VL: Qwen2.5-VL's way with frames, vision features fed to several layers of the language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor
from transformers import Qwen3VLConfig
from typing_extensions import override

from sparrow.models.backbone import WithoutVideo
from sparrow.models.frame_buffer import Frames, Size
from sparrow.models.qwen2_5_vl import TINY_ROPE_SECTIONS, Qwen2_5_VL
from sparrow.models.tiny import HEAD_WIDTH, PATCH_PX


class Qwen3VLProcessor(WithoutVideo, transformers.Qwen3VLProcessor):
    """The family's processor for images."""


class Qwen3VL(Qwen2_5_VL):
    """Adapter of `Qwen3VLForConditionalGeneration`."""

    processor_class = Qwen3VLProcessor
    video_processor_type = "Qwen3VLVideoProcessor"
    native_checkpoints = ("Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-4B-Instruct", "Qwen/Qwen3-VL-8B-Instruct")
    vision_merging_parts = ("merger", "deepstack_merger_list")
    config_class = Qwen3VLConfig
    tiny_text: ClassVar[dict[str, Any]] = {
        "head_dim": HEAD_WIDTH,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": TINY_ROPE_SECTIONS,
            "mrope_interleaved": True,
        },
    }
    tiny_colours: ClassVar[dict[str, Any]] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}

    def video_placeholders(self, size: Size, times_s: Sequence[float]) -> list[tuple[str, list[int]]]:
        """A block a patch in time, after the mean of the times of its first and last frame."""
        step = int(self.processor.image_processor.temporal_patch_size)
        patches = [times_s[begin : begin + step] for begin in range(0, len(times_s), step)]
        tokens = size[0] * size[1] // self._step_px**2 * [self.video_token_id]
        return [(self.time_words((times[0] + times[-1]) / 2), tokens) for times in patches]

    def _share(self, pixels: int, num_frames: int) -> float:
        """The family's video processor has limits for a whole clip."""
        return pixels / num_frames

    def _features(self, output: Any, chosen: slice) -> Any:
        features = super()._features(output, chosen)
        features.deepstack_features = [of_layer[chosen] for of_layer in output.deepstack_features]
        return features

    def _blocks(self, frames: Frames) -> Iterator[tuple[Tensor, Size]]:
        """Each patch in time stands alone, as an image does."""
        for size, video in frames.units():
            for _ in range(self._times_patches(video.num_frames) if video is not None else 1):
                yield torch.zeros(1, dtype=torch.int64), size

    @staticmethod
    @override
    def tiny_vision(frame_size_px: int) -> dict[str, Any]:
        return {"num_position_embeddings": (frame_size_px // PATCH_PX) ** 2, "deepstack_visual_indexes": [0]}
