"""The instructions of a whole mixture, in the shares of its components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

WHOLE = "whole mixture"


def mixed(texts: Mapping[str, Sequence[str]], sizes: Mapping[str, int], num_instructions: int) -> list[str]:
    """Instructions of a whole mixture: the first of every component, as many as its share of the samples.

    Args:
        texts: By component, in random order.
        sizes: Samples of each component.
        num_instructions: How many together, at most.
    """
    sizes = {name: size for name, size in sizes.items() if texts[name]}
    whole = sum(sizes.values())
    total = min([num_instructions, *(len(texts[name]) * whole // size for name, size in sizes.items())])
    # Evenly interleaved, so that the beginning of the list is a mixture too.
    placed = [
        ((i + 0.5) / size, text)
        for name, size in sizes.items()
        for i, text in enumerate(texts[name][: round(total * size / whole)])
    ]
    return [text for _, text in sorted(placed, key=itemgetter(0))]
