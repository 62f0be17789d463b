"""Predictions files, the scores computed from them, and paired differences."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from sparrow.analysis.answers import Predictions, read_predictions
from sparrow.analysis.paired import mcnemar_p, paired_difference
from sparrow.analysis.scores import check_metric, paper_means, pick, resampled_scores, score
from sparrow.core.errors import ConfigError, DataError


def row(i: int, *, correct: bool, **changes) -> dict:
    return {
        "question_id": f"q{i:02d}",
        "video": f"v{i // 2}",
        "category": "count" if i % 2 else "colour",
        "options": ["a", "b", "c", "d"],
        "gold": 1,
        "choice": 1 if correct else 0,
        "correct": correct,
        **changes,
    }


def predictions(correct) -> Predictions:
    return Predictions.from_rows(row(i, correct=bool(value)) for i, value in enumerate(correct))


def test_score_counts_every_question():
    rows = [
        row(0, correct=True),
        row(1, correct=False),
        row(2, correct=False, choice=None),
        row(3, correct=True, options=["yes", "no"], video=None),
        row(4, correct=False, options=[], choice=None),
    ]
    result = score(Predictions.from_rows(rows), scoring="generate", file="predictions.jsonl")
    assert (result.num_questions, result.num_correct, result.num_unanswered) == (4, 2, 1)
    assert result.accuracy == 0.5
    assert result.chance == pytest.approx((3 * 0.25 + 0.5) / 4)
    assert result.low < 0.5 < result.high
    assert (result.scoring, result.predictions) == ("generate", "predictions.jsonl")
    assert {name: part.num_questions for name, part in result.by_category.items()} == {"colour": 2, "count": 2}
    assert result.by_category["count"].chance == pytest.approx(0.375)


def test_score_of_nothing_is_defined():
    result = score(Predictions.from_rows([]))
    assert (result.accuracy, result.low, result.high, result.chance, result.chance_bound) == (None, 0, 1, None, None)


def test_predictions_file_is_read(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row(i, correct=i == 0)) + "\n" for i in (1, 0)))
    found = read_predictions(path)
    assert found.question_ids == ("q00", "q01")
    assert found.correct.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"question_id": ', r"p\.jsonl, line 2: not valid JSON"),
        ("[]", r"p\.jsonl, line 2: a prediction lacks question_id"),
        (json.dumps({**row(1, correct=True), "correct": "yes"}), "line 2: 'correct' must be true or false"),
        (json.dumps(row(0, correct=True)), "1 questions are answered more than once, the first is 'q00'"),
    ],
)
def test_a_broken_predictions_file_is_refused(tmp_path, text, message):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row(0, correct=True)) + "\n" + text + "\n")
    with pytest.raises(DataError, match=message):
        read_predictions(path)


def test_a_missing_predictions_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent\.jsonl: cannot be read"):
        read_predictions(tmp_path / "absent.jsonl")


def test_paired_difference_counts_and_bounds():
    first = np.array([1, 1, 0, 0] * 20)
    second = np.array([1, 1, 1, 0] * 20)
    result = paired_difference(predictions(first), predictions(second))
    assert result.difference == 0.25
    assert (result.num_only_first, result.num_only_second, result.num_questions) == (0, 20, 80)
    assert result.is_shown
    assert 0 < result.low < 0.25 < result.high
    back = paired_difference(predictions(second), predictions(first))
    assert (back.difference, back.is_shown, back.p_value) == (-0.25, True, result.p_value)


def test_pairing_sees_what_two_intervals_hide():
    """Two accuracies with overlapping intervals differ surely when the same questions decide."""
    random = np.random.default_rng(5)
    first = random.random(80) < 0.5
    second = first.copy()
    second[np.flatnonzero(~first)[:8]] = True
    a, b = score(predictions(first)), score(predictions(second))
    assert a.high > b.low
    assert paired_difference(predictions(first), predictions(second)).is_shown


def test_equal_answers_show_no_difference():
    answers = predictions(np.random.default_rng(0).random(60) < 0.5)
    result = paired_difference(answers, answers)
    assert (result.difference, result.p_value, result.is_shown) == (0.0, 1.0, False)
    assert result.low < 0 < result.high


def test_no_difference_is_shown_in_about_5_percent_of_null_cases():
    random = np.random.default_rng(11)
    shown = sum(
        paired_difference(predictions(random.random(80) < 0.5), predictions(random.random(80) < 0.5)).is_shown
        for _ in range(200)
    )
    assert 2 <= shown <= 20


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 9), (9, 3), (5, 5), (0, 6)])
def test_mcnemar_is_the_exact_binomial_test(b, c):
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar_p(b, c) == pytest.approx(expected)


def test_other_questions_are_refused():
    with pytest.raises(DataError, match="2 only in the first, 0 only in the second"):
        paired_difference(predictions([1, 0, 1, 0]), predictions([1, 0]))
    changed = Predictions.from_rows([row(0, correct=True), row(1, correct=False, gold=2)])
    with pytest.raises(DataError, match="1 of 2 questions have another gold answer or video"):
        paired_difference(predictions([1, 0]), changed)
    with pytest.raises(DataError, match="no questions"):
        paired_difference(predictions([]), predictions([]))


def test_macro_groups_and_unscored_questions_are_told():
    rows = [
        row(0, correct=True, groups={"duration": "short"}),
        row(2, correct=True, groups={"duration": "short"}),
        row(4, correct=False, choice=None, groups={"duration": "long"}),
        row(1, correct=False),
        row(6, correct=False, options=[], choice=None, category="summary"),
    ]
    result = score(Predictions.from_rows(rows), metric="macro_accuracy", protocol={"format": "mlvu"})
    assert (result.num_questions, result.num_unscored, result.num_videos) == (4, 1, 3)
    assert result.accuracy == 0.5
    assert result.macro_accuracy == result.official == pytest.approx(1 / 3)
    assert result.official_interval[0] <= 1 / 3 <= result.official_interval[1]
    assert {name: part.num_questions for name, part in result.by_group["duration"].items()} == {"long": 1, "short": 2}
    assert sorted(result.by_category) == ["colour", "count"]


def test_the_macro_interval_covers_the_macro_mean():
    """A large easy and a small hard category: the interval of the micro mean lies elsewhere."""
    random = np.random.default_rng(2)
    rows = [row(i, correct=bool(random.random() < 0.9), category="easy", video=f"v{i}") for i in range(300)]
    rows += [row(i, correct=bool(random.random() < 0.2), category="hard", video=f"v{i}") for i in range(300, 340)]
    result = score(Predictions.from_rows(rows))
    assert result.macro_low < 0.55 < result.macro_high < result.low


def test_numbers_are_picked_by_their_path():
    result = score(Predictions.from_rows([row(0, correct=True, groups={"duration": "a.b"}), row(1, correct=False)]))
    assert pick(result, "accuracy")[0] == 0.5
    assert pick(result, "by_category.colour.accuracy")[0] == 1.0
    assert pick(result, "by_group.duration.a.b.accuracy")[0] == 1.0
    for absent in ("by_group.duration.long.accuracy", "by_category.shape.accuracy", "precision"):
        with pytest.raises(DataError, match=f"the score has no '{absent}'"):
            pick(result, absent)
    assert score(Predictions.from_rows([]), metric="macro_accuracy").official is None


@pytest.mark.parametrize("metric", ["accuracy", "macro_accuracy"])
def test_scores_are_resampled_by_video(metric):
    """Twice the questions of a video, answered alike, tell nothing more."""
    correct = np.random.default_rng(4).random(30) < 0.5
    once = [row(i, correct=bool(value), video=f"v{i}", category="c") for i, value in enumerate(correct)]
    twice = once + [{**of_video, "question_id": f"again {of_video['question_id']}"} for of_video in once]
    means, of_twice = (resampled_scores(Predictions.from_rows(rows), metric) for rows in (once, twice))
    assert 0.05 < means.std() < 0.15
    np.testing.assert_allclose(of_twice, means)
    assert resampled_scores(Predictions.from_rows([*once[:19], *twice[30:49]]), metric) is None, "of 19 videos"


def test_means_of_the_paper():
    def of(shares, axis="category"):
        """A score in which 10 questions of each name have these numbers right."""
        rows = [
            row(
                i,
                correct=i % 10 < right,
                question_id=f"{name}{i}",
                **({axis: name} if axis == "category" else {"groups": {axis: name}}),
            )
            for name, right in shares.items()
            for i in range(10)
        ]
        return score(Predictions.from_rows(rows))

    scores = {
        "video_mme": of({"short": 9, "long": 3}, axis="duration"),
        "mvbench": of({"a": 5}),
        "tempcompass": of({"multi-choice": 4, "yes_no": 10}),
        "mlvu": of({"ego": 6}),
        "longvideobench": of({"S2E": 9}),
    }
    for name, result in scores.items():
        result.protocol["format"] = name
    last = scores.pop("longvideobench")
    assert paper_means(scores) == {"general": pytest.approx((0.6 + 0.5 + 0.4) / 3)}
    scores["longvideobench"] = last
    assert paper_means(scores) == {"general": pytest.approx(0.5), "long": pytest.approx(0.6)}
    scores["another"] = of({"a": 10})
    scores["another"].protocol["format"] = "mvbench"
    assert paper_means(scores)["general"] == pytest.approx(0.5), "the one that is called as its format"
    scores["one_more"] = scores.pop("mvbench")
    assert "general" not in paper_means(scores), "of two benchmarks of one format neither is taken by order"


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("accuracy", True),
        ("macro_accuracy", True),
        ("by_category.multi-choice.accuracy", True),
        ("by_group.duration.long.accuracy", True),
        ("acuracy", False),
        ("by_category.accuracy", False),
        ("by_group.duration.accuracy", False),
        ("", False),
    ],
)
def test_the_form_of_a_metric_is_known(path, known):
    if known:
        assert check_metric(path) == path
    else:
        with pytest.raises(ConfigError, match=r"accuracy, macro_accuracy, .*by_category\.NAME\.accuracy"):
            check_metric(path)
