"""In which order a component meets the samples of its source, and how components of one source divide it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice

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
    """A source divided among the components that draw from it: each sample is in the part of one of them, by hash.

    Parts depend on the seed, the names of the components and the sample's id, never on how many samples are drawn: so a
    sample that a smaller mixture shows is shown by the same component in a larger one.
    """

    def __init__(self, components: Sequence[str], ids: Sequence[str], seed: int) -> None:
        self._components, self._ids, self._seed = components, ids, seed
        self._owners: dict[int, str] = {}

    def order(self, component: str, rows: Iterable[int], *, whole: bool) -> Iterator[int]:
        """The component's part of some rows, in their order; with `whole` also the others' parts, from their end."""
        yield from (row for row in rows if self._owner(row) == component)
        if whole:
            yield from reversed([row for row in rows if self._owner(row) != component])

    def _owner(self, row: int) -> str:
        if len(self._components) == 1:
            return self._components[0]
        if row not in self._owners:
            id = self._ids[row]
            self._owners[row] = max(self._components, key=lambda name: hash_key(self._seed, "component", name, id))
        return self._owners[row]
