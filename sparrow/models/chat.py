"""A chat as token ids: rendered by a template, what is learnt marked, what is shown expanded to its tokens."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from sparrow.core.errors import DataError

# Put around an answer to find it in what a template renders; the last characters for private use, which no text holds.
ANSWER_BEGINS, ANSWER_ENDS = "\U0010fffc", "\U0010fffd"
THOUGHT_ENDS = "</think>"
OTHERWISE = (
    "set backbone.template=sparrow where the checkpoint's own is in use, or skip the sample with on_bad_sample=skip"
)


@dataclass(frozen=True)
class ChatTemplate:
    """How a chat is written.

    Args:
        jinja: The template.
        end_of_turn: The token that ends an answer.
        marks_answers: Whether its `{% generation %}` marks say what is learnt. Where not, answers are found in what it
            renders.
        lead: What it writes between the prompt of a reply and the reply; learnt where it stands there.
        prompt_end: What is added to the prompt of a reply.
        options: Variables that it is rendered with.
    """

    jinja: str
    end_of_turn: str
    marks_answers: bool = True
    lead: str = ""
    prompt_end: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def render(
        self, messages: Sequence[Mapping[str, Any]], tokenizer: Any, *, prompt: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text of a chat and where in it answers stand; `prompt` ends it with the words that open a reply.

        Raises:
            DataError: If an answer cannot be found in the text.
        """
        text, spans = self._plain(messages, tokenizer, prompt=prompt)
        if not self.marks_answers:
            spans = self._found(messages, tokenizer, text, prompt=prompt)
        return text, spans

    def text(self, messages: Sequence[Mapping[str, Any]], tokenizer: Any, *, prompt: bool = False) -> str:
        """The text of a chat alone."""
        return self._plain(messages, tokenizer, prompt=prompt)[0]

    def _plain(
        self, messages: Sequence[Mapping[str, Any]], tokenizer: Any, *, prompt: bool
    ) -> tuple[str, list[tuple[int, int]]]:
        try:
            rendering: Any = render_jinja_template(
                conversations=[[dict(message) for message in messages]],
                chat_template=self.jinja,
                return_assistant_tokens_mask=self.marks_answers,
                add_generation_prompt=prompt,
                bos_token=tokenizer.bos_token or "",
                eos_token=tokenizer.eos_token or "",
                **self.options,
            )
        except (TemplateError, TypeError, ValueError) as error:
            turns = ", ".join(message["role"] for message in messages)
            raise DataError(f"the chat template cannot write the turns {turns}: {error}", remedy=OTHERWISE) from error
        texts, spans = rendering
        return texts[0] + (self.prompt_end if prompt else ""), spans[0] if self.marks_answers else []

    def _found(
        self, messages: Sequence[Mapping[str, Any]], tokenizer: Any, text: str, *, prompt: bool
    ) -> list[tuple[int, int]]:
        """Where answers stand, from a second rendering in which they are marked."""
        answers = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        if not answers:
            return []
        marked = self.text([with_marks(message) for message in messages], tokenizer, prompt=prompt)
        pieces = re.split(f"([{ANSWER_BEGINS}{ANSWER_ENDS}])", marked)
        marks = pieces[1::2]
        if "".join(pieces[::2]) != text or marks != [ANSWER_BEGINS, ANSWER_ENDS] * len(answers):
            raise DataError(
                "an answer cannot be found in what the checkpoint's chat template renders",
                remedy=f"take thoughts out of earlier answers, {OTHERWISE}",
            )
        edges = list(accumulate(map(len, pieces[:-1:2])))
        spans = []
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            if text.endswith(self.lead, 0, begin):
                begin -= len(self.lead)
            # An end that is not written, as of a reply that is only begun, is not learnt.
            spans.append((begin, end + len(self.end_of_turn) * text.startswith(self.end_of_turn, end)))
        asked = self.text(messages[: answers[-1]], tokenizer, prompt=True)
        if text.startswith(asked) and len(asked) <= spans[-1][0]:  # thoughts that a text brings
            spans[-1] = (len(asked), spans[-1][1])
        return spans


