from dataclasses import dataclass

import pytest

from sparrow.core.config import Component, Mixture
from sparrow.core.errors import ConfigError, DataError
from sparrow.data.mixture import component_sizes, draw


@dataclass
class Ids:
    """As much of a source as drawing needs."""

    ids: list[str]
    rejected: tuple = ()

    def __len__(self):
        return len(self.ids)


def mixture(total, **components):
    return Mixture(num_samples=total, components={k: Component(source=k, **v) for k, v in components.items()})


def drawn(mix, seed=0, size=1000):
    sources = {name: Ids([f"{name}-{i}" for i in range(size)]) for name in mix.components}
    return {s.component: {sources[s.source].ids[row] for row in s.rows} for s in draw(mix, sources, seed)}


@pytest.mark.parametrize("total", [1, 2, 3, 7, 100, 101, 30_000])
def test_fractions_add_up_exactly(total):
    sizes = component_sizes(mixture(total, a={"fraction": 1 / 3}, b={"fraction": 1 / 3}, c={"fraction": 1 / 3}))
    assert sum(sizes.values()) == total
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_counts_and_fractions_mix():
    sizes = component_sizes(mixture(100, a={"num_samples": 40}, b={"fraction": 0.6}))
    assert sizes == {"a": 40, "b": 60}


def test_what_does_not_add_up_is_refused():
    with pytest.raises(ConfigError, match="add up"):
        component_sizes(mixture(100, a={"fraction": 0.5}, b={"fraction": 0.6}))
    with pytest.raises(ConfigError, match="add up"):
        component_sizes(mixture(100, a={"num_samples": 40}))


def test_smaller_mixtures_are_inside_larger_ones():
    shares = {"a": {"fraction": 2 / 3}, "b": {"fraction": 1 / 3}}
    small, middle, large = (drawn(mixture(n, **shares)) for n in (30, 60, 100))
    for component in shares:
        assert small[component] < middle[component] < large[component]


def test_a_components_draw_does_not_depend_on_the_others():
    alone = drawn(mixture(None, a={"num_samples": 20}))
    beside = drawn(mixture(None, a={"num_samples": 20}, b={"num_samples": 500}))
    assert alone["a"] == beside["a"]
    assert drawn(mixture(None, a={"num_samples": 20}), seed=1) != alone


def test_two_components_of_one_source_share_nothing():
    mix = Mixture(components={n: Component(source="s", num_samples=40) for n in ("x", "y")})
    sources = {"s": Ids([f"s-{i}" for i in range(100)])}
    first, second = (set(s.rows) for s in draw(mix, sources, 0))
    assert not first & second


def test_more_than_there_is_is_an_error_with_the_numbers():
    with pytest.raises(DataError, match="asks for 11 samples, 10 are left of 10"):
        drawn(mixture(None, a={"num_samples": 11}), size=10)
