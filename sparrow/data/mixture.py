"""Drawing a mixture: exact sizes a component, in an order that nests smaller mixtures inside larger ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import filterfalse, islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparrow.core.errors import DataError, MediaError
from sparrow.core.hashing import hash_order
from sparrow.core.samples import LongText, Sample, Text
from sparrow.data.draw_order import Division, Replayed
from sparrow.data.page_counts import PageCounts
from sparrow.data.settings import Component, Mixture
from sparrow.data.sources import SourceData

FIRST_CHUNK = 256
FIRST_LOOK, LONGEST_LOOK = 16, 1024  # samples that rules look at together
BYTES_PER_TOKEN = 4  # of UTF-8: about that of present tokenizers for most languages

Measure = Callable[[str, list[int]], pd.DataFrame]
Order = Callable[[Component], Iterator[int]]


@dataclass(frozen=True)
class Selection:
    """The drawn samples of one component.

    `rows` are positions in the source, in the component's order, a repeated sample repeated; `left_out` counts, by
    reason, samples that the component's rules skipped before them; `held_out` has later positions, kept for validation;
    `share` is the component's part of the mixture, where it was drawn in nested order.
    """

    component: str
    source: str
    rows: list[int]
    left_out: dict[str, int] = field(default_factory=dict)
    held_out: list[int] = field(default_factory=list)
    share: float | None = None


def draw(
    mixture: Mixture,
    sources: Mapping[str, SourceData],
    data_seed: int,
    pages: PageCounts,
    measure: Measure | None,
    selected: Order | None = None,
    num_held_out: int = 0,
    *,
    nested_order: bool = False,
) -> list[Selection]:
    """Choose the samples of every component: the first ones of its order that its rules let in.

    The order is that of hashes, or the component's `selection`. Components of one source divide it among them by hash,
    whatever their sizes; one whose part is too small goes on at the end of the others' parts. Where the total is in
    tokens or frames, a component takes samples until one more would exceed its share.

    `measure` gives frames and tokens of some rows of a component, where the total is not in samples; `selected` the
    rows of a component's source in the order of its `selection`, for those other than `hash`. The `num_held_out`
    samples for validation, in proportion to the components, are drawn last, so that they change nothing else, and none
    has the content of a drawn one.

    Raises:
        DataError: If a source has fewer samples than a component asks for, or a component's share does not pay for its
            first sample.
    """
    components, orders = mixture.components, dict[tuple[str, str], Replayed]()
    drawn: dict[str, set[int]] = {name: set() for name in mixture.sources}
    draws: dict[str, _Draw] = {}
    for name, part in components.items():
        source, key = sources[part.source], (part.source, part.selection)
        if key not in orders and part.selection == "hash":
            orders[key] = Replayed(hash_order(source.ids, data_seed, ties=source.digests.tolist()))
        elif key not in orders:
            assert selected is not None, "only the order by hash needs nothing else"
            orders[key] = Replayed(selected(part))
        sharing = [other for other in components if components[other].source == part.source]
        order = Division(name, sharing, orders[key], source.ids, data_seed)
        draws[name] = _Draw(name, part, source, order, drawn[part.source], pages.of_component(name))
    shares = _budgets(mixture)
    nested = _nested_shares(mixture) if nested_order else {}
    if nested:
        sizes = nested_sizes(nested, mixture.num_samples or 0)
    else:
        sizes = {} if shares else component_sizes(mixture)
    rows: dict[str, list[int]] = {}
    for whole in (False, True):  # what another component's own part holds is taken last
        for name, one in draws.items():
            if name not in rows:
                one.order.whole = whole
                try:
                    rows[name] = one.fill(*shares[name], measure) if shares else one.take(sizes[name])
                except _TooFewError as error:
                    if whole:
                        raise DataError(error.what, source=error.source, remedy=error.remedy) from None
                else:
                    one.drawn.update(rows[name])
    selections = [
        Selection(name, one.component.source, rows[name], dict(one.left_out), share=nested.get(name))
        for name, one in draws.items()
    ]
    held_out = _in_proportion(num_held_out, [len(selection.rows) for selection in selections])
    trained: set[int] = set()
    if num_held_out:
        trained.update(*(_digests(sources[each.source], each.rows) for each in selections))
    for i, size in enumerate(held_out):
        one = draws[selections[i].component]
        one.order.whole = True
        selections[i] = replace(selections[i], held_out=one.hold_out(size, trained))
        one.drawn.update(selections[i].held_out)
    return selections


def _in_proportion(total: int, weights: list[int]) -> list[int]:
    """Whole numbers that add up to `total`, by largest remainder."""
    exact = [total * weight / max(1, sum(weights)) for weight in weights]
    sizes = [int(value) for value in exact]
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i] - exact[i])[: total - sum(sizes)]:
        sizes[i] += 1
    return sizes


def component_sizes(mixture: Mixture) -> dict[str, int]:
    """Samples of every component; fractions are rounded so that they add up to `mixture.num_samples` exactly.

    Rounding is by largest remainder: every share is cut down, and what is missing goes to the largest remainders.
    """
    components, total = mixture.components, mixture.num_samples
    fixed = {name: c.num_samples for name, c in components.items() if c.num_samples is not None}
    if total is None:
        return fixed
    exact = {name: c.fraction * total for name, c in components.items() if c.fraction is not None}
    takes_rest = [name for name, c in components.items() if c.remainder]
    available = total - sum(fixed.values())
    asked = sum(exact.values())
    missing = available - asked
    if asked and (missing < 0 or not takes_rest):  # fractions are typed with few digits
        exact, missing = {name: value * available / asked for name, value in exact.items()}, 0.0
    sizes = {name: int(value + 1e-9) for name, value in exact.items()}
    rest = available - sum(sizes.values()) - (round(missing) if takes_rest else 0)
    for name in sorted(sizes, key=lambda n: (sizes[n] - exact[n], n))[:rest]:
        sizes[name] += 1
    sizes |= fixed | {name: round(missing) for name in takes_rest}
    return {name: sizes[name] for name in components}


def nested_turns(share: float, size: int) -> NDArray[np.float64]:
    """When each sample of a component has its turn in nested order, [size]; the mixture's samples come by their turns.

    The turn of sample i is (i + 1/2) / share, whatever the size of the mixture. So the components are interleaved in
    their proportions, and the first n samples of a mixture are those of the mixture of n samples, in the same order.
    """
    return np.arange(0.5, size, dtype=np.float64) / share


def nested_sizes(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Samples of each component among the `total` first turns: rounding by Sainte-Lague's method, which never takes a
    sample from a component as the total grows.
    """
    turns = np.concatenate([nested_turns(share, total) for share in shares.values()])
    chosen = np.argsort(turns, kind="stable")[:total] // max(1, total)
    return dict(zip(shares, np.bincount(chosen, minlength=len(shares)).tolist(), strict=True))