def with_marks(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """An answer between marks, those of its thoughts outside."""
    if message["role"] != "assistant":
        return message
    content = [dict(part) for part in message["content"]]
    texts = [part for part in content if part["type"] == "text"]
    thoughts, ended, words = texts[0]["text"].rpartition(THOUGHT_ENDS)
    texts[0]["text"] = thoughts + ended + re.sub(r"(?=\S|$)", ANSWER_BEGINS, words, count=1)
    texts[-1]["text"] = re.sub(r"(?<=\S)(?=\s*$)|^$", ANSWER_ENDS, texts[-1]["text"], count=1)
    return {**message, "content": content}


@dataclass(frozen=True)
class TemplateChoice:
    """The chat template in use.

    Args:
        template: Sparrow's of the family, or the checkpoint's own.
        difference: Where a probe's token ids differ from those of the checkpoint's own processor and template.
        refusal: Why nothing can be trained with it until `backbone.template` says which is meant.
        own: Whether the checkpoint has one of its own, with which Sparrow's was compared.
    """

    template: Literal["sparrow", "checkpoint"]
    difference: str | None = None
    refusal: str | None = None
    own: bool = True

    def notes(self) -> Iterator[str]:
        """What is worth knowing of it."""
        if self.difference is not None:
            whose = {"sparrow": "Sparrow's", "checkpoint": "the checkpoint's own"}[self.template]
            yield f"{whose} chat template is used: {self.difference}"


@dataclass(frozen=True)
class TokenizedChat:
    """A chat as the model reads it.

    Args:
        input_ids: Token ids, int64 [n], placeholders of frames expanded.
        supervised: bool [n], true on the assistant's words and their end marker.
        num_visual_tokens: How many of the n stand for frames, their markers included.
    """

    input_ids: np.ndarray
    supervised: np.ndarray
    num_visual_tokens: int


def tokenize(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: Any,
    template: ChatTemplate,
    *,
    control: Collection[str],
    add_generation_prompt: bool,
) -> TokenizedChat:
    """Apply a chat template and mark what it generates; each image and each video is one token still.

    A message that has `supervised` false is not marked.

    Raises:
        DataError: If a text holds one of the `control` tokens, an assistant turn is blank, or the template does not
            write the turns as they are.
    """
    _check_texts(messages, control)
    rendered, spans = template.render(messages, tokenizer, prompt=add_generation_prompt)
    for message in messages:
        texts = [part["text"].strip() for part in message["content"] if part["type"] == "text"]
        if message["role"] != "assistant" and not all(text in rendered for text in texts):
            raise DataError(f"the chat template leaves out or rewrites a {message['role']} text", remedy=OTHERWISE)
    encoding = tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
    ids = np.asarray(encoding["input_ids"], dtype=np.int64)
    offsets = np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    supervised = np.zeros(len(ids), dtype=bool)
    answers = [message for message in messages if message["role"] == "assistant"]
    for (start, end), answer in zip(spans, answers, strict=True):
        if answer.get("supervised", True):
            supervised |= (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return TokenizedChat(ids, supervised, 0)


def expand(chat: TokenizedChat, tokens_of: Mapping[int, Sequence[np.ndarray]]) -> TokenizedChat:
    """Put the tokens of what is shown, which are never learnt, in the place of its one token.

    `tokens_of` gives for the token that stands for an image or a video the tokens (int64) of each of them in order.

    Raises:
        DataError: If the chat template wrote more or fewer of them than there are.
    """
    ids = chat.input_ids
    for placeholder, tokens in tokens_of.items():
        written = np.count_nonzero(ids == placeholder)
        if written != len(tokens):
            raise DataError(f"the chat template shows {written} of {len(tokens)} images or videos", remedy=OTHERWISE)
    is_place = np.logical_or.reduce([ids == placeholder for placeholder in tokens_of])
    remaining = {placeholder: iter(tokens) for placeholder, tokens in tokens_of.items()}
    shown = [next(remaining[placeholder]) for placeholder in ids[is_place].tolist()]
    lengths = np.ones(len(ids), np.int64)
    lengths[is_place] = [len(tokens) for tokens in shown]
    is_shown = np.repeat(is_place, lengths)
    expanded = np.repeat(ids, lengths)
    expanded[is_shown] = np.concatenate([np.empty(0, np.int64), *shown])
    return TokenizedChat(expanded, np.repeat(chat.supervised, lengths) & ~is_shown, int(is_shown.sum()))


def control_tokens(tokenizer: Any, *placeholder_ids: int) -> frozenset[str]:
    """Tokens that a text must not hold: what the tokenizer calls special, and what stands for something shown."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return frozenset({*added, *tokenizer.all_special_tokens, *tokenizer.convert_ids_to_tokens(placeholder_ids)})


def _check_texts(messages: Sequence[Mapping[str, Any]], control: Collection[str]) -> None:
    for message in messages:
        texts = [part["text"] for part in message["content"] if part["type"] == "text"]
        if token := next((token for text in texts for token in control if token in text), None):
            raise DataError(
                f"a {message['role']} text holds the model's control token {token!r}",
                remedy="remove it from the record, or skip the sample with on_bad_sample=skip",
            )
        if message["role"] == "assistant" and not any(c.isprintable() and c != " " for text in texts for c in text):
            raise DataError(
                "an assistant turn is blank, so that its end marker alone would be learnt",
                remedy="remove the turn from the record, or skip the sample with on_bad_sample=skip",
            )
