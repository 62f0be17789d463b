"""The one interface to a family of image-LLMs: chat to tokens, frames to pixels, parts and blocks of the model."""

from __future__ import annotations

import inspect
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoProcessor

from sparrow.core.errors import BackboneError, MediaError
from sparrow.core.files import write_json
from sparrow.models.adapters import has_adapters, save_trained_parts
from sparrow.models.chat import ChatTemplate, TemplateChoice, TokenizedChat, control_tokens, expand, tokenize
from sparrow.models.checkpoint_files import Checkpoint
from sparrow.models.frame_buffer import Frames, NativeVideo, Size, normalize
from sparrow.models.registry import FACTS, FAMILIES, FamilyFacts, check_native_video
from sparrow.models.tiny import TinySizes, random_model

__all__ = ["Backbone", "Size", "TokenizedChat", "WithoutVideo"]

# Beside tokenizer.json, which holds the same: some programs read these alone.
TOKENIZER_PARTS = ("vocab.json", "merges.txt", "tokenizer.model")
MOST_FRAME_PX, USUAL_FRAME_PX = 2048, 448
OF_SAMPLING = ("temperature", "top_p", "top_k", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


class WithoutVideo:
    """Put before a family's processor class: no video processor, which needs torchvision, is made, loaded or saved."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts of the processor."""
        parent: Any = super()
        return [name for name in parent.get_attributes() if name != "video_processor"]


class Backbone(ABC):
    """Adapter of one family.

    Frames are shown as images, or those of a video as a native video; training, evaluation and planning agree on the
    number of their tokens before anything is decoded.

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

    family: ClassVar[str]  # its name in the registry, or the dotted path of a user's own
    facts: ClassVar[FamilyFacts]
    end_of_turn: ClassVar[str]
    native_checkpoints: ClassVar[tuple[str, ...]] = ()
    processor_class: ClassVar[Any] = AutoProcessor
    video_processor_type: ClassVar[str | None] = None
    skips_cached_padding: ClassVar[bool] = True
    video_needs_times: ClassVar[bool] = True
    enlarges_frames: ClassVar[bool] = False
    known_difference: ClassVar[str | None] = None  # why Sparrow's chat template is taken where the publishers' differs
    module_names: ClassVar[tuple[str, str, str]] = ("vision_tower", "multi_modal_projector", "language_model")
    vision_blocks: ClassVar[str] = "vision_tower.encoder.layers"

    def __init__(
        self,
        processor: Any,
        config: Any,
        frame_size_px: int,
        model: nn.Module | None = None,
        *,
        native_video: bool = False,
        min_frame_size_px: int | None = None,
    ) -> None:
        if native_video:
            check_native_video(self.family)
        if min_frame_size_px is not None and not (self.enlarges_frames and min_frame_size_px <= frame_size_px):
            why = (
                f"it is above backbone.frame_size_px={frame_size_px}"
                if self.enlarges_frames
                else "it has one size only"
            )
            raise BackboneError(
                f"backbone.min_frame_size_px={min_frame_size_px} does not fit {self.family}: {why}; set it to null"
            )
        self.min_frame_size_px = min_frame_size_px
        self.video_settings: dict[str, Any] = {}  # of a checkpoint's video_preprocessor_config.json
        self.native_video = native_video
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.config = config
        self.frame_size_px = frame_size_px
        self._model = model
        self.origin: Checkpoint | None = None
        template = self.template_file()
        self.chat_template = template.read_text()
        if not re.search(r"{%-?\s*generation\b", self.chat_template):
            raise BackboneError(
                f"{template} marks no answer, so that nothing would be learnt; put "
                "{% generation %} and {% endgeneration %} around an assistant's words and their end marker"
            )
        self.template_choice = TemplateChoice("sparrow")
        self.use_template(ChatTemplate(self.chat_template, self.end_of_turn))
        self.configure_processor()

    def __init_subclass__(cls) -> None:
        path = f"{cls.__module__}.{cls.__qualname__}"
        cls.family = next((name for name in FAMILIES if FAMILIES.path(name) == path), path)
        if cls.family in FACTS:
            cls.facts = FACTS[cls.family]

    @classmethod
    def template_file(cls) -> Path:
        """`templates/MODULE.jinja` beside the family's module, or else that of the family that it derives from.

        Raises:
            BackboneError: If there is none.
        """
        modules = [Path(inspect.getfile(kind)) for kind in cls.__mro__ if issubclass(kind, Backbone)]
        files = [module.parent / "templates" / f"{module.stem}.jinja" for module in modules]
        if found := next((file for file in files if file.is_file()), None):
            return found
        raise BackboneError(f"{cls.family} has no chat template; write {files[0]}")

    def use_template(self, template: ChatTemplate) -> None:
        """Write chats by a template, also in a folder that is saved."""
        self.template, self.chat_template = template, template.jinja
        self.end_of_turn = template.end_of_turn  # type: ignore[misc]
        self.processor.chat_template = self.tokenizer.chat_template = template.jinja
        # A token that the tokenizer lacks would be added, behind the last one of the model.
        if self.tokenizer.backend_tokenizer.token_to_id(template.end_of_turn) is not None:
            # Generation stops where a turn ends, whatever a checkpoint's tokenizer calls its end.
            self.tokenizer.eos_token = template.end_of_turn
            if self.tokenizer.pad_token is None:
                self.tokenizer.pad_token = template.end_of_turn

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

    @abstractmethod
    def configure_processor(self) -> None:
        """Set the processor to one view of `frame_size_px` a frame, so that an exported folder reads frames alike."""

    def show_usual_frames(self) -> None:
        """Show frames of `USUAL_FRAME_PX` where the checkpoint's own limit is that of single pictures."""
        if self.frame_size_px > MOST_FRAME_PX:
            self.frame_size_px = USUAL_FRAME_PX
            self.configure_processor()

    @property
    def image_token_id(self) -> int:
        """Id of the token that the chat template writes for an image."""
        return int(self.processor.image_token_id)

    @abstractmethod
    def frame_token_ids(self, size: Size) -> list[int]:
        """Token ids that stand for one prepared frame of `size` (height, width), markers included."""

    @property
    def video_token_id(self) -> int:
        """Id of the token that the chat template writes for a native video."""
        return int(self.processor.video_token_id)

    def video_placeholders(self, size: Size, times_s: Sequence[float]) -> list[tuple[str, list[int]]]:
        """The placeholders that the chat template writes for a native video: words before each, and what it becomes.

        `size` is that of the prepared frames.
        """
        raise NotImplementedError

    def time_words(self, time_s: float) -> str:
        """What stands before a frame that is shown at a time: the form of Qwen3-VL's processor."""
        return f"<{time_s:.1f} seconds>"

    @abstractmethod
    def prepared_size(self, size: Size) -> Size:
        """(height, width) at which a frame of `size` is shown to the vision encoder."""

    def video_frame_size(self, size: Size, num_frames: int) -> Size:
        """The same for a frame of a native video of `num_frames` frames."""
        return self.prepared_size(size)

    @abstractmethod
    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        """Model inputs of prepared frames: rescaled, normalised and laid out where the frames lie."""

    def encoded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Model inputs in which the features of frames may stand for their pixels, for a model that would not show
        all frames to its vision encoder in one call.

        Called inside the model's forward pass: ranks that share its weights gather them together, so that each has to
        call its encoder as often as the others.
        """
        return inputs

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

    @staticmethod
    @abstractmethod
    def frame_size_of(processor: Any) -> int:
        """The frame size that a saved processor is set to."""

    @classmethod
    @abstractmethod
    def tiny(cls, texts: Sequence[str], frame_size_px: int, sizes: TinySizes) -> tuple[Any, Any]:
        """Configuration and processor of a tiny sibling of the real architecture."""

    @classmethod
    def make_tiny(cls, folder: Path, texts: Sequence[str], *, frame_size_px: int, seed: int, sizes: TinySizes) -> None:
        """Write the tiny sibling, randomly initialised, as a Hugging Face folder."""
        config, processor = cls.tiny(texts, frame_size_px, sizes)
        cls(processor, config, frame_size_px, random_model(config, seed)).save(folder)

    @property
    def supports_packing(self) -> bool:
        """Whether samples can share a row without seeing each other."""
        return self.facts.without_packing is None

    @property
    def vocabulary_size(self) -> int:
        """Rows of the model's embeddings: every token id is below it."""
        return int(self.config.get_text_config().vocab_size)

    @property
    def context_length_tokens(self) -> int:
        """The longest sequence that the language model was made for."""
        return int(self.config.get_text_config().max_position_embeddings)

    def visual_tokens(self, size: Size, num_frames: int) -> int:
        """Tokens that a video of `num_frames` frames of `size` (height, width) takes, markers included.

        Times in words are text.
        """
        if self.native_video and num_frames > 0:
            prepared = self.video_frame_size(size, num_frames)
            return sum(len(tokens) for _, tokens in self.video_placeholders(prepared, [0.0] * num_frames))
        return num_frames * len(self.frame_token_ids(self.prepared_size(size)))

    def require_room(self, num_frames: int | None, key: str = "frames.max_frames") -> None:
        """Refuse more frames than fit into a sequence, before any is decoded; `key` is the setting that allows them.

        Raises:
            BackboneError: If `num_frames` square frames take more tokens than the context length.
        """
        side = self.frame_size_px
        needed = self.visual_tokens((side, side), num_frames or 0)
        if needed > self.context_length_tokens:
            raise BackboneError(
                f"{key}={num_frames} at backbone.frame_size_px={side} take {needed} tokens, "
                f"{self.family} was made for {self.context_length_tokens}; lower one of them"
            )

    def tokenize_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        frame_sizes: Sequence[Size],
        *,
        add_generation_prompt: bool = False,
        in_order: bool = False,
    ) -> TokenizedChat:
        """Apply the chat template, mark what is supervised, and expand each image and video to its tokens.

        Args:
            messages: Turns in the Hugging Face form, `content` a list of `{"type": "text", "text": ...}`,
                `{"type": "image"}`, with a `time_s` to be written before it if there is one, and
                `{"type": "video", "times_s": [...]}`, a native video with the time of each frame.
            frame_sizes: (height, width) of each frame, in order.
            add_generation_prompt: End with the words that open the assistant's turn.
            in_order: Leave frames between texts where the family's way is to put them first.

        Raises:
            DataError: If a text holds one of the model's control tokens, an assistant turn is blank, or a frame's
                proportions are none that the model can be shown.
        """
        sizes = iter(frame_sizes)
        images: list[list[int]] = []
        videos: list[list[int]] = []

        def written(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
            """A part as the template knows it, its tokens noted."""
            if part["type"] == "image":
                images.append(self.frame_token_ids(self._shown_size(next(sizes))))
                words = self.time_words(part["time_s"]) if "time_s" in part else ""
                if words and not self.template.marks_answers:  # a publisher's template knows no times
                    yield {"type": "text", "text": words}
                yield {"type": "image", "time": words}
            elif part["type"] == "video":
                size, *_ = [next(sizes) for _ in part["times_s"]]
                shown = self._shown_size(size, len(part["times_s"]))
                placeholders = self.video_placeholders(shown, part["times_s"])
                videos.extend(tokens for _, tokens in placeholders)
                yield {"type": "video", "times": [words for words, _ in placeholders]}
            else:
                yield part

        turns = [{**turn, "content": [new for part in turn["content"] for new in written(part)]} for turn in messages]
        assert next(sizes, None) is None, "more frame sizes than frames in the chat"
        template = self._template_in_use(in_order=in_order)
        chat = tokenize(
            turns, self.tokenizer, template, control=self._control_tokens, add_generation_prompt=add_generation_prompt
        )
        return expand(chat, {self.image_token_id: images} | ({self.video_token_id: videos} if videos else {}))

    def _template_in_use(self, *, in_order: bool) -> ChatTemplate:
        options = {**self.template.options, "in_order": True} if in_order else self.template.options
        return replace(self.template, jinja=self.template_for_tokens(), options=options)

    def can_interleave(self) -> bool:
        """Whether the chat template can show frames between texts."""
        parts = [{"type": "image", "time": ""}, {"type": "text", "text": "between"}] * 2
        text = self._template_in_use(in_order=True).text([{"role": "user", "content": parts}], self.tokenizer)
        pieces = text.split(self.tokenizer.convert_ids_to_tokens(self.image_token_id))
        return len(pieces) == 3 and "between" in pieces[1]

    @cached_property
    def _control_tokens(self) -> frozenset[str]:
        of_video = [self.video_token_id] if self.facts.native_video else []
        return control_tokens(self.tokenizer, self.image_token_id, *of_video)

    def _shown_size(self, size: Size, num_video_frames: int = 0) -> Size:
        try:
            return self.video_frame_size(size, num_video_frames) if num_video_frames else self.prepared_size(size)
        except ValueError as error:
            raise MediaError(
                f"a frame of {size[1]} x {size[0]} px cannot be shown to {self.family}: {error}",
                remedy="crop it, or skip the sample with on_bad_sample=skip",
            ) from error

    def identity(self) -> list[Any]:
        """What the tokens and frames of a sample follow from, beside its content and the tokenizer."""
        settings: list[Any] = [self.family, self.frame_size_px, self.native_video, self.chat_template]
        return settings + [more for more in (dict(self.template.options), self.template.prompt_end) if more]

    def described_input(self) -> dict[str, Any]:
        """What the model is shown, for the record of a run."""
        choice = self.template_choice
        return {"template": choice.template, "template_difference": choice.difference, **self.frame_limits()}

    def frame_limits(self) -> dict[str, Any]:
        """The limits of a frame's size, and where they come from."""
        return {"frame_size_px": self.frame_size_px}

    def template_for_tokens(self) -> str:
        """The chat template whose rendering is tokenized, each image one token."""
        return self.chat_template

    def prepare_frame(self, frame: np.ndarray) -> np.ndarray:
        """Resize a uint8 frame [h, w, 3] or page [h, w] as the family's image processor does; the same layout."""
        return self.resized(frame, self.prepared_size((int(frame.shape[0]), int(frame.shape[1]))))

    def resized(self, frame: np.ndarray, size: Size) -> np.ndarray:
        """A frame at `size` (height, width) with the image processor's filter; untouched where it has that size."""
        if frame.shape[:2] == size:
            return frame
        resample = Image.Resampling(self.processor.image_processor.resample)
        return np.asarray(Image.fromarray(frame).resize((size[1], size[0]), resample))

    def prepare_video_frame(self, frame: np.ndarray, num_frames: int) -> np.ndarray:
        """The same as the family's video processor does for a video of `num_frames` frames."""
        return self.prepare_frame(frame)

    def prepare_frames(self, frames: Sequence[np.ndarray], videos: Sequence[NativeVideo] = ()) -> Frames:
        """Frames at the sizes that the vision encoder sees; `videos` says which of them are native videos."""
        lengths = {place: video.num_frames for video in videos for place in video.places}
        prepared = [
            self.prepare_video_frame(frame, lengths[place]) if place in lengths else self.prepare_frame(frame)
            for place, frame in enumerate(frames)
        ]
        return Frames.of(prepared, videos)

    def normalized(self, stack: Tensor, dtype: torch.dtype) -> Tensor:
        """uint8 frames [k, 3, h, w] rescaled and normalised as the image processor does."""
        settings = self.processor.image_processor
        return normalize(stack, settings.rescale_factor, settings.image_mean, settings.image_std).to(dtype)

    def normalized_stack(self, frames: Frames, dtype: torch.dtype) -> Tensor:
        """The same of frames that have one size, [n, 3, H, W]."""
        (stack,) = frames.stacks()
        return self.normalized(stack, dtype)

    def token_inputs(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Model inputs that follow from the token ids, such as which of them stand for frames."""
        return {}

    def position_ids(self, input_ids: Tensor, frames: Frames) -> Tensor:
        """Positions of one sample's tokens, int64 [n] or [k, n]."""
        return torch.arange(len(input_ids), device=input_ids.device)

    def position_shift(self, input_ids: Tensor, frames: Frames | None) -> Tensor | int:
        """What is added to the place of a token behind these, [b, L], to give its position; images may save some."""
        return 0

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

    @property
    def output_head(self) -> nn.Module:
        """The layer from hidden states to logits; no family of the registry changes the logits after it."""
        head: Any = self.model.lm_head
        return head

    def save(self, folder: Path) -> None:
        """Write model and processor as a Hugging Face folder with safetensors."""
        _without_idle_values(self.model.generation_config)
        self.model.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
        self.model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
        self.processor.save_pretrained(folder)
        if self.origin is not None:
            _copy_tokenizer_parts(self.origin, folder)
        if has_adapters(self.model):
            save_trained_parts(self.model, folder)
        if self.video_processor_type is not None:
            # Where torchvision is installed, transformers' own processor of the family asks for this file.
            settings = self.video_settings | {"video_processor_type": self.video_processor_type}
            write_json(folder / "video_preprocessor_config.json", settings)
        for path in folder.glob("*.safetensors"):
            path.chmod((folder / "config.json").stat().st_mode)  # safetensors gives it to its owner alone

    def compile_blocks(self) -> None:
        """Let torch compile each block at its first use, for rows of any length; names of parameters stay.

        Blocks of one kind share their code, which takes seconds where the whole model takes minutes.
        """
        for block in self.blocks():
            block.compile(dynamic=True)

    def _require_multiple(self, step_px: int) -> None:
        if self.frame_size_px <= 0 or self.frame_size_px % step_px:
            raise BackboneError(
                f"backbone.frame_size_px={self.frame_size_px} does not fit {self.family}: "
                f"it must be a multiple of {step_px}; take {max(step_px, self.frame_size_px // step_px * step_px)}"
            )

    def _require_size(self, size_px: int) -> None:
        if self.frame_size_px != size_px:
            raise BackboneError(
                f"backbone.frame_size_px={self.frame_size_px} does not fit this {self.family} checkpoint: "
                f"its vision encoder takes {size_px} only; set it to that"
            )


def _without_idle_values(settings: Any) -> None:
    """Drop what has no effect on `generate` as the other settings are, which transformers reads but refuses to save."""
    if settings is None:
        return
    idle = [] if settings.do_sample else list(OF_SAMPLING)
    idle += ["early_stopping", "length_penalty"] if settings.num_beams in (None, 1) else []
    idle += ["cache_implementation", "cache_config"] if settings.use_cache is False else []
    idle += [] if settings.return_dict_in_generate else list(settings.extra_output_flags)
    idle += ["pad_token_id"] if (settings.pad_token_id or 0) < 0 else []
    for name in idle:
        setattr(settings, name, None)


def _copy_tokenizer_parts(origin: Checkpoint, folder: Path) -> None:
    """Give a saved folder the files of its tokenizer that the checkpoint which it comes from has beside the others."""
    with suppress(OSError):  # it has been moved since
        there = origin.folder
        for name in TOKENIZER_PARTS:
            if (there / name).is_file() and not (folder / name).exists():
                shutil.copyfile(there / name, folder / name)
