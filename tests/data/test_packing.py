"""Bins and shares on random lengths: nothing lost, nothing over, ranks in step and balanced."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparrow.data.packing import best_fit, deal, deal_rows, length_grouped, packed_epoch, packed_step, padded_step

CAPACITY = 1000
LENGTHS = st.lists(st.integers(1, CAPACITY), min_size=1, max_size=60).map(np.array)


def paper_lengths(count, seed=0):
    """Tokens of samples as in the paper: about 24 frames of 98 tokens, pages up to 100 frames."""
    return np.random.default_rng(seed).lognormal(np.log(2352), 0.5, count).clip(98, 10_240).astype(np.int64)


@given(LENGTHS)
def test_best_fit_holds_every_sample_once_and_opens_no_bin_in_vain(lengths):
    bins = best_fit(lengths, CAPACITY)
    assert sorted(np.concatenate(bins)) == list(range(len(lengths)))
    fills = np.array([lengths[members].sum() for members in bins])
    assert fills.max() <= CAPACITY
    assert (fills <= CAPACITY // 2).sum() <= 1, "two half-empty bins would have been one"


def test_best_fit_takes_the_fullest_bin_that_suffices():
    assert [members.tolist() for members in best_fit(np.array([60, 50, 40, 30]), 100)] == [[0, 2], [1, 3]]
    assert [members.tolist() for members in best_fit(np.array([70, 55, 45, 30]), 100)] == [[0, 3], [1, 2]]


def test_best_fit_wastes_little_of_the_papers_lengths():
    lengths = paper_lengths(20_000)
    assert lengths.sum() / (len(best_fit(lengths, 10_240)) * 10_240) > 0.97


@given(LENGTHS, st.integers(1, 9))
def test_packed_steps_are_partitions_within_capacity_with_ranks_in_step(lengths, world_size):
    shares = packed_step(lengths, lengths.astype(float) ** 1.5, CAPACITY, world_size)
    assert len(shares) == world_size
    assert len({len(share) for share in shares}) == 1
    rows = [row for share in shares for row in share]
    assert sorted(np.concatenate(rows)) == list(range(len(lengths)))
    assert max(lengths[row].sum() for row in rows) <= CAPACITY


@given(LENGTHS, st.integers(1, 9), st.integers(1, 5))
def test_padded_steps_are_partitions_with_ranks_in_step(lengths, world_size, size):
    shares = padded_step(lengths, size, world_size)
    assert len({len(share) for share in shares}) == 1
    assert sorted(np.concatenate([row for share in shares for row in share])) == list(range(len(lengths)))
    counts = [sum(len(row) for row in share) for share in shares]
    assert max(counts) - min(counts) <= 1
    assert max(len(row) for share in shares for row in share) <= size


@pytest.mark.parametrize("world_size", [2, 8])
def test_ranks_are_balanced_by_cost_not_by_length(world_size):
    lengths = paper_lengths(64)
    costs = lengths + lengths.astype(float) ** 2 / 500
    packed = packed_step(lengths, costs, 10_240, world_size)
    loads = [costs[np.concatenate(share)].sum() for share in packed]
    assert max(loads) < 1.05 * np.mean(loads)
    rows = best_fit(lengths, 10_240)
    assert sorted(np.concatenate([r for share in deal_rows(rows, costs, world_size) for r in share])) == list(range(64))


def test_a_rank_begins_with_its_dearest_row():
    costs = np.array([1.0, 9.0, 5.0, 2.0, 8.0, 6.0])
    for shares in (
        packed_step(np.array([900, 400, 500, 900, 500, 400]), costs, CAPACITY, 1),
        deal_rows([np.array(row) for row in ([0], [1, 2], [3], [4, 5])], costs, 1),
    ):
        loads = [costs[row].sum() for row in shares[0]]
        assert loads == sorted(loads, reverse=True)
        assert sum(loads) == costs.sum()


def test_padded_shares_are_balanced():
    lengths = np.random.default_rng(0).integers(10, 10_000, 64)
    shares = [np.concatenate(share) for share in padded_step(lengths, 2, 8)]
    assert {len(share) for share in shares} == {8}
    loads = [lengths[share].sum() for share in shares]
    assert max(loads) < 1.1 * np.mean(loads)


def test_dealing_gives_the_dearest_first_to_the_cheapest():
    assert deal(np.array([5, 4, 3, 3]), [2, 2]) == [[0, 3], [1, 2]]
    assert deal(np.array([9, 1, 1, 1]), [2, 2]) == [[0, 3], [1, 2]]
    assert deal(np.array([9, 1, 1, 1]), [4, 4]) == [[0], [1, 2, 3]]


def test_length_grouped_steps_hold_similar_lengths_in_no_order_of_length():
    lengths, order = paper_lengths(1000), np.random.default_rng(1).permutation(1000)
    steps = length_grouped(order, lengths, 8)
    assert sorted(np.concatenate(steps)) == list(range(1000))
    assert [len(step) for step in steps] == [8] * 125
    spread = np.mean([np.ptp(lengths[step]) for step in steps])
    assert spread < 0.1 * np.mean([np.ptp(lengths[order[i : i + 8]]) for i in range(0, 1000, 8)])
    means = np.array([lengths[step].mean() for step in steps[:50]])
    assert abs(np.corrcoef(means, np.arange(50))[0, 1]) < 0.5


def test_an_epochs_rows_are_full_and_evenly_spread_over_steps():
    lengths, order = paper_lengths(1000), np.random.default_rng(1).permutation(1000)
    steps = packed_epoch(order, lengths, 10_240, 64)
    rows = [row for step in steps for row in step]
    assert sorted(np.concatenate(rows)) == list(range(1000))
    fills = np.array([lengths[row].sum() for row in rows])
    assert fills.max() <= 10_240
    assert fills.mean() > 0.97 * 10_240
    assert len({len(step) for step in steps[:-1]}) == 1
    assert np.mean([sum(map(len, step)) for step in steps[:-1]]) == pytest.approx(64, rel=0.05)
