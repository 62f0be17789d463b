"""Scores are counts over all questions, overall and in parts that add up."""

from typing import Any

import pytest

from sparrow.core.errors import DataError
from sparrow.evaluation.metrics import paper_means, pick, score, video_counts
from sparrow.evaluation.predictions import Prediction


def prediction(
    number: int, category: str, *, num_options: int = 4, choice: int | None = 0, **fields: Any
) -> Prediction:
    values: dict[str, Any] = {
        "question_id": f"q{number}",
        "video": f"v{number % 2}.mp4",
        "category": category,
        "options": tuple("wxyz"[:num_options]),
        "gold": 0,
        "choice": choice,
        "scoring": "generate",
        "prompt_hash": "h",
    }
    return Prediction(**(values | fields))


PREDICTIONS = [
    prediction(0, "colour", groups={"duration": "short"}),
    prediction(1, "colour", groups={"duration": "short"}),
    prediction(2, "colour", choice=None, groups={"duration": "long"}),
    prediction(3, "count", num_options=2, choice=1, groups={"duration": "long"}),
    prediction(4, "count", num_options=2, gold=None),
    prediction(5, "summary", num_options=0, gold=None, choice=None, reply="A man walks."),
]


def test_scores_are_these() -> None:
    assert score(PREDICTIONS) == {
        "num_questions": 5,
        "num_correct": 2,
        "num_unanswered": 1,
        "num_unscored": 1,
        "num_videos": 2,
        "accuracy": 0.4,
        "macro_accuracy": pytest.approx(1 / 3),
        "chance": pytest.approx(0.35),
        "categories": {
            "colour": {
                "num_questions": 3,
                "num_correct": 2,
                "num_unanswered": 1,
                "accuracy": pytest.approx(2 / 3),
                "chance": 0.25,
            },
            "count": {"num_questions": 2, "num_correct": 0, "num_unanswered": 0, "accuracy": 0.0, "chance": 0.5},
        },
        "groups": {
            "duration": {
                "long": {"num_questions": 2, "num_correct": 0, "num_unanswered": 1, "accuracy": 0.0, "chance": 0.375},
                "short": {"num_questions": 2, "num_correct": 2, "num_unanswered": 0, "accuracy": 1.0, "chance": 0.25},
            }
        },
    }


def test_score_does_not_depend_on_order_or_the_way_over_disk() -> None:
    again = [Prediction.from_line(p.to_line()) for p in reversed(PREDICTIONS)]
    assert score(again) == score(PREDICTIONS)


def test_unanswered_questions_stay_in_the_denominator() -> None:
    unanswered = [prediction(i, "colour", choice=None) for i in range(3)]
    assert score([prediction(9, "colour"), *unanswered])["accuracy"] == 0.25


def test_videos_are_counted_as_clusters() -> None:
    alone = prediction(6, "colour", video=None)
    assert video_counts([*PREDICTIONS, alone]) == {"question q6": (1, 1), "v0.mp4": (1, 3), "v1.mp4": (1, 2)}


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(DataError, match="none of 1 predictions can be scored"):
        score(PREDICTIONS[-1:])


def test_number_is_picked_by_its_path() -> None:
    scores = score(PREDICTIONS)
    assert pick(scores, "accuracy") == 0.4
    assert pick(scores, "groups.duration.short.accuracy") == 1.0
    with pytest.raises(DataError, match=r"the scores have no 'groups\.duration\.medium\.accuracy'"):
        pick(scores, "groups.duration.medium.accuracy")


def test_means_of_the_paper() -> None:
    scores: dict[str, Any] = {
        "video_mme": {"accuracy": 0.6, "groups": {"duration": {"long": {"accuracy": 0.3}}}},
        "mvbench": {"accuracy": 0.5},
        "tempcompass": {"accuracy": 0.9, "categories": {"multi-choice": {"accuracy": 0.4}}},
        "mlvu": {"accuracy": 0.6, "macro_accuracy": 0.1},
    }
    assert paper_means(scores) == {"general": pytest.approx(0.5)}
    scores["longvideobench"] = {"accuracy": 0.9}
    assert paper_means(scores) == {"general": pytest.approx(0.5), "long": pytest.approx(0.6)}
