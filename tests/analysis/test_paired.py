"""Pairs of runs: seeds as units, questions as units, and what cannot be compared."""

import numpy as np
import pytest

from sparrow.analysis.intervals import bootstrap_interval
from sparrow.analysis.paired import (
    clustered_p,
    paired_difference,
    paired_differences,
    paired_scores,
    unpaired_differences,
    unpaired_scores,
)
from sparrow.analysis.predictions import Predictions
from sparrow.core.errors import DataError


def answers(num_correct, num_questions=40, shift=0, asked=""):
    return Predictions.from_rows(
        {
            "question_id": f"{asked}{i:03d}",
            "video": f"{asked}v{i}",
            "category": "c",
            "options": ["a", "b"],
            "gold": 0,
            "choice": 0 if (i - shift) % num_questions < num_correct else 1,
            "correct": (i - shift) % num_questions < num_correct,
        }
        for i in range(num_questions)
    )


def test_three_pairs_of_seeds_are_the_units():
    found = paired_differences([answers(10)] * 3, [answers(14), answers(18), answers(22)])
    # Differences 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt(3), t(0.975, 2) = 4.3027.
    assert (found.unit, found.num_pairs) == ("seed", 3)
    assert (found.difference, found.low, found.high) == pytest.approx((0.2, -0.0484, 0.4484), abs=1e-4)
    assert found.p_value == pytest.approx(0.0742, abs=1e-4)
    assert not found.is_shown
    assert (found.num_only_first, found.num_only_second) == (0, 4 + 8 + 12)


def test_two_seeds_leave_the_question_the_unit():
    found = paired_differences([answers(10), answers(10, shift=1)], [answers(30), answers(30, shift=1)])
    assert found.unit == "question"
    assert found.difference == pytest.approx(0.5)
    assert found.low > 0.3
    assert found.p_value < 0.001


@pytest.mark.parametrize("gained", [10, 4, 0])  # 0.25 is exact, 0.1 is not: its mean over three differs from it
def test_seeds_that_differ_by_as_much_tell_nothing_of_other_seeds(gained):
    found = paired_differences([answers(10)] * 3, [answers(10 + gained)] * 3)
    assert (found.unit, found.difference) == ("question", pytest.approx(gained / 40))
    assert found.high > found.low
    assert found.p_value > 1e-4
    assert paired_scores([0.1, 0.2, 0.3], [0.1 + gained / 40, 0.2 + gained / 40, 0.3 + gained / 40], 40) is None


def test_questions_that_all_differ_by_as_much_have_no_spread_to_tell_from():
    tenths = [0.1] * 41  # whose mean is not exactly 0.1
    assert clustered_p(tenths, range(41)) == 1.0
    assert bootstrap_interval(tenths, range(41)) is None


def test_a_single_run_is_compared_with_the_mean_of_the_others():
    found = unpaired_differences([answers(10)], [answers(20), answers(30)])
    assert (found.unit, found.difference, found.num_pairs) == ("question", pytest.approx(0.375), 0)


def test_runs_that_are_no_pairs_are_compared_by_welchs_t_in_any_order():
    found = unpaired_differences([answers(10), answers(12)], [answers(20), answers(22), answers(24)])
    # Means 0.275 and 0.55, e = 0.025^2 and 0.05^2 / 3: standard error 0.0381881, d = 2.882, t(0.975, d) = 3.2557.
    assert (found.unit, found.num_pairs, found.num_only_first) == ("run", 0, None)
    assert (found.difference, found.low, found.high) == pytest.approx((0.275, 0.1507, 0.3993), abs=1e-4)
    assert found.p_value == pytest.approx(0.0063, abs=1e-4)
    assert found == unpaired_differences([answers(12), answers(10)], [answers(22), answers(24), answers(20)])
    assert unpaired_scores([0.25, 0.3], [0.5, 0.55, 0.6], 40) == found
    for others in ([0.5], [0.5, 0.5]):
        assert unpaired_scores([0.3, 0.3], others, 40) is None, "no spread to be seen"


def test_each_pair_of_seeds_may_be_asked_its_own_questions():
    firsts = [answers(10, asked=name) for name in "abc"]
    seconds = [answers(count, asked=name) for name, count in zip("abc", (14, 18, 22), strict=True)]
    found = paired_differences(firsts, seconds)
    assert (found.unit, found.difference) == ("seed", pytest.approx(0.2))
    with pytest.raises(DataError, match="each pair of runs was asked its own questions"):
        paired_differences(firsts[:2], seconds[:2])
    with pytest.raises(DataError, match="the questions differ"):
        unpaired_differences(firsts, seconds)


def test_one_pair_is_the_comparison_of_two_runs():
    assert paired_differences([answers(10)], [answers(14)]) == paired_difference(answers(10), answers(14))


def test_the_clustered_p_value():
    # Mean 0.5, standard error sqrt(4 / 3 * 1) / 4, three degrees of freedom.
    assert clustered_p([1, 1, 0, 0], [0, 1, 2, 3]) == pytest.approx(0.1817, abs=1e-4)
    assert clustered_p([1, 1, 0, 0], [0, 0, 1, 1]) > 0.4, "two videos are two trials, not four"
    assert clustered_p(np.ones(4), np.arange(4)) == clustered_p([1.0], [0]) == 1.0


def test_other_questions_in_any_run_are_refused():
    with pytest.raises(DataError, match="the questions differ"):
        paired_differences([answers(10), answers(10, num_questions=38)], [answers(10), answers(10)])
