"""How a question meets the model: its frames, its chat, and the token rows that are scored or continued.

Chats go through training's `tokenize` and frames through its readers, so that what is measured is what was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparrow.core.errors import DataError
from sparrow.core.files import Roots, inside_root
from sparrow.core.hashing import content_hash
from sparrow.core.samples import Image, Message, Part, Sample, Text, Video
from sparrow.data.encode import Presentation, Shown, sizes_of, tokenize
from sparrow.evaluation.questions import Question, option_names, prompt_text
from sparrow.evaluation.settings import Scoring
from sparrow.evaluation.subtitles import Subtitles, interleave, subtitles_of_frames, with_subtitles
from sparrow.media.frame_folders import file_states
from sparrow.media.frames import Clip, read_clip
from sparrow.media.images import read_image
from sparrow.models.backbone import Backbone

ASKING_VERSION = 4  # raised whenever the same question, video and model come to be asked otherwise


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How questions are asked and answers read; fields that `Benchmark` has too are those settings.

    Args:
        scoring: `generate` decodes greedily and reads the reply; `letter_likelihood` compares the log-probability of
            the option letters; `option_likelihood` that of the option texts, a token on average. The end marker of
            the reply is not part of either. Tasks without options are always generated.
        presentation: Which frames of a video are shown.
        lower_case: Whether a small letter inside a reply names an option.
        thinking_tags: Names of further tags around thoughts.
        blind: Ask without the video, to see what the questions alone give away.
    """

    scoring: Scoring
    show_options: bool
    max_new_tokens: int
    presentation: Presentation
    lower_case: bool = False
    thinking_tags: tuple[str, ...] = ()
    max_new_tokens_open_ended: int = 512
    subtitles: Subtitles = "off"
    blind: bool = False


@dataclass(frozen=True)
class Row:
    """A token sequence: `ids[begin:end]` are scored, or else up to `max_new_tokens` are generated after it."""

    ids: Tensor
    begin: int
    end: int
    max_new_tokens: int = 0


def prompt_hash(question: Question, media_root: Roots, protocol: Protocol, model_id: str) -> str:
    """Digest of all that an answer depends on: the question, its video as it is now, the protocol and the model.

    A video that is put there, replaced or drawn anew makes another digest.
    """
    video, pictures = None, []
    with suppress(DataError, OSError):  # asking says what is wrong with it
        if question.video is not None and shows_video(question, protocol):
            video = file_states(inside_root(media_root, question.video))
        pictures = [[path, file_states(inside_root(media_root, path))] for path in shown_pictures(question, protocol)]
    return content_hash([ASKING_VERSION, repr(question), video, repr(protocol), model_id, *pictures])


def shows_video(question: Question, protocol: Protocol) -> bool:
    """Whether frames are shown with a question."""
    return question.video is not None and not protocol.blind


def shown_pictures(question: Question, protocol: Protocol) -> tuple[str, ...]:
    """Paths of the pictures that are shown with a question."""
    return () if protocol.blind or question.video is not None else question.pictures


def clip_of(question: Question, media_root: Roots, protocol: Protocol) -> Clip:
    """The frames that are shown with a question.

    Raises:
        MediaError: If the video cannot be read.
    """
    if not shows_video(question, protocol):
        paths = shown_pictures(question, protocol)
        pictures = [read_image(inside_root(media_root, picture)) for picture in paths]
        return Clip(pictures or np.empty((0, 0, 0, 3), np.uint8), tuple(range(len(pictures))), ())
    assert question.video is not None
    path, policy, end_s = inside_root(media_root, question.video), protocol.presentation.frames, question.end_s
    if policy.policy == "one_a_second" and end_s is None:
        end_s = question.duration_s
    return read_clip(path, policy, question.start_s, end_s, fps=question.fps)


