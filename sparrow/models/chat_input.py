"""How a family writes a chat: its template, the tokens that stand for frames, the ids of a whole conversation."""

from __future__ import annotations

import inspect
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sparrow.core.errors import BackboneError
from sparrow.models.chat import ChatTemplate, TemplateChoice, TokenizedChat, control_tokens, expand, tokenize
from sparrow.models.frame_buffer import Size
from sparrow.models.frame_input import FrameInput


class ChatInput(FrameInput):
    """What a `Backbone` does with chats; all of it is known before anything is decoded."""

    end_of_turn: ClassVar[str]
    video_needs_times: ClassVar[bool] = True
    known_difference: ClassVar[str | None] = None  # why Sparrow's chat template is taken where the publishers' differs

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        file = self.template_file()
        template = ChatTemplate(file.read_text(), self.end_of_turn)
        if not re.search(r"{%-?\s*generation\b", template.jinja):
            raise BackboneError(
                f"{file} marks no answer, so that nothing would be learnt; put "
                "{% generation %} and {% endgeneration %} around an assistant's words and their end marker"
            )
        self.template_choice = TemplateChoice("sparrow")
        self.use_template(template)

    @classmethod
    def template_file(cls) -> Path:
        """`templates/MODULE.jinja` beside the family's module, or else that of the family that it derives from.

        Raises:
            BackboneError: If there is none.
        """
        modules = [Path(inspect.getfile(kind)) for kind in cls.__mro__ if issubclass(kind, ChatInput)]
        files = [module.parent / "templates" / f"{module.stem}.jinja" for module in modules]
        if found := next((file for file in files if file.is_file()), None):
            return found
        raise BackboneError(f"{cls.family} has no chat template; write {files[0]}")

    def use_template(self, template: ChatTemplate) -> None:
        """Write chats by a template, also in a folder that is saved."""
        self.template = template
        self.end_of_turn = template.end_of_turn  # type: ignore[misc]
        self.processor.chat_template = self.tokenizer.chat_template = template.jinja
        # A token that the tokenizer lacks would be added, behind the last one of the model.
        if self.tokenizer.backend_tokenizer.token_to_id(template.end_of_turn) is not None:
            # Generation stops where a turn ends, whatever a checkpoint's tokenizer calls its end.
            self.tokenizer.eos_token = template.end_of_turn
            if self.tokenizer.pad_token is None:
                self.tokenizer.pad_token = template.end_of_turn

    def template_for_tokens(self) -> str:
        """The chat template whose rendering is tokenized, each image one token."""
        return self.template.jinja

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
        images: list[np.ndarray] = []
        videos: list[np.ndarray] = []
        ids_of_frame = cache(lambda size: np.asarray(self.frame_token_ids(self._shown_size(size)), np.int64))

        def written(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
            """A part as the template knows it, its tokens noted."""
            if part["type"] == "image":
                images.append(ids_of_frame(next(sizes)))
                words = self.time_words(part["time_s"]) if "time_s" in part else ""
                if words and not self.template.marks_answers:  # a publisher's template knows no times
                    yield {"type": "text", "text": words}
                yield {"type": "image", "time": words} if words else {"type": "image"}
            elif part["type"] == "video":
                size, *_ = [next(sizes) for _ in part["times_s"]]
                shown = self._shown_size(size, len(part["times_s"]))
                placeholders = self.video_placeholders(shown, part["times_s"])
                videos.extend(np.asarray(tokens, np.int64) for _, tokens in placeholders)
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

    def identity(self) -> list[Any]:
        """What the tokens and frames of a sample follow from, beside its content and the tokenizer."""
        settings: list[Any] = [self.family, self.frame_size_px, self.native_video, self.template.jinja]
        return settings + [more for more in (dict(self.template.options), self.template.prompt_end) if more]

    def described_input(self) -> dict[str, Any]:
        """What the model is shown, for the record of a run."""
        choice = self.template_choice
        return {"template": choice.template, "template_difference": choice.difference, **self.frame_limits()}
