"""Clusters, distances between sources and coverage, against small cases that can be worked out."""

import numpy as np
import pytest

from sparrow.instructions import diagnostics
from sparrow.instructions.diagnostics import cluster, coverage, nearest_distances, source_distances

EYE = np.eye(8, dtype=np.float32)
EMPTY = np.zeros((0, 8), dtype=np.float32)


def test_evenness_is_one_spread_out_and_zero_in_one_place():
    found = cluster({"even": EYE, "one": EYE[[0] * 8], "empty": EMPTY}, 8, seed=0)
    assert found["even"].evenness == pytest.approx(1)
    assert found["even"].effective_clusters == pytest.approx(8)
    assert (found["one"].num_clusters, found["one"].evenness) == (1, 0)
    assert (found["empty"].num_clusters, found["empty"].effective_clusters) == (0, 0)


def test_there_are_no_more_clusters_than_different_instructions():
    assert cluster({"one": EYE[[0] * 5]}, 50, seed=0)["one"].num_clusters == 1
    assert cluster({"none": EMPTY}, 50, seed=0)["none"].evenness == 0
    assert cluster({}, 50, seed=0) == {}


def test_nearest_distances_are_exact_in_blocks(monkeypatch):
    monkeypatch.setattr(diagnostics, "CHUNK", 7)
    rng = np.random.default_rng(0)
    these, others = (rng.normal(size=(n, 5)).astype(np.float32) for n in (30, 20))
    these, others = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (these, others))
    np.testing.assert_allclose(nearest_distances(these, others), (1 - these @ others.T).min(axis=1), atol=1e-6)
    own = 1 - these @ these.T + 9 * np.eye(30)
    np.testing.assert_allclose(nearest_distances(these, neighbour=3), np.sort(own, axis=1)[:, 2], atol=1e-6)


def test_a_source_adds_nothing_to_one_that_holds_it():
    distances = source_distances({"all": EYE, "part": EYE[:2], "none": EMPTY})
    assert distances[1] == pytest.approx([0, 1, 1])
    assert distances[0][1] == pytest.approx(6 / 8)
    assert distances[2] == [1, 1, 1]


def test_coverage_is_whole_for_the_questions_themselves_and_none_for_what_is_apart():
    assert coverage(EYE[:4], EYE[:4]).coverage == 1
    near = np.array([[1, 0.1 * i] + [0] * 6 for i in range(8)], dtype=np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    apart = coverage(near, EYE[4:])
    assert (apart.coverage, apart.mean_distance) == (0, 1)
    assert coverage(near, near[:1]).coverage == pytest.approx(3 / 8), "near to the questions at its end of the row"


@pytest.mark.parametrize(("questions", "given"), [(EMPTY, EYE), (EYE, EMPTY), (EMPTY, EMPTY), (EYE[:1], EYE)])
def test_coverage_of_or_by_nothing_is_defined(questions, given):
    found = coverage(questions, given)
    assert found.num_questions == len(questions)
    assert 0 <= found.coverage <= 1
    assert 0 <= found.mean_distance <= 1
