"""In which order a component meets the samples of its source, and how components of one source divide it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, filterfalse, islice

from sparrow.core.hashing import hash_key


class Replayed:
    """An order that can be gone through many times and is worked out once, as far as it is asked for."""

    def __init__(self, rows: Iterable[int]) -> None:
        self._rows, self._known = iter(rows), list[int]()

    def __iter__(self) -> Iterator[int]:
        for i in count():
            if i == len(self._known):
                self._known += islice(self._rows, 1)
            if i == len(self._known):
                return
            yield self._known[i]


class Division:
    """The order of a component's part of its source; with `whole`, then that of the others' parts from their end.

    Each sample is in the part of one of the components `sharing` the source, by hash of the seed, their names and its
    id, never of how many are drawn: so what a smaller mixture shows is shown by the same component in a larger one.
    """

    def __init__(
        self, component: str, sharing: Sequence[str], rows: Iterable[int], ids: Sequence[str], seed: int
    ) -> None:
        self._component, self._sharing, self._rows, self._ids, self._seed = component, sharing, rows, ids, seed
        self._is_own: dict[int, bool] = {}
        self.whole = False

    def __iter__(self) -> Iterator[int]:
        yield from filter(self._owns, self._rows)
        if self.whole:
            yield from reversed(list(filterfalse(self._owns, self._rows)))

    def _owns(self, row: int) -> bool:
        if len(self._sharing) > 1 and row not in self._is_own:
            keys = {name: hash_key(self._seed, "component", name, self._ids[row]) for name in self._sharing}
            self._is_own[row] = max(self._sharing, key=keys.__getitem__) == self._component
        return self._is_own.get(row, True)
