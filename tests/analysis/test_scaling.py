"""Quantities of learning curves on cases that can be computed by hand."""

import math

import numpy as np
import pytest

from sparrow.analysis.scaling import (
    Located,
    area_under_curve,
    equivalent_samples,
    fit_curve,
    gain_per,
    interval_over_seeds,
)
from sparrow.analysis.seeds import student_interval
from sparrow.core.errors import DataError

SIZES = (30_000, 60_000, 100_000)


def curve(intercept, slope):
    return [intercept + slope * math.log(n) for n in SIZES]


def test_a_logarithm_is_fitted_with_its_residuals():
    fit = fit_curve([math.e, math.e**2, math.e**3], [1.0, 2.0, 4.0])
    assert (fit.intercept, fit.slope) == pytest.approx((-2 / 3, 1.5))
    assert fit.residuals == pytest.approx((1 / 6, -1 / 3, 1 / 6))
    assert fit.rmse == pytest.approx(math.sqrt(1 / 6))
    assert fit.at(math.e**4) == pytest.approx(16 / 3)


def test_a_power_law_of_the_errors_is_found_again():
    scores = [1 - 2 * n**-0.1 for n in SIZES]
    fit = fit_curve(SIZES, scores, "power_law")
    assert (math.exp(-fit.intercept), fit.slope) == pytest.approx((2, 0.1))
    assert fit.residuals == pytest.approx((0, 0, 0), abs=1e-12)
    assert fit.at(50_000) == pytest.approx(1 - 2 * 50_000**-0.1)
    found = equivalent_samples(SIZES, scores, 1 - 2 * 50_000**-0.1, form="power_law")
    assert found.found.samples == pytest.approx(50_000)
    bent = fit_curve(SIZES, [0.3, 0.4, 0.41], "power_law")
    assert bent.residuals == pytest.approx([s - bent.at(n) for n, s in zip(SIZES, (0.3, 0.4, 0.41), strict=True)])


def test_a_power_law_needs_errors():
    with pytest.raises(DataError, match=r"a score of 100 % leaves none; set study\.fit=logarithm"):
        fit_curve(SIZES, [0.8, 0.9, 1.0], "power_law")
    resampled = np.array([[0.8, 0.9, 1.0], [0.8, 0.85, 0.9]])
    found = equivalent_samples(
        SIZES, [0.8, 0.85, 0.9], 0.85, form="power_law", resampled_scores=resampled, resampled_target=[1, 0.85]
    )
    assert found.interval is not None


@pytest.mark.parametrize("sizes", [[30, 60], [30, 30, 60], []])
def test_too_few_sizes_are_refused_with_how_many_are_needed(sizes):
    with pytest.raises(DataError, match="a fit needs 3 different sizes above 0, there are"):
        fit_curve(sizes, [0.5] * len(sizes))
    with pytest.raises(DataError, match="needs 3 different sizes"):
        equivalent_samples(sizes, [0.5] * len(sizes), 0.5)


def test_equivalent_samples_lie_on_the_fitted_curve():
    found = equivalent_samples(SIZES, curve(0.2, 0.03), 0.2 + 0.03 * math.log(45_000))
    assert found.found.samples == pytest.approx(45_000)
    assert found.interval is None


@pytest.mark.parametrize(("target", "side"), [(0.527, 1), (0.480, -1)])
def test_outside_of_the_measured_range_nothing_is_extrapolated(target, side):
    # The published baseline (arXiv 2411.19951); 52.7 is what 30K samples of the mixture reach.
    found = equivalent_samples(SIZES, [0.489, 0.512, 0.510], target)
    assert (found.found.samples, found.found.side) == (None, side)
    assert (found.smallest, found.largest) == (30_000, 100_000)


@pytest.mark.parametrize(("target", "side"), [(0.55, -1), (0.7, 1)])
def test_a_falling_curve_reaches_a_score_at_its_smallest_size_or_never(target, side):
    found = equivalent_samples(SIZES, [0.6, 0.55, 0.5], target).found
    assert (found.samples, found.side) == (None, side)


def test_a_flat_curve_gives_no_number_and_no_nan():
    found = equivalent_samples(SIZES, [0.5, 0.5, 0.5], 0.6).found
    assert (found.samples, found.side) == (None, 1)


