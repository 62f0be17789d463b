from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from sparrow.core.errors import ConfigError, DataError
from sparrow.core.samples import LongText, Message, Sample, Text
from sparrow.core.segment_store import SegmentStore
from sparrow.data import page_counts
from sparrow.data.mixture import component_sizes, draw
from sparrow.data.page_counts import PageCounts
from sparrow.data.settings import Component, Mixture
from sparrow.media.pages import count_pages
from sparrow.media.settings import TextStyle


@dataclass
class Ids:
    """As much of a source as drawing needs."""

    ids: list[str]
    rejected: tuple = ()

    @property
    def digests(self):
        """A sample whose id ends with # and a number is a copy of the one before the mark."""
        names = [id.partition("#")[0] for id in self.ids]
        return np.array([names.index(name) for name in names], np.uint64)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        """Sample i has i words of instruction and ten pages' worth of text for every tenth i."""
        text = "word " * (1150 if row % 10 == 0 else 10)
        return Sample(self.ids[row], "s", (Message("user", (LongText(text), Text("word " * (row + 1)))),))


def mixture(total, **components):
    return Mixture(num_samples=total, components={k: Component(source=k, **v) for k, v in components.items()})


def select(mix, sources, seed=0, measure=None):
    return draw(mix, sources, seed, PageCounts(TextStyle()), measure)


def drawn(mix, seed=0, size=1000):
    sources = {name: Ids([f"{name}-{i}" for i in range(size)]) for name in mix.components}
    return {s.component: {sources[s.source].ids[row] for row in s.rows} for s in select(mix, sources, seed)}


@pytest.mark.parametrize("total", [1, 2, 3, 7, 100, 101, 30_000])
def test_fractions_add_up_exactly(total):
    sizes = component_sizes(mixture(total, a={"fraction": 1 / 3}, b={"fraction": 1 / 3}, c={"fraction": 1 / 3}))
    assert sum(sizes.values()) == total
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_what_rounding_leaves_goes_to_the_largest_remainders():
    """Of 5.5, 2.5 and 2.0 the halves are the largest, and the first name wins a tie; of 5.5, 2.8 and 1.7 the last two."""
    halves = mixture(10, a={"fraction": 0.55}, b={"fraction": 0.25}, c={"fraction": 0.2})
    assert component_sizes(halves) == {"a": 6, "b": 2, "c": 2}
    others = mixture(10, a={"fraction": 0.55}, b={"fraction": 0.28}, c={"fraction": 0.17})
    assert component_sizes(others) == {"a": 5, "b": 3, "c": 2}


@pytest.mark.parametrize("last", [0.4999995, 0.5000005])
def test_fractions_that_are_typed_with_few_digits_add_up_too(last):
    mix = mixture(3_000_000, a={"fraction": 0.25}, b={"fraction": 0.25}, c={"fraction": last})
    assert sum(component_sizes(mix).values()) == 3_000_000
    mix = mixture(3_000_000, a={"fraction": 0.5}, b={"fraction": last}, c={"remainder": True})
    sizes = component_sizes(mix)
    assert sum(sizes.values()) == 3_000_000
    assert min(sizes.values()) >= 0


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
    first, second = (set(s.rows) for s in select(mix, sources))
    assert not first & second


def test_more_than_there_is_is_an_error_with_the_numbers():
    with pytest.raises(DataError, match="asks for 11 samples, 10 are left of 10 samples; lower its size, "):
        drawn(mixture(None, a={"num_samples": 11}), size=10)


def test_the_remainder_takes_what_is_left_and_may_be_nothing():
    def sizes(total):
        return component_sizes(
            mixture(total, video={"fraction": 2 / 3}, text={"num_samples": 10_000}, extra={"remainder": True})
        )

    assert sizes(30_000) == {"video": 20_000, "text": 10_000, "extra": 0}
    assert sizes(60_000) == {"video": 40_000, "text": 10_000, "extra": 10_000}
    assert sizes(100_000) == {"video": 66_667, "text": 10_000, "extra": 23_333}
    with pytest.raises(ConfigError, match="add up"):
        sizes(20_000)


def test_repeats_are_explicit_and_count():
    mix = mixture(None, a={"num_samples": 25, "repeat": 3})
    (selection,) = select(mix, {"a": Ids([f"a-{i}" for i in range(9)])})
    assert len(selection.rows) == 25
    assert len(set(selection.rows)) == 9
    with pytest.raises(DataError, match="27 are left of 9"):
        select(mixture(None, a={"num_samples": 28, "repeat": 3}), {"a": Ids([f"a-{i}" for i in range(9)])})


