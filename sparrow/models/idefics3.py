"""Idefics3: SigLIP vision encoder, pixel-shuffle projector, Llama language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import Idefics3Config, Idefics3Processor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.idefics3.image_processing_pil_idefics3 import (
    Idefics3ImageProcessorPil,
    get_resize_output_image_size,
)
from typing_extensions import override

from sparrow.models.frame_buffer import Frames
from sparrow.models.square_frames import SquareFrames
from sparrow.models.tiny import TinySizes, token_ids, train_tokenizer


class Idefics3(SquareFrames):
    """Adapter of `Idefics3ForConditionalGeneration`; a frame is one global view, never split into tiles."""

    end_of_turn = "<end_of_utterance>"
    native_checkpoints: ClassVar[tuple[str, ...]] = ("HuggingFaceM4/Idefics3-8B-Llama3",)
    module_names = ("vision_model", "connector", "text_model")
    vision_blocks = "vision_model.encoder.layers"
    tiny_classes: ClassVar[tuple[Any, Any, Any]] = (Idefics3Config, Idefics3ImageProcessorPil, Idefics3Processor)
    tiny_bos_token: ClassVar[str] = "<|begin_of_text|>"

    @override
    def configure_processor(self) -> None:
        patch, scale = self.config.vision_config.patch_size, self.config.scale_factor
        side = self.frame_size_px // patch
        if side == 0 or side % scale:
            self._require_multiple(patch * scale)
        self.processor.image_seq_len = (side // scale) ** 2
        image_processor = self.processor.image_processor
        image_processor.do_image_splitting = False
        image_processor.size = {"longest_edge": self.frame_size_px}
        image_processor.max_image_size = {"longest_edge": self.frame_size_px}

    @property
    @override
    def image_token_id(self) -> int:
        return int(self.tokenizer.convert_tokens_to_ids("<image>"))

    @cached_property
    @override
    def square_token_ids(self) -> list[int]:
        fake, view = self.tokenizer.convert_tokens_to_ids(["<fake_token_around_image>", "<global-img>"])
        return [fake, view, *[self.image_token_id] * self.processor.image_seq_len, fake]

    def prepare_frame(self, frame: np.ndarray) -> np.ndarray:
        """As the image processor: the longest edge to the frame size first, then squared."""
        if frame.shape[:2] != self.prepared_size(frame.shape[:2]):
            longest = get_resize_output_image_size(np.empty((3, *frame.shape[:2])), self.frame_size_px)
            frame = self.resized(frame, longest)
        return super().prepare_frame(frame)

    @override
    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        return {"pixel_values": self.normalized_stack(frames, dtype).unsqueeze(0)}

    def encoded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The model would look through all pixels for frames and borders that only fill up; there are none."""
        given = dict(inputs)
        pixels = given.pop("pixel_values", None)
        if pixels is None:
            return inputs
        core: Any = self.model.model
        features = core.connector(core.vision_model(pixel_values=pixels[0]).last_hidden_state).flatten(0, 1)
        return given | {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}

    @staticmethod
    @override
    def frame_size_of(processor: Any) -> int:
        return int(processor.image_processor.max_image_size["longest_edge"])

    @classmethod
    @override
    def tiny(cls, texts: Sequence[str], frame_size_px: int, sizes: TinySizes) -> tuple[Any, Any]:
        config_class, image_processor_class, processor_class = cls.tiny_classes
        tokenizer = train_tokenizer(
            texts,
            bos_token=cls.tiny_bos_token,
            eos_token=cls.end_of_turn,
            other_special_tokens=["<fake_token_around_image>", "<image>", "<global-img>"],
        )
        config = config_class(
            **token_ids(tokenizer, image_token_id="<image>"),
            scale_factor=2,
            tie_word_embeddings=False,
            vision_config=sizes.vision(image_size=frame_size_px),
            text_config=sizes.text(tokenizer, model_type="llama"),
        )
        return config, processor_class(image_processor_class(), tokenizer)
