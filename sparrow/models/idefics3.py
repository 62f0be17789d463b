"""Idefics3: SigLIP vision encoder, pixel-shuffle projector, Llama language model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import (
    Idefics3ImageProcessorPil,
    get_resize_output_image_size,
)

from sparrow.models.backbone import Backbone, Size
from sparrow.models.tiny import train_tokenizer

TINY_MAX_POSITIONS = 16_384


class Idefics3(Backbone):
    """Adapter of `Idefics3ForConditionalGeneration`; a frame is one global view, never split into tiles."""

    family = "idefics3"
    native_checkpoints = ("HuggingFaceM4/Idefics3-8B-Llama3",)

    def configure_processor(self) -> None:  # noqa: D102
        vision = self.config.vision_config
        self._require_multiple(vision.patch_size * self.config.scale_factor)
        side = self.frame_size_px // vision.patch_size // self.config.scale_factor
        self.processor.image_seq_len = side**2
        image_processor = self.processor.image_processor
        image_processor.do_image_splitting = False
        image_processor.size = {"longest_edge": self.frame_size_px}
        image_processor.max_image_size = {"longest_edge": self.frame_size_px}

    @property
    def image_token_id(self) -> int:  # noqa: D102
        return int(self.processor.image_token_id)

    @cached_property
    def _frame_token_ids(self) -> list[int]:
        processor = self.processor
        fake, view, image = processor.fake_image_token_id, processor.global_image_token_id, processor.image_token_id
        return [fake, view, *[image] * processor.image_seq_len, fake]

    def frame_token_ids(self, size: Size) -> list[int]:  # noqa: D102
        return self._frame_token_ids

    def prepare_frame(self, frame: np.ndarray) -> np.ndarray:
        """As `Idefics3ImageProcessorPil`: the longest edge to the frame size, then squared, both Lanczos."""
        side = self.frame_size_px
        if frame.shape[:2] != (side, side):
            picture = Image.fromarray(frame)
            if picture.mode != "RGB":
                picture = picture.convert("RGB")
            height, width = get_resize_output_image_size(np.empty((3, *frame.shape[:2])), resolution_max_side=side)
            for target in ((width, height), (side, side)):
                picture = picture.resize(target, Image.Resampling.LANCZOS)
            frame = np.asarray(picture)
        if frame.ndim == 2:
            return np.broadcast_to(frame, (3, side, side))
        return frame.transpose(2, 0, 1)

    def pixel_inputs(self, frames: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:  # noqa: D102
        image_processor = self.processor.image_processor
        mean, std = (
            torch.tensor(v, device=frames.device).view(1, 3, 1, 1)
            for v in (image_processor.image_mean, image_processor.image_std)
        )
        pixels = (frames.float() * image_processor.rescale_factor - mean) / std
        return {"pixel_values": pixels.to(dtype).unsqueeze(0)}

    def parts(self) -> dict[str, nn.Module]:  # noqa: D102
        core: Any = self.model.model
        language = nn.ModuleList([core.text_model, cast(nn.Module, self.model.lm_head)])
        return {"vision": core.vision_model, "projector": core.connector, "language_model": language}

    def blocks(self) -> list[nn.Module]:  # noqa: D102
        core: Any = self.model.model
        return [*core.vision_model.encoder.layers, *core.text_model.layers]

    @staticmethod
    def frame_size_of(processor: Any) -> int:  # noqa: D102
        return int(processor.image_processor.max_image_size["longest_edge"])

    @classmethod
    def make_tiny(cls, folder: Path, texts: Sequence[str], *, frame_size_px: int, seed: int) -> None:  # noqa: D102
        tokenizer = train_tokenizer(
            texts,
            bos_token="<|begin_of_text|>",
            eos_token="<end_of_utterance>",
            other_special_tokens=["<fake_token_around_image>", "<image>", "<global-img>"],
        )
        config = Idefics3Config(
            image_token_id=cast(int, tokenizer.convert_tokens_to_ids("<image>")),
            scale_factor=2,
            tie_word_embeddings=False,
            vision_config={
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": frame_size_px,
                "patch_size": 16,
                "initializer_range": 0.06,
            },
            text_config={
                "model_type": "llama",
                "vocab_size": len(tokenizer),
                "hidden_size": 96,
                "intermediate_size": 192,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "max_position_embeddings": TINY_MAX_POSITIONS,
                "initializer_range": 0.06,
                "rms_norm_eps": 1e-5,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Idefics3ForConditionalGeneration(config)
        processor = Idefics3Processor(Idefics3ImageProcessorPil(), tokenizer)
        cls(processor, config, frame_size_px, model).save(folder)
