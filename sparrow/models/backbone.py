"""The one interface to a family of image-LLMs: its frames and chats as model inputs, its model, parts and blocks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from sparrow.core.errors import BackboneError
from sparrow.models.chat import TokenizedChat
from sparrow.models.chat_input import ChatInput
from sparrow.models.checkpoint_files import Checkpoint
from sparrow.models.frame_buffer import Frames, Size
from sparrow.models.frame_input import WithoutVideo
from sparrow.models.saved_folder import save_folder
from sparrow.models.tiny import TinySizes, random_model

__all__ = ["Backbone", "Size", "TokenizedChat", "WithoutVideo"]


class Backbone(ChatInput):
    """Adapter of one family.

    What it does with frames and chats is inherited and needs no model: training, evaluation and planning agree on the
    number of tokens before anything is decoded. What it does with the model is here.

    Args:
        processor: The family's processor, with its tokenizer and image processor.
        config: The model's configuration.
        frame_size_px: Side of the square at which a frame is shown to the vision encoder; for a family that keeps
            the frame's proportions, the side of the square that has as many pixels.
        model: The model, or None where tokens are only counted.
        native_video: Whether the frames of a video go in the way the family has for videos.
        min_frame_size_px: Side of the square that has as many pixels as the smallest frame, for a family that enlarges
            smaller ones; None: as the checkpoint's processor has it.

    Raises:
        BackboneError: If the frame size does not fit the vision encoder, the chat template marks no answer, or the
            family's native video is not offered.

    `origin` is the checkpoint that it was loaded from, with the commit of a Hub id.
    """

    native_checkpoints: ClassVar[tuple[str, ...]] = ()
    skips_cached_padding: ClassVar[bool] = True
    module_names: ClassVar[tuple[str, str, str]] = ("vision_tower", "multi_modal_projector", "language_model")
    vision_blocks: ClassVar[str] = "vision_tower.encoder.layers"

    def __init__(
        self, processor: Any, config: Any, frame_size_px: int, model: nn.Module | None = None, **options: Any
    ) -> None:
        super().__init__(processor, config, frame_size_px, **options)
        self._model = model
        self.origin: Checkpoint | None = None

    def with_model(self, model: nn.Module) -> Self:
        """This backbone with a model."""
        other = copy(self)
        other._model = model
        return other

    @property
    def model(self) -> nn.Module:
        """The model; an assertion fails where the backbone was loaded for its tokens only."""
        assert self._model is not None, "this backbone was loaded without its model"
        return self._model

    @classmethod
    @abstractmethod
    def tiny(cls, texts: Sequence[str], frame_size_px: int, sizes: TinySizes) -> tuple[Any, Any]:
        """Configuration and processor of a tiny sibling of the real architecture."""

    @classmethod
    def make_tiny(cls, folder: Path, texts: Sequence[str], *, frame_size_px: int, seed: int, sizes: TinySizes) -> None:
        """Write the tiny sibling, randomly initialised, as a Hugging Face folder."""
        config, processor = cls.tiny(texts, frame_size_px, sizes)
        cls(processor, config, frame_size_px, random_model(config, seed)).save(folder)

    def parts(self) -> dict[str, nn.Module]:
        """The modules `vision`, `projector` and `language_model`, which together hold every parameter."""
        core: Any = self.model.model
        vision, projector, language_model = map(core.get_submodule, self.module_names)
        return {
            "vision": vision,
            "projector": projector,
            "language_model": nn.ModuleList([language_model, self.output_head]),
        }

    def blocks(self) -> list[nn.Module]:
        """Transformer blocks of vision encoder and language model: the units of sharding and checkpointing."""
        core: Any = self.model.model
        return [*core.get_submodule(self.vision_blocks), *core.get_submodule(self.module_names[2]).layers]

    def unused(self) -> list[nn.Module]:
        """Modules that no output depends on: they would never have a gradient, which ranks wait for."""
        return []

    @property
    def output_head(self) -> nn.Module:
        """The layer from hidden states to logits; no family of the registry changes the logits after it."""
        head: Any = self.model.lm_head
        return head

    def compile_blocks(self) -> None:
        """Let torch compile each block at its first use, for rows of any length; names of parameters stay.

        Blocks of one kind share their code, which takes seconds where the whole model takes minutes.
        """
        for block in self.blocks():
            block.compile(dynamic=True)

    def encoded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Model inputs in which the features of frames may stand for their pixels, for a model that would not show
        all frames to its vision encoder in one call.

        Called inside the model's forward pass: ranks that share its weights gather them together, so that each has to
        call its encoder as often as the others.
        """
        return inputs

    def token_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Model inputs that follow from the token ids, such as which of them stand for frames."""
        return {}

    def position_ids(self, input_ids: Tensor, frames: Frames) -> Tensor:
        """Positions of one sample's tokens, int64 [n] or [k, n]."""
        return torch.arange(len(input_ids), device=input_ids.device)

    def position_shift(self, input_ids: Tensor, frames: Frames | None) -> Tensor | int:
        """What is added to the place of a token behind these, [b, L], to give its position; images may save some."""
        return 0

    @property
    def supports_packing(self) -> bool:
        """Whether samples can share a row without seeing each other."""
        return self.facts.without_packing is None

    def packed_position_ids(self, samples: Sequence[tuple[Tensor, Frames]]) -> Tensor:
        """Positions of samples that share one row, each given as its token ids and its prepared frames.

        Returns:
            int64 [1, L] or [k, 1, L], for `forward` with `attention_mask=None` and no cache.

        Raises:
            BackboneError: If the model would mix the samples.
        """
        if reason := self.facts.without_packing:
            raise BackboneError(f"samples of {self.family} cannot share a row ({reason}); set batching=padded")
        return torch.cat([self.position_ids(ids, frames) for ids, frames in samples], dim=-1).unsqueeze(-2)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        frames: Frames | None,
        *,
        position_ids: Tensor | None = None,
        logits_to_keep: Tensor | int = 0,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> Any:
        """Run the model.

        Args:
            input_ids: int64 [b, L].
            attention_mask: int64 [b, L], zero on padding; None where nothing is padded.
            frames: Prepared frames of all rows, in reading order.
            position_ids: int64 [b, L], or [k, b, L] of `position_ids`; counted from the attention mask where None.
                Packed samples: each sample's own positions joined, `attention_mask` None, no cache.
            logits_to_keep: Positions whose logits are computed, int64 [k]; 0 for all.
            past_key_values: Cache of an earlier part of the sequence; `position_ids` are then places in the sequence.
            use_cache: Whether the output holds a cache.

        Returns:
            The model's output; `logits` is [b, k, vocabulary].
        """
        dtype = next(self.model.parameters()).dtype
        inputs = self.pixel_inputs(frames, dtype) if frames is not None and len(frames) else {}
        if past_key_values is None:
            inputs |= self.token_inputs(input_ids)
        elif position_ids is not None:
            position_ids = position_ids + past_key_values.position_shift
        # A hook runs after that of sharding, which gathers the weights.
        hook = self.model.register_forward_pre_hook(
            lambda _, arguments, given: (arguments, self.encoded(given)), with_kwargs=True
        )
        try:
            output = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                logits_to_keep=logits_to_keep,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **inputs,
            )
        finally:
            hook.remove()
        if use_cache and past_key_values is None:
            # It goes with the cache to what follows these tokens.
            output.past_key_values.position_shift = self.position_shift(input_ids, frames)
        return output

    def save(self, folder: Path) -> None:
        """Write model and processor as a Hugging Face folder with safetensors."""
        save_folder(self, folder)
