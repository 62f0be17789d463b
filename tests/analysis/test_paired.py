"""Pairs of runs: seeds as units, questions as units, and what cannot be compared."""

import re

import numpy as np
import pytest

from sparrow.analysis.answers import Predictions
from sparrow.analysis.intervals import bootstrap_interval
from sparrow.analysis.paired import (
    clustered_p,
    mcnemar_p,
    paired_difference,
    paired_differences,
    paired_scores,
    unpaired_differences,
    unpaired_scores,
)
from sparrow.analysis.scores import pick, score
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


def test_videos_that_all_differ_by_as_much_have_no_spread_and_are_tested_by_their_sign():
    tenths = [0.1] * 41  # whose mean is not exactly 0.1
    assert clustered_p(tenths, range(41)) == 2 * 0.5**41
    assert clustered_p([1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2]) == 0.25
    assert clustered_p([1, -1, 1, -1], [0, 0, 1, 1]) == 1.0
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
    assert clustered_p([1.0], [0]) == 1.0


def test_other_questions_in_any_run_are_refused():
    with pytest.raises(DataError, match="the questions differ"):
        paired_differences([answers(10), answers(10, num_questions=38)], [answers(10), answers(10)])


EASY, HARD = 32, 8
METRICS = ["accuracy", "macro_accuracy", "by_category.hard.accuracy", "by_group.duration.long.accuracy"]


def uneven(easy, hard, per_video=1, **changes):
    """Answers of which so many are right in a large and in a small category."""
    return Predictions.from_rows(
        {
            "question_id": f"{i:03d}",
            "video": f"v{i // per_video}",
            "category": "easy" if i < EASY else "hard",
            "groups": {"duration": "long" if i % 2 else "short"},
            "options": ["a", "b"],
            "gold": 0,
            "choice": 0 if is_correct else 1,
            "correct": is_correct,
            **changes,
        }
        for i, is_correct in enumerate([j < easy for j in range(EASY)] + [j < hard for j in range(HARD)])
    )


def number(run, metric):
    return pick(score(run), metric)[0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("num_runs", [1, 3])
def test_what_is_tested_is_the_number_that_is_the_score(metric, num_runs):
    firsts = [uneven(24 + i, 1) for i in range(num_runs)]
    seconds = [uneven(20, 5 + (i == 1)) for i in range(num_runs)]
    expected = np.mean([number(s, metric) - number(f, metric) for f, s in zip(firsts, seconds, strict=True)])
    paired, unpaired = paired_differences(firsts, seconds, metric), unpaired_differences(firsts, seconds, metric)
    assert paired.difference == pytest.approx(expected) == unpaired.difference
    assert paired.low < expected < paired.high
    if num_runs > 1:
        numbers = [[number(run, metric) for run in runs] for runs in (firsts, seconds)]
        assert paired_scores(*numbers, paired.num_questions).p_value == pytest.approx(paired.p_value)
        assert unpaired_scores(*numbers, paired.num_questions).p_value == pytest.approx(unpaired.p_value)


def test_the_mean_of_categories_may_rise_where_fewer_answers_are_right():
    first, second = uneven(30, 1), uneven(22, 7)
    assert paired_difference(first, second).difference == pytest.approx(-2 / 40)
    found = paired_difference(first, second, "macro_accuracy")
    assert found.difference == pytest.approx((-8 / 32 + 6 / 8) / 2)
    # Answers weigh 40 / (2 x 32) and 40 / (2 x 8).
    weighted = [-0.625] * 8 + [2.5] * 6 + [0] * 26
    assert (found.low, found.high) == pytest.approx(bootstrap_interval(np.roll(weighted, 22), range(40)), abs=0.05)
    assert found.p_value == pytest.approx(clustered_p(weighted, range(40)))
    assert (found.num_questions, found.num_only_first, found.num_only_second) == (40, 8, 6)
    of_one = paired_difference(first, second, "by_category.hard.accuracy")
    assert (of_one.num_questions, of_one.num_only_second, of_one.p_value) == (8, 6, mcnemar_p(0, 6))


def test_categories_of_equal_size_weigh_every_question_the_same():
    halves = ["by", "turns"] * 20
    first, second = (
        Predictions.from_rows(
            {"question_id": f"{i:02d}", "video": f"v{i}", "category": name, "options": ["a", "b"], "gold": 0}
            | {"choice": 0 if i < right else 1, "correct": i < right}
            for i, name in enumerate(halves)
        )
        for right in (10, 17)
    )
    assert paired_difference(first, second, "macro_accuracy") == paired_difference(first, second)


def test_a_number_that_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match=r"there are no questions to compare by by_category\.absent\.accuracy"):
        paired_difference(uneven(3, 3), uneven(3, 3), "by_category.absent.accuracy")
    with pytest.raises(DataError, match="8 of 40 questions have another category"):
        paired_difference(uneven(3, 3), uneven(3, 3, category="easy"), "macro_accuracy")
    assert paired_difference(uneven(3, 3), uneven(3, 3, category="easy")).difference == 0


def test_mcnemars_p_stands_only_where_every_video_has_one_question():
    apart = paired_difference(uneven(4, 0), uneven(16, 0))
    assert apart.p_value == mcnemar_p(0, 12)
    together = paired_difference(uneven(4, 0, per_video=4), uneven(16, 0, per_video=4))
    gains = [0.0] * 4 + [1.0] * 12 + [0.0] * 24
    assert together.p_value == clustered_p(gains, np.arange(40) // 4)
    assert together.p_value > 0.05 > mcnemar_p(0, 12), "three videos, not twelve questions"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"question_hash": "c.b"}, "1 of 2 questions were asked in other words"),
        ({"options": ["Red", "Pink"]}, "1 of 2 questions have other options"),
        ({"reply_rules": 3}, "read by the versions 2 and 3 of the rules; `sparrow rescore` both runs"),
        ({"reply_rules": None}, "read by the versions 0 (of before they had one) and 2 of the rules"),
        ({"question_hash": "a.c"}, None),
    ],
)
def test_answers_that_were_asked_or_read_otherwise_are_not_compared(change, named):
    common = {"video": None, "category": "c", "options": ["Red", "Blue"], "gold": 0, "choice": 0, "correct": True}
    common |= {"question_hash": "a.b", "reply": "A", "reply_rules": 2, "rule": "letter"}
    one, other = (
        Predictions.from_rows([{"question_id": "0", **common, **first}, {"question_id": "1", **common}])
        for first in ({}, change)
    )
    if named is None:  # white space alone
        assert paired_difference(one, other).difference == 0
    else:
        with pytest.raises(DataError, match=re.escape(named)):
            paired_difference(one, other)