def test_the_interval_of_equivalent_samples_is_of_the_resamples():
    targets = np.array([0.2 + 0.03 * math.log(n) for n in np.linspace(40_000, 80_000, 41)])
    curves = np.tile(curve(0.2, 0.03), (41, 1))
    found = equivalent_samples(SIZES, curves[0], targets[20], resampled_scores=curves, resampled_target=targets)
    low, high = found.interval
    assert found.found.samples == pytest.approx(60_000)
    assert (low.samples, high.samples) == pytest.approx((41_000, 79_000))


def test_resamples_beyond_the_range_bound_the_interval_by_its_end():
    targets = np.array([0.2 + 0.03 * math.log(n) for n in [50_000] * 90 + [200_000] * 10])
    curves = np.tile(curve(0.2, 0.03), (100, 1))
    found = equivalent_samples(SIZES, curves[0], targets[0], resampled_scores=curves, resampled_target=targets)
    low, high = found.interval
    assert low.samples == pytest.approx(50_000)
    assert (high.samples, high.side) == (None, 1)


@pytest.mark.parametrize("form", ["logarithm", "power_law"])
def test_the_interval_over_few_seeds_is_students(form):
    """Of curves that are the same for all seeds it is where they reach Student's interval of the targets."""
    scores = [1 - 2 * n**-0.1 for n in SIZES] if form == "power_law" else curve(0.2, 0.03)
    fit = fit_curve(SIZES, scores, form)
    targets = [fit.at(58_000), fit.at(60_000), fit.at(63_000)]
    found = equivalent_samples(SIZES, scores, np.mean(targets), form=form).found
    low, high = interval_over_seeds(SIZES, [scores] * 3, targets, found, form=form)
    assert (fit.at(low.samples), fit.at(high.samples)) == pytest.approx(student_interval(targets), abs=1e-4)
    assert low.samples < min(58_000, found.samples) < 63_000 < high.samples, "wider than the seeds themselves"


def test_what_the_curve_and_the_score_of_a_seed_share_is_no_uncertainty():
    shifts = np.array([[-0.05], [0.0], [0.05]])
    targets = curve(0.2, 0.03)[1] + shifts[:, 0]
    low, high = interval_over_seeds(SIZES, curve(0.2, 0.03) + shifts, targets, Located(60_000))
    assert (low.samples, high.samples) == pytest.approx((60_000, 60_000))


@pytest.mark.parametrize(
    ("targets", "sides"),
    [
        ((40_000, 60_000, 80_000), (-1, 1)),  # t(0.975, 2) = 4.3 standard errors reach beyond both ends
        ((29_000, 31_000, 33_000), (-1, 0)),
        ((95_000, 98_000, 99_000), (0, 1)),
        ((20_000, 20_000, 20_001), (-1, -1)),
        ((200_000, 200_000, 200_001), (1, 1)),
        ((110_000, 120_000, 150_000), (0, 1)),
    ],
)
def test_the_interval_over_seeds_is_open_where_it_reaches_an_end_of_the_range(targets, sides):
    scores = curve(0.2, 0.03)
    targets = [0.2 + 0.03 * math.log(n) for n in targets]
    found = equivalent_samples(SIZES, scores, np.mean(targets)).found
    bounds = interval_over_seeds(SIZES, [scores] * 3, targets, found)
    assert tuple(bound.side for bound in bounds) == sides
    assert all((bound.samples is None) == (bound.side != 0) for bound in bounds)


@pytest.mark.parametrize(("target", "side"), [(0.55, -1), (0.7, 1)])
def test_the_interval_over_seeds_holds_the_answer_of_a_falling_curve(target, side):
    scores = np.array([0.6, 0.55, 0.5]) + np.array([[0.0, 0.01, 0.0], [0.0, 0.0, 0.01], [0.01, 0.0, 0.0]])
    found = equivalent_samples(SIZES, scores.mean(axis=0), target).found
    bounds = interval_over_seeds(SIZES, scores, [target] * 3, found)
    assert bounds[side > 0] == found == Located(None, side)


def test_the_area_is_the_mean_score_along_the_way():
    assert area_under_curve([0, 10, 30], [0.0, 1.0, 1.0], 0, 30) == pytest.approx(25 / 30)
    assert area_under_curve([30, 0, 10], [1.0, 0.0, 1.0], 5, 20) == pytest.approx((5 * 0.75 + 10) / 15)
    with pytest.raises(DataError, match="span it"):
        area_under_curve([0, 10], [0.0, 1.0], 0, 20)


def test_a_gain_has_a_price_only_where_both_are_known():
    assert gain_per(0.15, 30_000, 1_000) == pytest.approx(0.005)
    assert [gain_per(None, 1), gain_per(0.1, None), gain_per(0.1, 0)] == [None, None, None]