def test_rules_leave_samples_out_before_the_count_and_say_so():
    source = {"a": Ids([f"a-{i}" for i in range(100)])}
    mix = mixture(None, a={"num_samples": 45, "max_pages": 5, "max_instruction_words": 50})
    (selection,) = select(mix, source)
    assert len(selection.rows) == 45
    assert all(row % 10 and row < 50 for row in selection.rows)
    assert selection.left_out["instruction longer than 50 words"] > 0
    assert selection.left_out["more than 5 pages"] > 0
    with pytest.raises(
        DataError, match=r"asks for 46 samples, 45 are left of 100 samples .*left out.*loosen its limits"
    ):
        select(mixture(None, a={"num_samples": 46, "max_pages": 5, "max_instruction_words": 50}), source)


def test_a_limit_on_words_of_context_draws_the_same_samples_for_every_page_style():
    source = {"a": Ids([f"a-{i}" for i in range(100)])}
    mix = mixture(None, a={"num_samples": 45, "max_context_words": 500})
    styles = [TextStyle(), TextStyle(words_per_page=5), TextStyle(layout="fit", font_size_px=10)]
    drawn_rows = [draw(mix, source, 0, PageCounts(style), None)[0] for style in styles]
    assert drawn_rows[0] == drawn_rows[1] == drawn_rows[2]
    assert all(row % 10 for row in drawn_rows[0].rows)
    assert drawn_rows[0].left_out["context longer than 500 words"] > 0


def test_a_limit_on_tokens_counts_questions_and_answers_by_their_bytes_and_pages_as_told():
    source = {"a": Ids([f"a-{i}" for i in range(100)])}  # question i has 5 (i + 1) bytes
    mix = mixture(None, a={"num_samples": 36, "max_tokens": 96 + 50})
    (selection,) = select(mix, source)
    assert set(selection.rows) == {row for row in range(40) if row % 10}
    assert selection.left_out["longer than about 146 tokens"] > 0
    mix = mixture(None, a={"num_samples": 40, "max_tokens": 10 + 50, "tokens_per_page": 1})
    assert set(range(0, 40, 10)) < set(select(mix, source)[0].rows)


@pytest.mark.parametrize("unit", ["num_tokens", "num_frames", "num_supervised_tokens"])
def test_totals_in_other_units_are_filled_and_not_exceeded(unit):
    column = {"num_frames": "num_frames", "num_supervised_tokens": "supervised_tokens"}.get(unit)

    def measure(component, rows):
        costs = pd.DataFrame(
            dict.fromkeys(("visual_tokens", "text_tokens", "supervised_tokens", "num_frames"), 0), index=rows
        )
        costs[column or "text_tokens"] = [1 + row % 7 for row in rows]
        return costs

    def rows_of(total):
        mix = replace(mixture(4, a={"fraction": 0.75}, b={"fraction": 0.25}), num_samples=None, **{unit: total})
        sources = {name: Ids([f"{name}-{i}" for i in range(3000)]) for name in "ab"}
        return {s.component: s.rows for s in select(mix, sources, measure=measure)}

    small, large = rows_of(1000), rows_of(4000)
    for name, share in (("a", 0.75), ("b", 0.25)):
        spent = sum(1 + row % 7 for row in large[name])
        assert share * 4000 - 7 < spent <= share * 4000
        assert large[name][: len(small[name])] == small[name]
    with pytest.raises(DataError, match="are left of 3000"):
        rows_of(40_000)


def one_source(totals=None, **components):
    components = {name: Component(source="s", **settings) for name, settings in components.items()}
    return Mixture(components=components, **(totals or {}))


def test_what_one_component_leaves_out_another_may_draw():
    """Half of the samples have instructions of more than 50 words; the order of the components does not matter."""
    source = {"s": Ids([f"s-{i}" for i in range(100)])}
    short = {"num_samples": 45, "max_instruction_words": 50}
    first, rest = select(one_source(short=short, rest={"num_samples": 55}), source)
    assert sorted(first.rows + rest.rows) == list(range(100))
    some = select(one_source(short=short, rest={"num_samples": 10}), source)[1]
    assert some.rows == rest.rows[:10]


def test_shares_in_tokens_of_one_source_lose_nothing():
    """What the first component measured and did not take is there for the second, and for validation."""
    source = {"s": Ids([f"s-{i}" for i in range(100)])}
    mix = one_source({"num_tokens": 800}, a={"fraction": 0.625}, b={"fraction": 0.375})
    a, b = draw(mix, source, 0, PageCounts(TextStyle()), ten_tokens, num_held_out=20)
    assert [len(selection.rows) for selection in (a, b)] == [50, 30]
    assert sorted(a.rows + b.rows + a.held_out + b.held_out) == list(range(100))
    mix = one_source({"num_tokens": 1000}, a={"fraction": 0.5}, b={"fraction": 0.5})
    a, b = draw(mix, source, 0, PageCounts(TextStyle()), ten_tokens)  # exactly what is there
    assert sorted(a.rows + b.rows) == list(range(100))


