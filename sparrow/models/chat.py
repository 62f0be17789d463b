"""A chat as token ids: rendered by a template, what is learnt marked, what is shown expanded to its tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers.utils.chat_template_utils import render_jinja_template

from sparrow.core.errors import DataError


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
    chat_template: str,
    *,
    control: Collection[str],
    add_generation_prompt: bool,
) -> TokenizedChat:
    """Apply a chat template and mark what it generates; each image and each video is one token still.

    A message that has `supervised` false is not marked.

    Raises:
        DataError: If a text holds one of the `control` tokens, or an assistant turn is blank.
    """
    _check_texts(messages, control)
    rendering: Any = render_jinja_template(
        conversations=[[dict(message) for message in messages]],
        chat_template=chat_template,
        return_assistant_tokens_mask=True,
        add_generation_prompt=add_generation_prompt,
        bos_token=tokenizer.bos_token or "",
    )
    rendered, spans = rendering
    encoding = tokenizer(rendered[0], add_special_tokens=False, return_offsets_mapping=True)
    ids = np.asarray(encoding["input_ids"], dtype=np.int64)
    offsets = np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    supervised = np.zeros(len(ids), dtype=bool)
    answers = [message for message in messages if message["role"] == "assistant"]
    for (start, end), answer in zip(spans[0], answers, strict=True):
        if not answer.get("supervised", True):
            continue
        supervised |= (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return TokenizedChat(ids, supervised, 0)


def expand(chat: TokenizedChat, tokens_of: Mapping[int, Iterable[Sequence[int]]]) -> TokenizedChat:
    """Put the tokens of what is shown, which are never learnt, in the place of its one token.

    `tokens_of` gives for the token that stands for an image or a video the tokens of each of them in order.
    """
    ids, supervised = chat.input_ids, chat.supervised
    places = np.flatnonzero(np.isin(ids, list(tokens_of)))
    remaining = {placeholder: list(tokens) for placeholder, tokens in tokens_of.items()}
    assert len(places) == sum(map(len, remaining.values())), f"{len(places)} placeholders for {remaining.keys()}"
    tokens_of_places = [remaining[int(ids[place])].pop(0) for place in places]
    id_pieces, mask_pieces, begin = [], [], 0
    for place, tokens in zip(places, tokens_of_places, strict=True):
        id_pieces += [ids[begin:place], np.asarray(tokens, dtype=np.int64)]
        mask_pieces += [supervised[begin:place], np.zeros(len(tokens), dtype=bool)]
        begin = int(place) + 1
    return TokenizedChat(
        np.concatenate([*id_pieces, ids[begin:]]),
        np.concatenate([*mask_pieces, supervised[begin:]]),
        sum(len(tokens) for tokens in tokens_of_places),
    )


def control_tokens(tokenizer: Any, *placeholder_ids: int) -> frozenset[str]:
    """Tokens that a text must not hold: what the tokenizer calls special, and what stands for something shown."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return frozenset({*added, *tokenizer.all_special_tokens, *tokenizer.convert_ids_to_tokens(placeholder_ids)})


def _check_texts(messages: Sequence[Mapping[str, Any]], control: Collection[str]) -> None:
    for message in messages:
        texts = [part["text"] for part in message["content"] if part["type"] == "text"]
        for text in texts:
            for token in control:
                if token in text:
                    raise DataError(
                        f"a {message['role']} text holds the model's control token {token!r}",
                        remedy="remove it from the record, or skip the sample with on_bad_sample=skip",
                    )
        if message["role"] == "assistant" and not any(c.isprintable() and c != " " for text in texts for c in text):
            raise DataError(
                "an assistant turn is blank, so that its end marker alone would be learnt",
                remedy="remove the turn from the record, or skip the sample with on_bad_sample=skip",
            )
