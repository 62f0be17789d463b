"""Drawing a mixture: exact counts a component, in an order that nests smaller mixtures inside larger ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sparrow.core.config import Mixture
from sparrow.core.errors import ConfigError, DataError
from sparrow.core.hashing import hash_order
from sparrow.data.sources import SourceData


@dataclass(frozen=True)
class Selection:
    """The drawn samples of one component: positions in its source, in hash order."""

    component: str
    source: str
    present_as: str
    rows: list[int]


def component_sizes(mixture: Mixture) -> dict[str, int]:
    """Samples of every component; fractions are rounded so that they add up to `mixture.num_samples` exactly.

    Rounding is by largest remainder: every share is cut down, and what is missing goes to the largest remainders.

    Raises:
        ConfigError: If a component has not exactly one of `num_samples` and `fraction`, or they do not add up.
    """
    fixed = {name: c.num_samples for name, c in mixture.components.items() if c.num_samples is not None}
    shares = {name: c.fraction for name, c in mixture.components.items() if c.fraction is not None}
    total = mixture.num_samples
    if not shares:
        if total is not None and total != sum(fixed.values()):
            raise ConfigError(
                f"mixture.num_samples={total}, but its components add up to {sum(fixed.values())}; "
                "drop the one or change the other"
            )
        return fixed
    assert total is not None
    available = total - sum(fixed.values())
    exact = {name: share * total for name, share in shares.items()}
    sizes = {name: int(value + 1e-9) for name, value in exact.items()}
    missing = available - sum(sizes.values())
    if abs(sum(exact.values()) - available) > 1e-6 * total + 1e-9:
        raise ConfigError(
            f"mixture: fractions of {total} samples give {sum(exact.values()):.1f}, but {available} are left beside "
            "the components with num_samples; fractions must add up to what is left"
        )
    for name in sorted(sizes, key=lambda n: (sizes[n] - exact[n], n))[:missing]:
        sizes[name] += 1
    return {name: fixed.get(name, sizes.get(name, 0)) for name in mixture.components}


def draw(mixture: Mixture, sources: Mapping[str, SourceData], data_seed: int) -> list[Selection]:
    """Choose the samples of every component.

    Samples of one source that serve two components are drawn without overlap, in the order of the components.

    Raises:
        DataError: If a component asks for more samples than its source has left.
    """
    selections: list[Selection] = []
    taken: dict[str, int] = {}
    orders = {
        name: hash_order(sources[name].ids, data_seed) for name in {c.source for c in mixture.components.values()}
    }
    for name, size in component_sizes(mixture).items():
        component = mixture.components[name]
        order, begin = orders[component.source], taken.get(component.source, 0)
        if begin + size > len(order):
            raise DataError(
                f"component '{name}' asks for {size} samples, {len(order) - begin} are left of {len(order)}",
                source=component.source,
                remedy=f"lower its size, or add data; {len(sources[component.source].rejected)} records were rejected",
            )
        taken[component.source] = begin + size
        selections.append(Selection(name, component.source, component.present_as, order[begin : begin + size]))
    return selections