def _nested_shares(mixture: Mixture) -> dict[str, float]:
    """Each component's part of the mixture, exact to the last digit whatever the total is."""
    fractions = {name: c.fraction for name, c in mixture.components.items() if c.fraction}
    rest = 1.0 - sum(fractions.values())
    return fractions | {name: rest for name, c in mixture.components.items() if c.remainder and rest > 1e-9}


def without_empty(mixture: Mixture, *, nested_order: bool = False) -> Mixture:
    """The mixture without components of no samples, whose sources then need not be there."""
    if nested_order:
        shares = _nested_shares(mixture)
        kept = [name for name, size in nested_sizes(shares, mixture.num_samples or 0).items() if size]
        parts = {name: replace(mixture.components[name], fraction=shares[name], remainder=False) for name in kept}
        return replace(mixture, components=parts)
    sizes = component_sizes(mixture) if mixture.num_samples is not None else {}
    left = {name: c for name, c in mixture.components.items() if c.fraction != 0 and sizes.get(name) != 0}
    if 0 in sizes.values():  # what is left no longer adds up as fractions
        left = {name: replace(c, num_samples=sizes[name], fraction=None, remainder=False) for name, c in left.items()}
        return replace(mixture, num_samples=None, components=left)
    return replace(mixture, components=left)


def _budgets(mixture: Mixture) -> dict[str, tuple[str, float]]:
    """Unit and budget of every component, where the mixture's total is not in samples."""
    units = {"num_tokens": "tokens", "num_frames": "num_frames", "num_supervised_tokens": "supervised_tokens"}
    for total_name, column in units.items():
        total = getattr(mixture, total_name)
        if total is not None:
            return {name: (column, round((c.fraction or 0.0) * total, 6)) for name, c in mixture.components.items()}
    return {}


class _TooFewError(DataError):
    """A component asks for more samples than it may draw from."""


