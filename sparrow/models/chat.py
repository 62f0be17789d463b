"""A chat as token ids: rendered by a template, what is learnt marked, what is shown expanded to its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    messages: Sequence[Mapping[str, Any]], tokenizer: Any, chat_template: str, *, add_generation_prompt: bool
) -> TokenizedChat:
    """Apply a chat template and mark what it generates; each image and each video is one token still.

    Raises:
        DataError: If a text holds one of the tokenizer's control tokens.
    """
    _refuse_control_tokens(messages, tokenizer)
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
    for start, end in spans[0]:
        supervised |= (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return TokenizedChat(ids, supervised, 0)


def expand(chat: TokenizedChat, tokens_of: Mapping[int, Iterable[Sequence[int]]]) -> TokenizedChat:
    """Put the tokens of what is shown, which are never learnt, in the place of its one token.

    Args:
        chat: As the template renders it.
        tokens_of: For the token that stands for an image or a video, the tokens of each of them in order.
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


def _refuse_control_tokens(messages: Sequence[Mapping[str, Any]], tokenizer: Any) -> None:
    for message in messages:
        for part in message["content"]:
            for token in tokenizer.all_special_tokens if part["type"] == "text" else ():
                if token in part["text"]:
                    raise DataError(
                        f"a {message['role']} text holds the model's control token {token!r}",
                        remedy="remove it from the record, or skip the sample with on_bad_sample=skip",
                    )
