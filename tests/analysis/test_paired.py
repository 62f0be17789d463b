"""Pairs of runs: seeds as units, questions as units, and what cannot be compared."""

import numpy as np
import pytest

from sparrow.analysis.paired import clustered_p, paired_difference, paired_differences
from sparrow.analysis.predictions import Predictions
from sparrow.core.errors import DataError


def answers(num_correct, num_questions=40, shift=0):
    return Predictions.from_rows(
        {
            "question_id": f"{i:03d}",
            "video": f"v{i}",
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


def test_seeds_that_differ_by_exactly_as_much_tell_nothing_of_other_seeds():
    found = paired_differences([answers(10)] * 3, [answers(20)] * 3)
    assert (found.unit, found.difference) == ("question", 0.25)
    assert found.high > found.low


def test_runs_that_are_not_pairs_are_compared_by_their_means():
    found = paired_differences([answers(10)], [answers(20), answers(30)])
    assert (found.unit, found.difference) == ("question", pytest.approx(0.375))


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
