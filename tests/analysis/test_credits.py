"""Scores of questions that are scored together, and means of means."""

import numpy as np
import pytest

from sparrow.analysis.answers import Predictions
from sparrow.analysis.credits import Credit
from sparrow.analysis.paired import paired_difference
from sparrow.analysis.scores import resampled_scores, score
from sparrow.core.errors import DataError


def answers(*rights: str, names: str = "v{}/{}", num_options: int = 2, **groups: str) -> Predictions:
    """Answers to groups of questions, right where a character is 1."""
    return Predictions.from_rows(
        {"question_id": names.format(group, place), "video": f"v{group}", "category": "c", "gold": 0, "groups": groups,
         "options": ["x"] * num_options, "choice": 0, "correct": right == "1"}
        for group, all_right in enumerate(rights)
        for place, right in enumerate(all_right)
    )  # fmt: skip


# Each is what the publisher's cal_relevance and cal_logic give, over 100.
@pytest.mark.parametrize(
    ("kind", "structure", "right", "worth"),
    [
        *[("relevance", "[1, 2, 3, 4]", "1" * k + "0" * (4 - k), (k / 4) ** 2) for k in range(5)],
        *[("relevance", "[1, 2, 3, 4]", "0101", 4 / 16), ("logic", "[1, 2, 3, 4]", "1011", 1 / 16)],
        *[
            ("logic", "[1, 2, 3, 4]", "0111", 0),
            ("logic", "[1, 2, 3, 4]", "1110", 9 / 16),
            ("logic", "[1, 2, 3, 4]", "1111", 1),
        ],
        *[("logic", "[1, [2, 3], 4]", "1010", 4 / 12), ("logic", "[1, [2, 3], 4]", "1000", 1 / 12)],
        *[("logic", "[1, [2, 3], 4]", "1110", 7 / 12), ("logic", "[1, [2, 3], 4]", "0011", 0)],
        *[("logic", "[[1, 2], 3, 4]", "0100", 1 / 10), ("logic", "[[1, 2], 3, 4]", "1100", 2 / 10)],
        *[("logic", "[[1, 2], 3, 4]", "1110", 5 / 10), ("logic", "[[1, 2], 3, 4]", "0011", 0)],
    ],
)
def test_groups_of_video_mme_v2_are_worth_what_the_publisher_says(kind, structure, right, worth):
    found = score(answers(right, group_type=kind, group_structure=structure), metric="video_mme_v2")
    assert found.official == pytest.approx(worth)
    assert found.accuracy == pytest.approx(right.count("1") / 4)


def test_chance_of_a_group_is_its_expected_worth_under_guessing():
    found = score(
        answers("1111", "0000", group_type="relevance", group_structure="[1, 2, 3, 4]"), metric="video_mme_v2"
    )
    # E[(k / 4)^2] of k binomial(4, 1/2)
    assert found.official == pytest.approx(0.5)
    assert found.official_chance == pytest.approx((4 * 0.25 + 4) / 16)
    rotated = score(answers("1111", "1110", "11", num_options=4), metric="rotated_accuracy")
    assert rotated.official == pytest.approx(2 / 3)  # groups count the same, whatever their size
    assert rotated.official_chance == pytest.approx((2 / 4**4 + 1 / 4**2) / 3)


def test_a_group_that_is_not_whole_is_named():
    with pytest.raises(DataError, match=r"question 'v1/0' and its group: 3 answers of type 'relevance'.*ask all four"):
        score(answers("1111", "111", group_type="relevance", group_structure="[1, 2, 3, 4]"), metric="video_mme_v2")


def test_a_mean_of_means_weighs_types_within_their_category():
    rows = [("a", "easy", 1)] * 3 + [("a", "hard", 0)] + [("b", "b", 1), ("b", "b", 0)]
    found = Predictions.from_rows(
        {"question_id": str(n), "video": "v", "category": category, "gold": 0, "groups": {"question_type": kind},
         "options": ["x", "y"], "choice": 0, "correct": bool(right)}
        for n, (category, kind, right) in enumerate(rows)
    )  # fmt: skip
    assert score(found, metric="nested_macro_accuracy").official == pytest.approx((0.5 * (1 + 0) + 0.5) / 2)
    assert score(found, metric="macro_accuracy").official == pytest.approx((0.75 + 0.5) / 2)


def test_two_runs_are_compared_by_what_their_groups_are_worth():
    first = answers(*["1110"] * 30, group_type="relevance", group_structure="[1, 2, 3, 4]")
    second = answers(*["1111"] * 30, group_type="relevance", group_structure="[1, 2, 3, 4]")
    found = paired_difference(first, second, "video_mme_v2")
    assert found.difference == pytest.approx(7 / 16)
    assert found.p_value < 0.01
    assert np.allclose(resampled_scores(second, "video_mme_v2"), 1.0)


def half(answers: Predictions) -> np.ndarray:
    return answers.correct * 0.5


HALF = Credit(half)
TOO_MUCH = Credit(lambda answers: answers.correct * 2.0)


def test_a_credit_of_ones_own_is_named_by_its_dotted_path():
    found = score(answers("10", "11"), metric=f"{__name__}.HALF")
    assert found.official == pytest.approx(3 / 8)
    with pytest.raises(DataError, match=r"TOO_MUCH' failed .*expected \[4\] numbers from 0 to 1"):
        score(answers("10", "11"), metric=f"{__name__}.TOO_MUCH")