@dataclass
class _Draw:
    """The draw of one component from what no other has drawn of its source's order."""

    name: str
    component: Component
    source: SourceData
    order: Division
    drawn: set[int]
    pages: PageCounts
    left_out: Counter[str] = field(default_factory=Counter)

    def _eligible(self) -> Iterator[int]:
        """A pass over the order from its beginning."""
        self.left_out.clear()
        rows = filterfalse(self.drawn.__contains__, self.order)
        size = FIRST_LOOK
        while chunk := list(islice(rows, size)):
            for row, reason in zip(chunk, self._rules_against(chunk), strict=True):
                if reason is None:
                    yield row
                else:
                    self.left_out[reason] += 1
            size = min(2 * size, LONGEST_LOOK)

    def _rules_against(self, rows: list[int]) -> Iterator[str | None]:
        """Which rule leaves each sample out, if any."""
        component = self.component
        counts_words = component.max_instruction_words is not None or component.max_context_words is not None
        counts_pages = component.max_pages is not None or component.max_tokens is not None
        if not counts_words and not counts_pages:
            yield from [None] * len(rows)
            return
        samples = [self.source[row] for row in rows]
        by_words = [self._rule_on_words(sample) for sample in samples]
        if not counts_pages:
            yield from by_words
            return
        left = [sample for sample, reason in zip(samples, by_words, strict=True) if reason is None]
        self.pages.count_ahead(text for sample in left for text in _long_texts(sample))
        for sample, reason in zip(samples, by_words, strict=True):
            yield reason or self._rule_on_pages(sample)

    def _rule_on_words(self, sample: Sample) -> str | None:
        words_limit, context_limit = self.component.max_instruction_words, self.component.max_context_words
        first_turn = next(message for message in sample.messages if message.role == "user")
        num_words = sum(len(part.text.split()) for part in first_turn.parts if isinstance(part, Text))
        if words_limit is not None and num_words > words_limit:
            return f"instruction longer than {words_limit} words"
        if context_limit is not None and sum(len(text.split()) for text in _long_texts(sample)) > context_limit:
            return f"context longer than {context_limit} words"
        return None

    def _rule_on_pages(self, sample: Sample) -> str | None:
        pages_limit, tokens_limit = self.component.max_pages, self.component.max_tokens
        with suppress(MediaError):  # a text that has no pages is left for the plan to reject by name
            num_pages = sum(map(self.pages.of, _long_texts(sample)))
            if pages_limit is not None and num_pages > pages_limit:
                return f"more than {pages_limit} pages"
            num_bytes = sum(len(part.text.encode()) for part in sample.parts() if isinstance(part, Text))
            num_tokens = num_bytes / BYTES_PER_TOKEN + num_pages * self.component.tokens_per_page
            if tokens_limit is not None and num_tokens > tokens_limit:
                return f"longer than about {tokens_limit} tokens"
        return None

    def take(self, size: int) -> list[int]:
        """Rows for `size` showings; the last distinct sample may be shown less often than the others."""
        repeat = self.component.repeat
        distinct = list(islice(self._eligible(), -(-size // repeat)))
        if len(distinct) * repeat < size:
            raise self._too_few(f"asks for {size} samples", len(distinct) * repeat)
        return [row for row in distinct for _ in range(repeat)][:size]

    def hold_out(self, size: int, trained: set[int]) -> list[int]:
        """The next rows, each once, without those whose content's digest is among the trained."""
        eligible = (row for row in self._eligible() if trained.isdisjoint(_digests(self.source, [row])))
        rows = list(islice(eligible, size))
        if len(rows) < size:
            asks = f"asks for {size} samples more for validation, no copies of training samples"
            raise self._too_few(asks, len(rows), remedy="lower validation.num_samples")
        return rows

    def fill(self, column: str, budget: float, measure: Measure | None) -> list[int]:
        """Rows until one more would exceed the budget."""
        assert measure is not None, "a total in tokens or frames needs it"
        repeat, rows = self.component.repeat, self._eligible()
        unit = column.removeprefix("num_").replace("_", " ")
        chosen: list[int] = []
        left_out: Counter[str] = Counter()  # before the last chosen row; later ones are only looked at
        spent, chunk_size = 0.0, FIRST_CHUNK
        while True:
            looked_at = [(row, self.left_out.copy()) for row in islice(rows, chunk_size)]
            if not looked_at and spent >= budget:
                self.left_out = left_out
                return chosen
            if not looked_at:
                raise self._too_few(f"asks for {budget:.0f} {unit}", spent)
            table = measure(self.name, [row for row, _ in looked_at])
            table["tokens"] = table["visual_tokens"] + table["text_tokens"]
            for (row, so_far), cost in zip(looked_at, table[column], strict=True):
                if spent + repeat * cost > budget:
                    if not chosen:
                        raise self._too_dear(row, repeat * cost, budget, unit)
                    self.left_out = left_out
                    return chosen
                spent += repeat * cost
                chosen += [row] * repeat
                left_out = so_far
            chunk_size *= 2

    def _too_dear(self, row: int, cost: float, budget: float, unit: str) -> DataError:
        return DataError(
            f"component '{self.name}' gets {budget:.0f} {unit}, its first sample {self.source.ids[row]!r} alone takes "
            f"{cost:.0f}",
            source=self.component.source,
            remedy="raise the mixture's total or the component's fraction, or lower its repeat",
        )

    def _too_few(self, asks: str, have: float, remedy: str = "lower its size, raise its repeat") -> _TooFewError:
        notes = [f"{count} left out: {reason}" for reason, count in self.left_out.items()]
        notes += [f"{len(self.source.rejected)} records rejected"] if self.source.rejected else []
        return _TooFewError(
            f"component '{self.name}' {asks}, {have:.0f} are left of {len(self.source)} samples"
            + (f" ({'; '.join(notes)})" if notes else ""),
            source=self.component.source,
            remedy=f"{remedy}, {'loosen its limits, ' if self.left_out else ''}or add data",
        )


def _digests(source: SourceData, rows: list[int]) -> list[int]:
    return source.digests[rows].tolist()


def _long_texts(sample: Sample) -> list[str]:
    return [part.text for part in sample.parts() if isinstance(part, LongText)]
