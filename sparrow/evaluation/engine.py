"""Asking a model a benchmark's questions: a video is read and encoded once for all its questions and options."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sparrow.data.supervised_loader import started
from sparrow.evaluation.predictions import Prediction, unanswered
from sparrow.evaluation.prompts import Protocol, Row, common_length, end_ids
from sparrow.evaluation.reply_phrases import SPECIAL_TOKENS
from sparrow.evaluation.units import Unit, Units
from sparrow.models.backbone import Backbone

__all__ = ["Protocol", "answer"]

ROWS_A_PASS = 32
TOKENS_A_PASS = 131_072  # of cached keys and values: rows of a long video go a few at a time


def answer(
    units: Units, prompt_hashes: Mapping[str, str], *, num_workers: int = 0, take: Iterable[int] | None = None
) -> Iterator[list[Prediction]]:
    """Answers, a list a unit; a video that cannot be read leaves its questions unanswered.

    Args:
        units: The questions, and the backbone that answers them; its model is put in evaluation mode.
        prompt_hashes: `prompt_hash` of each question by its id, which is kept with the answer.
        num_workers: Processes that read the next videos meanwhile.
        take: Positions of the units that are answered, drawn as workers get free; all in order where None.
    """
    sampler = range(len(units)) if take is None else take
    backbone, protocol = units.backbone, units.protocol
    backbone.model.eval()
    ends = end_ids(backbone)
    for unit in started(DataLoader(units, batch_size=None, sampler=sampler, num_workers=num_workers)):
        with torch.inference_mode():
            results = _answer_rows(backbone, unit, ends)
        blanks = [unanswered(q, protocol.scoring, prompt_hashes[q.id], unit.frame_indices) for q in unit.questions]
        answered = zip(blanks, results, unit.failures, strict=True)
        yield [_prediction(blank, own, failure, protocol) for blank, own, failure in answered]


def _answer_rows(backbone: Backbone, unit: Unit, ends: set[int]) -> list[list[Any]]:
    """A log-probability or a reply for every row of every question."""
    device = next(backbone.model.parameters()).device
    rows = [row for question_rows in unit.rows for row in question_rows]
    if not rows:
        return [[] for _ in unit.rows]
    shared = _shared_prefix(rows)
    prefix = rows[0].ids[:shared].unsqueeze(0).to(device)
    cache = backbone.forward(prefix, None, unit.frames.to(device), logits_to_keep=1, use_cache=True).past_key_values
    passes = _passes(rows, padded=backbone.skips_cached_padding)
    results: list[Any] = [None] * len(rows)
    for numbers in passes:
        own_cache = cache if numbers is passes[-1] else copy.deepcopy(cache)
        work = _Pass(backbone, [rows[i] for i in numbers], shared, own_cache, ends, device)
        for i, result in zip(numbers, work.results(), strict=True):
            results[i] = result
    remaining = iter(results)
    return [[next(remaining) for _ in question_rows] for question_rows in unit.rows]


def _shared_prefix(rows: Sequence[Row]) -> int:
    """Tokens that all rows begin with; one before the first scored token at most, as its logits are needed."""
    limit = min(row.begin for row in rows) - 1
    return min(limit, *(common_length(rows[0].ids, row.ids) for row in rows))


def _passes(rows: Sequence[Row], *, padded: bool) -> list[list[int]]:
    """Rows that go through the model together: all scored, or all generated up to one limit.

    Unless they may be `padded`, rows that are generated together are of one length.
    """
    size = max(1, min(ROWS_A_PASS, TOKENS_A_PASS // max(len(row.ids) for row in rows)))
    alike: dict[tuple[int, int], list[int]] = {}
    for i, row in enumerate(rows):
        length = len(row.ids) if row.max_new_tokens and not padded else 0
        alike.setdefault((row.max_new_tokens, length), []).append(i)
    return [group[begin : begin + size] for group in alike.values() for begin in range(0, len(group), size)]


@dataclass
class _Pass:
    """Rows that follow one prefix of `shared` tokens, whose keys and values are in `cache`."""

    backbone: Backbone
    rows: Sequence[Row]
    shared: int
    cache: Any
    ends: set[int]
    device: torch.device

    def results(self) -> list[Any]:
        """A log-probability or a reply a row."""
        limit = self.rows[0].max_new_tokens
        return self._replies(limit) if limit else self._likelihoods()

    def _likelihoods(self) -> list[float]:
        """Mean log-probability of the scored tokens of each row.

        The last token of a row is predicted, not read, so that rows which differ there alone, as letters do, are one.
        """
        inputs = [row.ids[self.shared : row.end - 1] for row in self.rows]
        places: dict[tuple[int, ...], int] = {}
        for suffix in inputs:
            places.setdefault(tuple(suffix.tolist()), len(places))
        first = min(row.begin for row in self.rows) - 1 - self.shared
        logits, _ = self._forward([torch.tensor(suffix) for suffix in places], first)
        values = []
        for row, suffix in zip(self.rows, inputs, strict=True):
            begin = row.begin - 1 - self.shared - first
            scored = row.ids[row.begin : row.end].to(self.device)
            its_logits = logits[places[tuple(suffix.tolist())], begin : begin + len(scored)]
            values.append(float(its_logits.float().log_softmax(dim=-1).gather(1, scored.unsqueeze(1)).mean()))
        return values

    def _replies(self, max_new_tokens: int) -> list[str]:
        """Greedy replies; a row that has ended is fed an end marker until all have."""
        ends = torch.tensor(sorted(self.ends), device=self.device)
        suffixes = [row.ids[self.shared :] for row in self.rows]
        lengths = torch.tensor([len(suffix) for suffix in suffixes], device=self.device)
        first = int(lengths.min()) - 1
        logits, mask = self._forward(suffixes, first)
        next_ids = logits[torch.arange(len(suffixes), device=self.device), lengths - 1 - first].argmax(dim=-1)
        replies = [next_ids]
        ended = torch.isin(next_ids, ends)
        for step in range(max_new_tokens - 1):
            if bool(ended.all()):
                break
            mask = torch.cat([mask, mask.new_ones(len(suffixes), 1)], dim=1)
            positions = (self.shared + lengths + step)[:, None]
            logits = self._run(next_ids[:, None], mask, positions, logits_to_keep=1)
            next_ids = torch.where(ended, ends[0], logits[:, -1].argmax(dim=-1))
            ended |= torch.isin(next_ids, ends)
            replies.append(next_ids)
        return [self._text(ids) for ids in torch.stack(replies, dim=1).tolist()]

    def _text(self, ids: list[int]) -> str:
        """A reply up to its end, without special tokens, but for those around thoughts."""
        tokenizer = self.backbone.tokenizer
        special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        left_out = self.ends | {i for i, token in special.items() if not SPECIAL_TOKENS.search(token)}
        return str(tokenizer.decode([i for i in ids if i not in left_out], skip_special_tokens=False)).strip()

    def _forward(self, suffixes: Sequence[Tensor], first_logit: int) -> tuple[Tensor, Tensor]:
        """Run what follows the prefix, padded on the right: logits from `first_logit` on, and the attention mask."""
        lengths = torch.tensor([len(suffix) for suffix in suffixes])
        longest = int(lengths.max())
        ids = torch.full((len(suffixes), longest), min(self.ends))
        for i, suffix in enumerate(suffixes):
            ids[i, : len(suffix)] = suffix
        mask = torch.ones((len(suffixes), self.shared + longest), dtype=torch.int64)
        mask[:, self.shared :] = torch.arange(longest) < lengths[:, None]
        mask = mask.to(self.device)
        positions = torch.arange(self.shared, self.shared + longest, device=self.device).expand(len(suffixes), -1)
        self.cache.reorder_cache(torch.zeros(len(suffixes), dtype=torch.int64, device=self.device))
        keep = torch.arange(first_logit, longest, device=self.device)
        return self._run(ids.to(self.device), mask, positions, logits_to_keep=keep), mask

    def _run(self, ids: Tensor, mask: Tensor, positions: Tensor, *, logits_to_keep: Tensor | int) -> Tensor:
        output = self.backbone.forward(
            ids,
            mask,
            None,
            position_ids=positions,
            logits_to_keep=logits_to_keep,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = output.past_key_values
        return output.logits


def _prediction(blank: Prediction, results: Sequence[Any], failure: str | None, protocol: Protocol) -> Prediction:
    if not results:
        return replace(blank, rule=failure)
    if isinstance(results[0], str):
        return replace(blank, reply=results[0]).read_again(
            lower_case=protocol.lower_case, thinking_tags=protocol.thinking_tags
        )
    choice = max(range(len(results)), key=lambda i: results[i])
    return replace(blank, choice=choice, rule=protocol.scoring, likelihoods=tuple(results))