def test_no_copy_of_a_training_sample_is_held_out():
    """Not even one that another component trains on."""
    names = [f"{number}{copy}" for number in range(20) for copy in ("", "#2")]
    sources = {"a": Ids(names), "b": Ids(names[:20])}
    mix = mixture(None, a={"num_samples": 12}, b={"num_samples": 6})
    selections = draw(mix, sources, 0, PageCounts(TextStyle()), None, num_held_out=3)
    trained = {sources[s.source].ids[row].partition("#")[0] for s in selections for row in s.rows}
    held_out = {sources[s.source].ids[row].partition("#")[0] for s in selections for row in s.held_out}
    assert len(held_out) >= 2 and not held_out & trained
    with pytest.raises(
        DataError, match=r"asks for \d+ samples more for validation, no copies of training samples, \d+ "
    ):
        draw(mix, sources, 0, PageCounts(TextStyle()), None, num_held_out=40)


@pytest.mark.parametrize("size", [256, 257, 600])
def test_a_total_in_tokens_draws_what_the_same_number_of_samples_draws(size):
    """Samples are measured some hundreds at a time: none is lost where one look ends."""
    source = {"s": Ids([f"s-{i}" for i in range(700)])}
    limits = {"fraction": 1.0, "max_instruction_words": 650}
    by_tokens, by_samples = one_source({"num_tokens": 10 * size}, a=limits), one_source({"num_samples": size}, a=limits)
    (selection,) = draw(by_tokens, source, 0, PageCounts(TextStyle()), ten_tokens)
    (expected,) = draw(by_samples, source, 0, PageCounts(TextStyle()), ten_tokens)
    assert selection.rows == expected.rows
    assert selection.left_out == expected.left_out


def test_fractions_of_a_total_in_tokens_add_up_to_all_of_it():
    mix = one_source({"num_tokens": 1000}, a={"fraction": 0.9}, b={"fraction": 0.9})
    with pytest.raises(ConfigError, match=r"add up to 1.8 of mixture.num_tokens; change them"):
        draw(mix, {"s": Ids(["s-0"])}, 0, PageCounts(TextStyle()), ten_tokens)


def test_a_share_that_pays_for_no_sample_is_an_error():
    mix = one_source({"num_tokens": 900}, a={"fraction": 0.99}, b={"fraction": 0.01})
    source = {"s": Ids([f"s-{i}" for i in range(100)])}
    with pytest.raises(
        DataError, match=r"'b' gets 9 tokens, its first sample 's-\d+' alone takes 10; raise the mixture"
    ):
        draw(mix, source, 0, PageCounts(TextStyle()), ten_tokens)


def ten_tokens(component, rows):
    return pd.DataFrame({"visual_tokens": 0, "text_tokens": 10, "num_frames": 1, "supervised_tokens": 1}, index=rows)


def test_a_rule_on_pages_counts_the_whole_text():
    source = {"a": Ids([f"a-{i}" for i in range(100)])}
    mix = mixture(None, a={"num_samples": 90, "max_pages": 5})
    (selection,) = draw(mix, source, 0, PageCounts(TextStyle(max_pages=2, page_policy="first")), None)
    assert all(row % 10 for row in selection.rows)


def test_pages_are_counted_once_for_a_text_and_style(tmp_path, monkeypatch):
    counted = []

    def count(text, style):
        counted.append(text)
        return count_pages(text, style)

    monkeypatch.setattr(page_counts, "count_pages", count)
    source = {"a": Ids([f"a-{i}" for i in range(100)])}

    def rows(style, **rules):
        mix = mixture(None, a={"num_samples": 45, **rules})
        with closing(PageCounts(style, tmp_path)) as pages:
            return draw(mix, source, 0, pages, None)[0].rows

    first = rows(TextStyle(), max_pages=5)
    assert sorted(map(len, counted)) == [50, 5750]  # the two texts that there are
    assert rows(TextStyle(), max_pages=5) == first
    assert rows(TextStyle(), max_pages=10) != first
    assert len(counted) == 2
    rows(TextStyle(words_per_page=50), max_pages=5)
    assert len(counted) == 4


def test_pages_counted_by_processes_draw_the_same_samples(tmp_path):
    class Texts(Ids):
        def __getitem__(self, row):
            text = LongText("word " * (100 + 10 * row))
            return Sample(self.ids[row], "s", (Message("user", (text, Text("Why?"))),))

    source = {"a": Texts([f"a-{i}" for i in range(300)])}
    mix = mixture(None, a={"num_samples": 120, "max_pages": 15})
    selections = []
    for num_workers in (0, 2):
        with closing(PageCounts(TextStyle(), tmp_path / str(num_workers), num_workers)) as pages:
            selections.append(draw(mix, source, 0, pages, None))
    alone, together = selections
    assert together == alone
    assert alone[0].left_out["more than 15 pages"] > 0
    assert len(page_counts_in(tmp_path / "2")) > len(page_counts_in(tmp_path / "0")), "some were counted ahead"


def page_counts_in(cache_root):
    (folder,) = (cache_root / "pages").iterdir()
    return SegmentStore(folder).read()
