"""Qwen2.5-VL: a vision encoder for any frame size, positions in time, height and width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isqrt
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize
from typing_extensions import override

from sparrow.models.backbone import Backbone, Size, WithoutVideo
from sparrow.models.frame_buffer import Frames
from sparrow.models.tiny import HEAD_WIDTH, PATCH_PX, TinySizes, token_ids, train_tokenizer

VISION_TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
TINY_ROPE_SECTIONS = [HEAD_WIDTH // 2 // 3] * 3


class Qwen2_5_VLProcessor(WithoutVideo, transformers.Qwen2_5_VLProcessor):  # noqa: N801
    """The family's processor for images."""


class Qwen2_5_VL(Backbone):  # noqa: N801
    """Adapter of `Qwen2_5_VLForConditionalGeneration`.

    A frame keeps its proportions and takes at most `frame_size_px` squared pixels; its tokens follow from its size.
    """

    end_of_turn = "<|im_end|>"
    processor_class: ClassVar[Any] = Qwen2_5_VLProcessor
    video_processor_type = "Qwen2VLVideoProcessor"
    native_checkpoints: ClassVar[tuple[str, ...]] = ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct")
    module_names = ("visual", "visual.merger", "language_model")
    vision_blocks = "visual.blocks"
    config_class: ClassVar[Any] = Qwen2_5_VLConfig
    vision_merging_parts: ClassVar[tuple[str, ...]] = ("merger",)
    enlarges_frames = True

    tiny_text: ClassVar[dict[str, Any]] = {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": TINY_ROPE_SECTIONS}
    }
    tiny_colours: ClassVar[dict[str, Any]] = {}

    @property
    def _step_px(self) -> int:
        """Side of the square of pixels that one token stands for."""
        image_processor = self.processor.image_processor
        return int(image_processor.patch_size * image_processor.merge_size)

    @override
    def configure_processor(self) -> None:
        self._require_multiple(self._step_px)
        own = int(self.processor.image_processor.size["shortest_edge"])
        most, named = self.frame_size_px**2, own if self._least is None else self._least
        # Sides are rounded up to whole tokens, which would go beyond the most pixels that are near the least.
        self.least_pixels = min(named, max(most // 2, min(most, (2 * self._step_px) ** 2)))
        self.least_is_lowered = self.least_pixels < named
        self.processor.image_processor.size = {
            "shortest_edge": self.least_pixels,
            "longest_edge": most,
        }

    @property
    def _least(self) -> int | None:
        """Pixels of the smallest frame by the settings."""
        return None if self.min_frame_size_px is None else self.min_frame_size_px**2

    def least_video_pixels(self, num_frames: int) -> float:
        """The same of a native video's frames: those of the checkpoint's video processor, which takes images' else."""
        named = self.video_settings.get("size", {}).get("shortest_edge", self.video_settings.get("min_pixels"))
        return self.least_pixels if named is None or self._least is not None else self._share(named, num_frames)

    def _share(self, pixels: int, num_frames: int) -> float:
        return pixels

    def frame_limits(self) -> dict[str, Any]:
        """Pixels of the smallest and the largest frame."""
        named_in = "preprocessor_config.json" if self._least is None else "backbone.min_frame_size_px"
        limits: dict[str, Any] = {
            "least_pixels": self.least_pixels,
            "least_pixels_from": f"{named_in}{', lowered for backbone.frame_size_px' * self.least_is_lowered}",
            "most_pixels": self.frame_size_px**2,
        }
        if self.native_video:
            limits["least_pixels_of_two_video_frames"] = 2 * self.least_video_pixels(2)
        return limits

    def identity(self) -> list[Any]:
        """With the limit that decides how far small frames are enlarged, where it is not four tokens' size."""
        usual = min(self.frame_size_px**2, (2 * self._step_px) ** 2)
        limits = [self.least_pixels, self.least_video_pixels(2)]
        return super().identity() + [limit for limit in limits if limit != usual]

    @override
    def frame_token_ids(self, size: Size) -> list[int]:
        return [self.image_token_id] * (size[0] * size[1] // self._step_px**2)

    def video_placeholders(self, size: Size, times_s: Sequence[float]) -> list[tuple[str, list[int]]]:
        """One block of all tokens; times are in the positions."""
        return [("", self._times_patches(len(times_s)) * size[0] * size[1] // self._step_px**2 * [self.video_token_id])]

    def _times_patches(self, num_frames: int) -> int:
        """Patches in time of a video; the last frame is repeated where one is not full."""
        return -(-num_frames // int(self.processor.image_processor.temporal_patch_size))

    @override
    def prepared_size(self, size: Size) -> Size:
        return smart_resize(*size, self._step_px, self.least_pixels, self.frame_size_px**2)

    def video_frame_size(self, size: Size, num_frames: int) -> Size:
        """With the limits of a video's frames."""
        most = self.frame_size_px**2
        return smart_resize(*size, self._step_px, min(most, self.least_video_pixels(num_frames)), most)  # type: ignore[arg-type]

    def prepare_video_frame(self, frame: np.ndarray, num_frames: int) -> np.ndarray:
        """Resized to that size."""
        return self.resized(frame, self.video_frame_size((frame.shape[0], frame.shape[1]), num_frames))

    @override
    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        settings, device = self.processor.image_processor, frames.pixels.device
        patch, times = settings.patch_size, settings.temporal_patch_size
        inputs: dict[str, Any] = {}
        images = frames.images()
        if len(images):
            # A frame fills a patch in time by itself.
            stacks = [self.normalized(stack, dtype) for stack in images.stacks()]
            inputs["pixel_values"] = torch.cat(
                [self._patches(stack.unsqueeze(1).expand(-1, times, -1, -1, -1)) for stack in stacks]
            )
            grids = [[1, height // patch, width // patch] for height, width in images.sizes]
            inputs["image_grid_thw"] = torch.tensor(grids, device=device)
        if frames.videos:
            videos = [self._in_time(self.normalized(stack, dtype)) for stack in frames.video_stacks()]
            inputs["pixel_values_videos"] = torch.cat([self._patches(video) for video in videos])
            grids = [[len(video), video.shape[-2] // patch, video.shape[-1] // patch] for video in videos]
            inputs["video_grid_thw"] = torch.tensor(grids, device=device)
        return inputs

    def encoded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The model would call its encoder for images, then for videos."""
        if not {"pixel_values", "pixel_values_videos"} <= inputs.keys():
            return inputs
        given = dict(inputs)
        pixels = torch.cat([given.pop("pixel_values"), given.pop("pixel_values_videos")])
        grids = torch.cat([given["image_grid_thw"], given["video_grid_thw"]])
        core: Any = self.model.model
        output = core.get_image_features(pixels, grids, return_dict=True)
        num_images = len(given["image_grid_thw"])
        images, videos = (self._features(output, chosen) for chosen in (slice(num_images), slice(num_images, None)))
        return given | {"mm_encoder_outputs": {"image": images, "video": videos}}

    def _features(self, output: Any, chosen: slice) -> Any:
        """Those of some images and videos among what the vision encoder gives of all."""
        return BaseModelOutputWithPooling(pooler_output=output.pooler_output[chosen])

    def _in_time(self, stack: Tensor) -> Tensor:
        """Frames of a video, [n, 3, h, w], as [n / t, t, 3, h, w]; the last one fills a patch that lacks some."""
        times = self.processor.image_processor.temporal_patch_size
        lacking = -len(stack) % times
        return torch.cat([stack, stack[-1:].expand(lacking, -1, -1, -1)]).unflatten(0, (-1, times))

    def _patches(self, stack: Tensor) -> Tensor:
        """Patches [k g, 3 t p p] of normalised frames [k, t, 3, h, w], those that merge to one token side by side."""
        patch, merge = self.processor.image_processor.patch_size, self.processor.image_processor.merge_size
        count, times, channels, height, width = stack.shape
        rows, columns = height // patch // merge, width // patch // merge
        patches = stack.reshape(count, times, channels, rows, merge, patch, columns, merge, patch)
        return patches.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, channels * times * patch * patch)

    @override
    def token_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        of_images, of_videos = input_ids == self.image_token_id, input_ids == self.video_token_id
        return {"mm_token_type_ids": of_images.int() + 2 * of_videos.int()}

    def position_ids(self, input_ids: Tensor, frames: Frames) -> Tensor:
        """int64 [4, n]: place in the sample, then time, height and width.

        What follows an image or a video begins behind the largest of its positions, as in the family's own code and
        vLLM. transformers 5 begins behind the longer side of a video's frames, among the positions of its times.
        """
        return self._positions(input_ids, self._blocks(frames))

    def _positions(self, input_ids: Tensor, blocks: Iterator[tuple[Tensor, Size]]) -> Tensor:
        """As `position_ids`; takes as many of the blocks as the sample shows."""
        length = len(input_ids)
        positions = torch.arange(length).repeat(4, 1)
        shown = (input_ids == self.image_token_id) | (input_ids == self.video_token_id)
        places = shown.nonzero().squeeze(1).tolist()
        first = shift = 0
        while first < len(places):
            times, (height, width) = next(blocks)
            rows, columns = height // self._step_px, width // self._step_px
            area = rows * columns
            begin, end = places[first], places[first] + len(times) * area
            start = begin + shift
            positions[1, begin:end] = start + times.repeat_interleave(area)
            positions[2, begin:end] = start + torch.arange(rows).repeat_interleave(columns).repeat(len(times))
            positions[3, begin:end] = start + torch.arange(columns).repeat(len(times) * rows)
            shift += max(rows, columns, int(times[-1]) + 1) - len(times) * area
            positions[1:, end:] = torch.arange(end, length) + shift
            first += len(times) * area
        return positions.to(input_ids.device)

    def _blocks(self, frames: Frames) -> Iterator[tuple[Tensor, Size]]:
        """The uninterrupted runs of visual tokens: positions in time of their patches, int64 [t], and frame size."""
        for size, video in frames.units():
            if video is None:
                yield torch.zeros(1, dtype=torch.int64), size
            else:
                # In 32 bits, as in the family's own code: the positions are rounded down.
                seconds = torch.tensor(self.processor.image_processor.temporal_patch_size * video.interval_s)
                interval = self.config.vision_config.tokens_per_second * seconds
                yield (torch.arange(self._times_patches(video.num_frames)) * interval).long(), size

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        frames: Frames | None,
        *,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        """As the base class; where native videos are shown, with the positions of `position_ids`, not the model's."""
        if position_ids is None and past_key_values is None and frames is not None and frames.videos:
            blocks = self._blocks(frames)
            position_ids = input_ids.new_zeros(3, *input_ids.shape)
            for number, row in enumerate(input_ids):
                own = slice(None) if attention_mask is None else attention_mask[number].bool()
                position_ids[:, number, own] = self._positions(row[own], blocks)[1:]
        return super().forward(
            input_ids, attention_mask, frames, position_ids=position_ids, past_key_values=past_key_values, **options
        )

    @override
    def position_shift(self, input_ids: Tensor, frames: Frames | None) -> Tensor | int:
        if frames is None or not len(frames):
            return 0
        if not frames.videos:
            core: Any = self.model.model
            return core.rope_deltas
        assert len(input_ids) == 1, "rows with native videos are cached one by one"
        return int(self.position_ids(input_ids[0], frames)[-1, -1]) + 1 - input_ids.shape[1]

    @override
    def parts(self) -> dict[str, nn.Module]:
        core: Any = self.model.model
        of_vision = dict(core.visual.named_children())
        projector = nn.ModuleDict({name: of_vision.pop(name) for name in self.vision_merging_parts})
        return super().parts() | {"vision": nn.ModuleDict(of_vision), "projector": projector}

    @staticmethod
    @override
    def frame_size_of(processor: Any) -> int:
        return isqrt(processor.image_processor.size["longest_edge"])

    @classmethod
    @override
    def tiny(cls, texts: Sequence[str], frame_size_px: int, sizes: TinySizes) -> tuple[Any, Any]:
        tokenizer = train_tokenizer(
            texts, eos_token=cls.end_of_turn, other_special_tokens=["<|im_start|>", *VISION_TOKENS.values()]
        )
        config = cls.config_class(
            **token_ids(tokenizer, **VISION_TOKENS),
            vision_config={
                "depth": 2,
                "hidden_size": sizes.vision_width,
                "intermediate_size": 2 * sizes.vision_width,
                "num_heads": sizes.num_heads,
                "out_hidden_size": sizes.text_width,
                "patch_size": PATCH_PX,
                **cls.tiny_vision(frame_size_px),
            },
            text_config=sizes.text(tokenizer, **cls.tiny_text),
        )
        limits = {"shortest_edge": (4 * PATCH_PX) ** 2, "longest_edge": frame_size_px**2}
        image_processor = Qwen2VLImageProcessorPil(patch_size=PATCH_PX, size=limits, **cls.tiny_colours)
        return config, cls.processor_class(image_processor, tokenizer, None)

    @staticmethod
    def tiny_vision(frame_size_px: int) -> dict[str, Any]:
        """Settings of the tiny vision encoder that the family does not share with its kin."""
        return {"window_size": 4 * PATCH_PX, "fullatt_block_indexes": [1]}
