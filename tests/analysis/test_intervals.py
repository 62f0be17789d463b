"""Intervals: coverage by simulation, defined edges, and videos as the unit of evidence."""

import numpy as np
import pytest
from scipy.stats import binom

from sparrow.analysis.intervals import (
    accuracy_interval,
    bootstrap_interval,
    chance_bound,
    difference_interval,
    proportion_interval,
)


def simulated_answers(random: np.random.Generator, rate: float, num_videos: int, per_video: int):
    """Answers whose rate differs from video to video (beta distributed, correlation 0.2 inside a video)."""
    rates = random.beta(4 * rate, 4 * (1 - rate), size=(num_videos, 1))
    correct = random.random((num_videos, per_video)) < rates
    return correct.ravel(), np.repeat(np.arange(num_videos), per_video)


@pytest.mark.parametrize(("num_videos", "per_video", "low", "high"), [(60, 4, 0.9, 0.99), (6, 3, 0.95, 1.0)])
def test_intervals_cover_the_true_accuracy(num_videos, per_video, low, high):
    random = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        correct, videos = simulated_answers(random, 0.6, num_videos, per_video)
        interval = accuracy_interval(correct, videos, seed=seed)
        covered += interval[0] <= 0.6 <= interval[1]
    assert low <= covered / 200 <= high


def test_weights_make_few_videos_fewer_trials():
    differences, videos = [1, 0, 0, -1, 0, 0, 0, 0, 0, 1], range(10)
    equal = difference_interval(differences, videos)
    assert difference_interval(differences, videos, np.ones(10)) == equal
    # Ten videos are worth 10 / 2.78 trials, with 2.78 the mean square of the weights.
    weights = [5, *[5 / 9] * 9]
    low, high = difference_interval(differences, videos, weights)
    trials = 10 / np.mean(np.square(weights))
    shares = (5 + 5 / 9) / 10, (5 / 9) / 10
    gains, losses = (proportion_interval(share * trials, trials, level=0.975) for share in shares)
    assert (low, high) == pytest.approx((gains[0] - losses[1], gains[1] - losses[0]))
    assert high - low > equal[1] - equal[0]


def test_repeating_a_videos_question_adds_no_evidence():
    correct = np.random.default_rng(0).random(50) < 0.5
    once = accuracy_interval(correct, np.arange(50))
    repeated = accuracy_interval(np.repeat(correct, 8), np.repeat(np.arange(50), 8))
    independent = accuracy_interval(np.repeat(correct, 8), np.arange(400))
    assert repeated == pytest.approx(once)
    assert independent[1] - independent[0] < 0.5 * (once[1] - once[0])


def test_the_order_of_questions_does_not_matter():
    random = np.random.default_rng(3)
    correct, videos = simulated_answers(random, 0.5, 40, 2)
    order = random.permutation(len(correct))
    assert accuracy_interval(correct, videos) == accuracy_interval(correct[order], videos[order])


def test_few_or_unanimous_videos_give_the_exact_interval():
    assert accuracy_interval([], []) == (0.0, 1.0)
    assert accuracy_interval([True, True], ["a", "a"]) == pytest.approx((0.025, 1.0))
    assert accuracy_interval([True] * 40, range(40)) == pytest.approx((0.9119, 1.0), abs=1e-4)
    assert accuracy_interval([False] * 40, range(40)) == pytest.approx((0.0, 0.0881), abs=1e-4)
    assert bootstrap_interval([0, 1], ["a", "b"]) is None


def test_difference_intervals_are_defined_where_nothing_varies():
    assert difference_interval([], []) == (-1.0, 1.0)
    low, high = difference_interval([0] * 40, range(40))
    assert low == -high
    assert 0.08 < high < 0.12
    low, high = difference_interval([1] * 40, range(40))
    assert 0.75 < low < high == 1.0


def test_proportion_interval_has_the_published_tails():
    low, high = proportion_interval(8, 20)
    assert binom.sf(7, 20, low) == pytest.approx(0.025)
    assert binom.cdf(8, 20, high) == pytest.approx(0.025)


@pytest.mark.parametrize("chance", [0.2, 0.25, 0.5])
@pytest.mark.parametrize("num_questions", [1, 40, 1337])
def test_chance_bound_is_the_binomial_quantile(chance, num_questions):
    assert chance_bound(chance, num_questions) == pytest.approx(binom.ppf(0.95, num_questions, chance) / num_questions)


def test_chance_bound_without_questions_is_one():
    assert chance_bound(0.25, 0) == 1.0
