"""Asking a model a benchmark's questions: a video is read and encoded once for all its questions and options."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sparrow.core.errors import DataError
from sparrow.core.files import inside_root
from sparrow.core.hashing import content_hash
from sparrow.core.samples import Message, Part, Sample, Text, Video
from sparrow.data.encode import EncodedSample, Presentation, encode
from sparrow.evaluation.predictions import Prediction, predict
from sparrow.evaluation.questions import Question, prompt_text
from sparrow.evaluation.replies import read_choice
from sparrow.media.frames import planned_frames, probe_video
from sparrow.models.backbone import Backbone

Scoring = Literal["generate", "letter_likelihood", "option_likelihood"]
QUESTIONS_A_BLIND_UNIT = 8
ROWS_A_PASS = 32


@dataclass(frozen=True)
class Protocol:
    """How questions are asked and answers read.

    Args:
        scoring: `generate` decodes greedily and reads the reply; `letter_likelihood` compares the log-probability of
            the option letters; `option_likelihood` that of the option texts, a token on average. The end marker of
            the reply is not part of either.
        show_options: Whether the prompt lists the options.
        max_new_tokens: Limit of a generated reply.
        presentation: Which frames of a video are shown.
        blind: Ask without the video, to see what the questions alone give away.
    """

    scoring: Scoring
    show_options: bool
    max_new_tokens: int
    presentation: Presentation
    blind: bool = False


@dataclass(frozen=True)
class _Row:
    """One sequence to be scored or continued: `ids[begin:end]` are the tokens whose likelihood counts."""

    ids: Tensor
    begin: int
    end: int


@dataclass(frozen=True)
class _Unit:
    """Questions about the same frames, as rows; `failure` where the video cannot be read."""

    questions: list[Question]
    rows: list[list[_Row]]
    frames: Tensor
    frame_indices: tuple[int, ...]
    failure: str | None = None


def prompt_hash(question: Question, protocol: Protocol, model_id: str) -> str:
    """Digest of all that an answer depends on: the question, the protocol and the model."""
    return content_hash([repr(question), repr(protocol), model_id])


def answer(
    backbone: Backbone,
    questions: Sequence[Question],
    media_root: Path,
    protocol: Protocol,
    *,
    benchmark: str,
    model_id: str,
    num_workers: int = 0,
) -> Iterator[Prediction]:
    """Answers to the questions, unit by unit; a video that cannot be read leaves its questions unanswered.

    Args:
        backbone: With its model, which is put in evaluation mode.
        questions: To be answered, in any order.
        media_root: Folder of the videos.
        protocol: How they are asked and scored.
        benchmark: Name, for messages.
        model_id: Identifies the weights, for `prompt_hash`.
        num_workers: Processes that read the next videos meanwhile.
    """
    units = _Units(_grouped(questions, blind=protocol.blind), backbone, media_root, protocol, benchmark)
    loader = DataLoader(units, batch_size=None, num_workers=num_workers)
    backbone.model.eval()
    device = next(backbone.model.parameters()).device
    for unit in loader:
        with torch.inference_mode():
            yield from _answer_unit(backbone, unit, protocol, model_id, device)


def _grouped(questions: Sequence[Question], *, blind: bool) -> list[list[Question]]:
    if blind:
        ordered = sorted(questions, key=lambda q: q.id)
        size = QUESTIONS_A_BLIND_UNIT
        return [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]

    def unit(question: Question) -> tuple[str, float, float]:
        return question.video or f"\0{question.id}", question.start_s or 0.0, question.end_s or float("inf")

    return [list(group) for _, group in groupby(sorted(questions, key=lambda q: (unit(q), q.id)), key=unit)]


class _Units(Dataset):
    def __init__(
        self, groups: list[list[Question]], backbone: Backbone, media_root: Path, protocol: Protocol, benchmark: str
    ) -> None:
        self.groups, self.backbone, self.media_root = groups, backbone, media_root
        self.protocol, self.benchmark = protocol, benchmark

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> _Unit:
        questions = self.groups[number]
        try:
            encoded = [[self._encode(q, reply) for reply in self._replies(q)] for q in questions]
            indices = self._frame_indices(questions[0])
        except DataError as error:
            return _Unit(questions, [], torch.empty(0), (), failure=str(error))
        rows = [[self._row(sample) for sample in samples] for samples in encoded]
        return _Unit(questions, rows, encoded[0][0].frames, indices)

    def _replies(self, question: Question) -> list[str | None]:
        if self.protocol.scoring == "generate" or not question.options:
            return [None]
        if self.protocol.scoring == "letter_likelihood":
            return list(ascii_uppercase[: len(question.options)])
        return list(question.options)

    def _encode(self, question: Question, reply: str | None) -> EncodedSample:
        text = Text(prompt_text(question, show_options=self.protocol.show_options))
        parts: tuple[Part, ...] = (text,)
        if question.video is not None and not self.protocol.blind:
            video = Video(question.video, question.start_s, question.end_s, question.fps)
            parts = (video, text)
        messages = [Message("user", parts)]
        if question.system:
            messages.insert(0, Message("system", (Text(question.system),)))
        if reply is not None:
            messages.append(Message("assistant", (Text(question.reply_start + reply),)))
        sample = Sample(question.id, self.benchmark, tuple(messages))
        encoded = encode(
            sample, self.media_root, self.backbone, self.protocol.presentation, add_generation_prompt=reply is None
        )
        if reply is None and question.reply_start:
            start = self.backbone.tokenizer(question.reply_start, add_special_tokens=False)["input_ids"]
            encoded = replace(encoded, input_ids=torch.cat([encoded.input_ids, torch.tensor(start)]))
        return encoded

    def _row(self, sample: EncodedSample) -> _Row:
        if not (sample.labels >= 0).any():
            return _Row(sample.input_ids, len(sample.input_ids), len(sample.input_ids))
        scored = (sample.labels >= 0).nonzero().squeeze(1)
        words = scored[sample.input_ids[scored] != self.backbone.tokenizer.eos_token_id]
        return _Row(sample.input_ids[: int(words[-1]) + 1], int(words[0]), int(words[-1]) + 1)

    def _frame_indices(self, question: Question) -> tuple[int, ...]:
        if question.video is None or self.protocol.blind:
            return ()
        info = probe_video(inside_root(self.media_root, question.video))
        return tuple(planned_frames(info, self.protocol.presentation.frames, question.start_s, question.end_s))


def _answer_unit(
    backbone: Backbone, unit: _Unit, protocol: Protocol, model_id: str, device: torch.device
) -> Iterator[Prediction]:
    rows = [row for question_rows in unit.rows for row in question_rows]
    results: list[Any] = []
    if rows:
        shared = _shared_prefix(rows)
        prefix = rows[0].ids[:shared].unsqueeze(0).to(device)
        cache = backbone.forward(prefix, None, unit.frames.to(device), logits_to_keep=1, use_cache=True).past_key_values
        for begin in range(0, len(rows), ROWS_A_PASS):
            part = rows[begin : begin + ROWS_A_PASS]
            own_cache = copy.deepcopy(cache) if begin + ROWS_A_PASS < len(rows) else cache
            own_cache.batch_repeat_interleave(len(part))
            if rows[0].begin < rows[0].end:
                results += _likelihoods(backbone, part, shared, own_cache, device)
            else:
                results += _generate(backbone, part, shared, own_cache, protocol.max_new_tokens, device)
    begin = 0
    for number, question in enumerate(unit.questions):
        count = len(unit.rows[number]) if rows else 0
        yield _prediction(question, results[begin : begin + count], unit, protocol, model_id)
        begin += count


def _shared_prefix(rows: Sequence[_Row]) -> int:
    """Tokens that all rows begin with; one before the first scored token at most, as its logits are needed."""
    limit = min(min(row.begin, len(row.ids)) - 1 for row in rows)
    first = rows[0].ids[:limit]
    for row in rows[1:]:
        different = (row.ids[: len(first)] != first).nonzero()
        if len(different):
            first = first[: int(different[0])]
    return len(first)


def _suffixes(rows: Sequence[_Row], shared: int, pad: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """What follows the shared prefix, padded on the right: ids [r, s], attention mask [r, shared + s], lengths [r]."""
    lengths = torch.tensor([len(row.ids) - shared for row in rows])
    longest = int(lengths.max())
    ids = torch.full((len(rows), longest), pad)
    for i, row in enumerate(rows):
        ids[i, : lengths[i]] = row.ids[shared:]
    mask = torch.ones((len(rows), shared + longest), dtype=torch.int64)
    mask[:, shared:] = torch.arange(longest) < lengths[:, None]
    return ids.to(device), mask.to(device), lengths.to(device)


def _forward_suffixes(
    backbone: Backbone, ids: Tensor, mask: Tensor, first_position: int, cache: Any
) -> tuple[Tensor, Any]:
    positions = torch.arange(first_position, first_position + ids.shape[1], device=ids.device)
    no_frames = torch.empty(0, device=ids.device)
    output = backbone.forward(
        ids,
        mask,
        no_frames,
        position_ids=positions.expand(len(ids), -1),
        past_key_values=cache,
        use_cache=True,
    )
    return output.logits, output.past_key_values


def _likelihoods(
    backbone: Backbone, rows: Sequence[_Row], shared: int, cache: Any, device: torch.device
) -> list[float]:
    """Mean log-probability of the scored tokens of each row."""
    ids, mask, _ = _suffixes(rows, shared, backbone.tokenizer.pad_token_id, device)
    logits, _ = _forward_suffixes(backbone, ids, mask, shared, cache)
    values = []
    for i, row in enumerate(rows):
        places = torch.arange(row.begin - shared, row.end - shared, device=device)
        log_probabilities = logits[i, places - 1].float().log_softmax(dim=-1)
        values.append(float(log_probabilities.gather(1, ids[i, places].unsqueeze(1)).mean()))
    return values


def _generate(
    backbone: Backbone, rows: Sequence[_Row], shared: int, cache: Any, max_new_tokens: int, device: torch.device
) -> list[str]:
    """Greedy replies; a row that has ended is fed its end marker until all have."""
    tokenizer = backbone.tokenizer
    ids, mask, lengths = _suffixes(rows, shared, tokenizer.pad_token_id, device)
    logits, cache = _forward_suffixes(backbone, ids, mask, shared, cache)
    next_ids = logits[torch.arange(len(rows), device=device), lengths - 1].argmax(dim=-1)
    replies = [next_ids]
    ended = next_ids == tokenizer.eos_token_id
    for step in range(max_new_tokens - 1):
        if bool(ended.all()):
            break
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        output = backbone.forward(
            next_ids[:, None],
            mask,
            torch.empty(0, device=device),
            position_ids=(shared + lengths + step)[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        next_ids = torch.where(ended, tokenizer.eos_token_id, output.logits[:, -1].argmax(dim=-1))
        ended |= next_ids == tokenizer.eos_token_id
        replies.append(next_ids)
    texts = tokenizer.batch_decode(torch.stack(replies, dim=1), skip_special_tokens=True)
    return [text.strip() for text in texts]


def _prediction(
    question: Question, results: Sequence[Any], unit: _Unit, protocol: Protocol, model_id: str
) -> Prediction:
    choice, rule, reply, likelihoods = None, unit.failure, None, None
    if results and isinstance(results[0], str):
        reply = str(results[0])
        if question.options:
            read = read_choice(question.reply_start + reply, question.options)
            rule = read.rule
            choice = ascii_uppercase.index(read.letter) if read.letter is not None else None
    elif results:
        likelihoods = tuple(float(value) for value in results)
        choice = max(range(len(likelihoods)), key=lambda i: likelihoods[i])
        rule = protocol.scoring
    return predict(
        question,
        choice=choice,
        scoring=protocol.scoring,
        prompt_hash=prompt_hash(question, protocol, model_id),
        reply=reply,
        rule=rule,
        likelihoods=likelihoods,
        frame_indices=unit.frame_indices,
    )
