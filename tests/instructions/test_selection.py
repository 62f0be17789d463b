"""Orders of selection: whole, nested, the same in whatever pieces they are computed, and each what it promises."""

from itertools import islice

import numpy as np
import pytest

from sparrow.core.hashing import hash_order
from sparrow.instructions import selection
from sparrow.instructions.selection import GRID, SELECTIONS, select


def unit(vectors):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0).astype(np.float32)


@pytest.fixture(scope="module")
def pool():
    """Loose vectors, tight groups of near duplicates, a coarse grid with many ties and repetitions, and zeros."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(12, 8)), 15, axis=0)
    grid = np.round(rng.normal(size=(150, 3))) @ np.eye(3, 8)
    vectors = [rng.normal(size=(90, 8)), centres + 0.02 * rng.normal(size=centres.shape), grid, np.zeros((3, 8))]
    vectors = unit(np.concatenate(vectors))
    return [f"s{i}" for i in range(len(vectors))], vectors


@pytest.mark.parametrize("method", SELECTIONS)
def test_every_sample_has_one_place_that_depends_on_ids_not_positions(method, pool):
    ids, vectors = pool
    order = list(select(method, ids, vectors, 3))
    assert sorted(order) == list(range(len(ids)))
    shuffled = np.random.default_rng(1).permutation(len(ids))
    again = select(method, [ids[i] for i in shuffled], vectors[shuffled], 3)
    assert [ids[shuffled[i]] for i in again] == [ids[i] for i in order]
    assert list(select(method, ids, vectors, 4)) != order


@pytest.mark.parametrize("method", SELECTIONS)
@pytest.mark.parametrize("known", [0, 1, 7, 250, 400, 423])
def test_an_order_goes_on_where_it_was_left(method, known, pool):
    ids, vectors = pool
    order = list(select(method, ids, vectors, 3))
    assert len(order) == 423
    assert list(select(method, ids, vectors, 3, first=order[:known])) == order[known:]


@pytest.mark.parametrize("method", SELECTIONS)
@pytest.mark.parametrize("block", [1, 16])
def test_blocks_change_nothing(method, block, pool, monkeypatch):
    ids, vectors = pool
    order = list(islice(select(method, ids, vectors, 3), 200))
    monkeypatch.setattr(selection, "BLOCK", block)
    assert list(islice(select(method, ids, vectors, 3), 200)) == order


@pytest.mark.parametrize("method", SELECTIONS)
@pytest.mark.parametrize("number", [0, 1, 5])
def test_small_and_uniform_pools(method, number):
    ids = [f"s{i}" for i in range(number)]
    vectors = unit(np.ones((number, 4)))
    assert list(select(method, ids, vectors, 0)) == hash_order(ids, 0), "equal instructions stay in hash order"


def test_k_center_is_greedy_farthest_first(pool):
    ids, vectors = pool
    whole = np.rint(vectors * GRID).astype(np.int64)
    hashed = hash_order(ids, 3)
    order, distance = [], np.full(len(ids), np.iinfo(np.int64).max)
    while distance.max() > 0:
        order.append(max(hashed, key=distance.__getitem__))
        distance = np.minimum(distance, np.square(whole - whole[order[-1]]).sum(axis=1))
    assert list(islice(select("kcenter", ids, vectors, 3), len(order))) == order


def test_dedup_puts_near_repetitions_last(pool):
    ids, vectors = pool
    order = list(select("dedup", ids, vectors, 3, duplicate_similarity=0.95))
    alike = vectors[order] @ vectors[order].T
    earlier = np.array([alike[i, :i].max(initial=0.0) for i in range(len(order))])
    repeats = earlier >= 0.9505
    assert 0 < repeats.sum() < len(order)
    first = int(np.argmax(earlier >= 0.9495))
    assert not repeats[:first].any()
    assert repeats[first:].mean() > 0.9, "zeros alone are like nothing"


def test_dedup_without_repetitions_is_hash_order():
    ids = [f"s{i}" for i in range(20)]
    assert list(select("dedup", ids, np.eye(20, dtype=np.float32), 1)) == hash_order(ids, 1)


def test_cluster_balanced_evens_out_what_is_lopsided(monkeypatch):
    monkeypatch.setattr(selection, "MAX_CLUSTERS", 4)
    rng = np.random.default_rng(0)
    sizes = [300, 60, 30, 10]
    group = np.repeat(np.arange(4), sizes)
    vectors = unit(np.eye(4, 16)[group] + 0.01 * rng.normal(size=(400, 16)))
    ids = [f"s{i}" for i in range(400)]
    drawn = group[list(islice(select("cluster_balanced", ids, vectors, 0), 40))]
    assert np.bincount(drawn).tolist() == [10, 10, 10, 10]


@pytest.mark.parametrize(
    ("method", "over_pool"), [("kcenter", np.max), ("cluster_balanced", np.mean), ("dedup", np.mean)]
)
def test_selected_instructions_leave_less_uncovered_than_random_ones(method, over_pool, pool):
    ids, vectors = pool
    ids, vectors = [id for id, asks in zip(ids, vectors.any(axis=1), strict=True) if asks], vectors[vectors.any(axis=1)]
    drawn, random = list(islice(select(method, ids, vectors, 0), 60)), hash_order(ids, 0)[:60]
    away = [over_pool(1 - (vectors @ vectors[chosen].T).max(axis=1)) for chosen in (drawn, random)]
    assert away[0] < away[1]
