"""Gemma 3: SigLIP at one fixed size, average-pooled projector, a language model that reads an image both ways."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor
from transformers import Gemma3Config, Gemma3Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from typing_extensions import override

from sparrow.models.square_frames import SquareFrames
from sparrow.models.tiny import HEAD_WIDTH, TinySizes, token_ids, train_tokenizer

NAMED_TOKENS = {
    "image_token": "<image_soft_token>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
}
TINY_TOKENS_A_FRAME = 4


class Gemma3(SquareFrames):
    """Adapter of `Gemma3ForConditionalGeneration`; a frame is one view, without pan and scan."""

    end_of_turn = "<end_of_turn>"
    native_checkpoints = ("google/gemma-3-4b-it", "google/gemma-3-12b-it")

    @override
    def configure_processor(self) -> None:
        self._require_size(self.config.vision_config.image_size)
        super().configure_processor()
        self.processor.image_processor.do_pan_and_scan = False

    @property
    @override
    def image_token_id(self) -> int:
        return int(self.tokenizer.boi_token_id)

    def template_for_tokens(self) -> str:
        """The blank lines around an image are text, which its neighbours may merge with when it is tokenized."""
        return self.template.jinja.replace("'<start_of_image>'", r"'\n\n<start_of_image>\n\n'")

    @cached_property
    @override
    def square_token_ids(self) -> list[int]:
        tokenizer = self.tokenizer
        soft = [tokenizer.image_token_id] * self.processor.image_seq_length
        return [tokenizer.boi_token_id, *soft, tokenizer.eoi_token_id]

    @override
    def token_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": (input_ids == self.tokenizer.image_token_id).long()}

    @classmethod
    @override
    def tiny(cls, texts: Sequence[str], frame_size_px: int, sizes: TinySizes) -> tuple[Any, Any]:
        tokenizer = train_tokenizer(
            texts,
            bos_token="<bos>",
            eos_token=cls.end_of_turn,
            other_special_tokens=["<start_of_turn>"],
            named_tokens=NAMED_TOKENS,
        )
        config = Gemma3Config(
            **token_ids(
                tokenizer,
                image_token_id="<image_soft_token>",
                boi_token_index="<start_of_image>",
                eoi_token_index="<end_of_image>",
            ),
            mm_tokens_per_image=TINY_TOKENS_A_FRAME,
            vision_config=sizes.vision(
                image_size=frame_size_px, model_type="siglip_vision_model", vision_use_head=False
            ),
            text_config=sizes.text(
                tokenizer, model_type="gemma3_text", head_dim=HEAD_WIDTH, query_pre_attn_scalar=HEAD_WIDTH
            ),
        )
        processor = Gemma3Processor(Gemma3ImageProcessorPil(), tokenizer, image_seq_length=TINY_TOKENS_A_FRAME)
        return config, processor
