"""Statistics over few independent runs, against tables of Student's t."""

import pytest

from sparrow.analysis.seeds import Estimate, estimate, holm, student_interval, student_p


def test_one_run_keeps_its_own_interval_and_has_no_deviation():
    assert estimate([0.5], [(0.4, 0.6)]) == Estimate(0.5, None, 0.4, 0.6)
    assert estimate([0.5], [None]) == Estimate(0.5, None, None, None)


def test_two_runs_have_the_mean_of_their_bounds():
    found = estimate([0.4, 0.6], [(0.3, 0.5), (0.4, 0.8)])
    assert (found.mean, found.sd, found.low, found.high) == pytest.approx((0.5, 0.02**0.5, 0.35, 0.65))


def test_three_runs_have_the_interval_of_student():
    # t(0.975, 2) = 4.3027
    assert student_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    found = estimate([0.50, 0.55, 0.60], [None] * 3)
    assert (found.mean, found.sd) == pytest.approx((0.55, 0.05))
    assert (found.low, found.high) == pytest.approx((0.4258, 0.6742), abs=1e-4)
    assert estimate([0.9, 0.95, 1.0], [None] * 3).high == 1.0


def test_runs_that_are_all_equal_are_not_certain():
    assert estimate([0.5] * 3, [(0.4, 0.6)] * 3) == Estimate(0.5, 0.0, pytest.approx(0.4), pytest.approx(0.6))


def test_p_values():
    assert student_p(4.3027, 2) == pytest.approx(0.05, abs=1e-5)
    assert student_p(-4.3027, 2) == pytest.approx(0.05, abs=1e-5)


def test_holm_adjusts_by_rank_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