def chat_of(
    question: Question, clip: Clip, protocol: Protocol, benchmark: str, reply: str | None = None
) -> tuple[Sample, list[Shown]]:
    """The question as a chat, with a reply if given, and what each of its video parts shows."""
    text = prompt_text(question, show_options=protocol.show_options)
    parts: list[Part] = []
    places: list[list[int]] = []
    if shows_video(question, protocol):
        assert question.video is not None
        video = Video(question.video, question.start_s, question.end_s, question.fps)
        in_order: list[int | str] = list(range(len(clip.frames)))
        if protocol.subtitles == "interleaved":
            in_order = interleave(question.subtitles, clip.times_s)
        elif protocol.subtitles == "on":
            text = with_subtitles(text, subtitles_of_frames(question.subtitles, clip.times_s))
        for item in in_order:
            if isinstance(item, str):  # on lines of their own, as the publisher joins them
                if parts and isinstance(last := parts[-1], Text):
                    parts[-1] = Text(f"{last.text}{item}\n")
                else:
                    parts.append(Text(f"\n{item}\n" if parts else f"{item}\n"))
            elif parts and isinstance(parts[-1], Video):
                places[-1].append(item)
            else:
                parts.append(video)
                places.append([item])
        if protocol.subtitles == "interleaved" and isinstance(parts[-1], Video):
            text = f"\n{text}"
    parts += [Image(picture) for picture in shown_pictures(question, protocol)]
    messages = [Message("user", (*parts, Text(text)))]
    if question.system:
        messages.insert(0, Message("system", (Text(question.system),)))
    if reply is not None:
        messages.append(Message("assistant", (Text(reply),)))
    sizes = sizes_of(clip.frames)
    shown = [Shown(tuple(sizes[i] for i in part), tuple(clip.times_s[i] for i in part)) for part in places]
    shown += [Shown((size,)) for size, _ in zip(sizes, shown_pictures(question, protocol), strict=False)]
    return Sample(question.id, benchmark, tuple(messages)), shown


def rows_of(question: Question, clip: Clip, backbone: Backbone, protocol: Protocol, benchmark: str) -> list[Row]:
    """The rows of a question: one to continue, or one an option to score.

    Raises:
        DataError: If a text holds one of the model's control tokens.
    """

    def tokens(reply: str | None) -> tuple[Tensor, np.ndarray]:
        sample, shown = chat_of(question, clip, protocol, benchmark, reply)
        chat = tokenize(
            *(sample, backbone, shown, protocol.presentation),
            add_generation_prompt=reply is None,
            in_order=protocol.subtitles == "interleaved",
        )
        return torch.from_numpy(chat.input_ids), chat.supervised

    # The words that a reply is begun with lead to a letter, so that they have no place before an option's text.
    begins_reply = bool(question.options) and protocol.show_options and protocol.scoring != "option_likelihood"
    reply_start = question.reply_start if begins_reply else ""
    prompt, supervised = tokens(reply_start or None)
    if reply_start:
        _, end = _reply_span(prompt, supervised, backbone)
        prompt = prompt[:end]
    if question.needs_judge:
        return [Row(prompt, len(prompt), len(prompt), protocol.max_new_tokens_open_ended)]
    if protocol.scoring == "generate" or not question.options:
        return [Row(prompt, len(prompt), len(prompt), protocol.max_new_tokens)]
    replies = option_names(question) if protocol.scoring == "letter_likelihood" else question.options
    return [_scored_row(prompt, *tokens(reply_start + reply), backbone) for reply in replies]


def _scored_row(prompt: Tensor, ids: Tensor, supervised: np.ndarray, backbone: Backbone) -> Row:
    """A reply's row, scored from where it leaves the prompt, the words that it is begun with included."""
    begin, end = _reply_span(ids, supervised, backbone)
    return Row(ids[:end], max(begin, min(common_length(prompt, ids), end - 1)), end)


def _reply_span(ids: Tensor, supervised: np.ndarray, backbone: Backbone) -> tuple[int, int]:
    """Where a chat's reply begins, and where its end marker stands."""
    places = np.flatnonzero(supervised)
    special = set(backbone.tokenizer.all_special_ids)
    return int(places[0]), next((int(i) for i in places if int(ids[i]) in special), int(places[-1]) + 1)


def common_length(first: Tensor, second: Tensor) -> int:
    """How many tokens two sequences begin with in common."""
    length = min(len(first), len(second))
    different = (first[:length] != second[:length]).nonzero()
    return int(different[0]) if len(different) else length


def end_ids(backbone: Backbone) -> set[int]:
    """Tokens that end a reply: the end of a turn, and those that the checkpoint names."""
    named = getattr(getattr(backbone.model, "generation_config", None), "eos_token_id", None)
    more = named if isinstance(named, Sequence) else [named] if named is not None else []
    return {int(backbone.tokenizer.eos_token_id), *map(int, more)}
