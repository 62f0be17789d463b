"""Predictions survive a kill, are asked once, and end in one file whose bytes do not depend on how they came."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparrow.analysis import read_predictions as read_columns
from sparrow.core.errors import DataError, RunError
from sparrow.evaluation.predictions import (
    Prediction,
    PredictionWriter,
    finalise,
    finished,
    read_predictions,
    reply_labels,
    unanswered,
)
from sparrow.evaluation.questions import Question, question_hash
from sparrow.evaluation.replies import REPLY_RULES


def prediction(question_id: str, **fields: Any) -> Prediction:
    values: dict[str, Any] = {
        "question_id": question_id,
        "video": "a.mp4",
        "category": "colour",
        "options": ("Red", "Blue"),
        "gold": 1,
        "choice": 1,
        "scoring": "generate",
        "reply": "B\n“é”",
        "rule": "letter",
        "prompt_hash": "new",
    }
    return Prediction(**(values | fields))


def write(path: Path, *predictions: Prediction) -> Path:
    with PredictionWriter(path) as writer:
        for item in predictions:
            writer.write(item)
    return path


def test_line_holds_all_that_the_score_needs() -> None:
    question = Question(
        id="7",
        video="a.mp4",
        question="?",
        options=("Red", "Blue"),
        gold=1,
        category="colour",
        groups={"duration": "short"},
    )
    made = replace(unanswered(question, "letter_likelihood", "h", range(2)), choice=0, likelihoods=(-0.123456789, -2))
    assert json.loads(made.to_line()) == {
        "question_id": "7",
        "video": "a.mp4",
        "category": "colour",
        "groups": {"duration": "short"},
        "options": ["Red", "Blue"],
        "labels": [],
        "gold": 1,
        "choice": 0,
        "correct": False,
        "scoring": "letter_likelihood",
        "reply": None,
        "rule": None,
        "likelihoods": [-0.12346, -2],
        "frame_indices": [0, 1],
        "prompt_hash": "h",
        "question_hash": question_hash(question),
        "reply_rules": None,
    }
    assert Prediction.from_row(json.loads(made.to_line())) == made


@pytest.mark.parametrize(
    ("fields", "correct"),
    [
        ({"choice": 1}, True),
        ({"choice": 0}, False),
        ({"choice": None}, False),
        ({"gold": None, "choice": 0}, False),
        ({"gold": None, "choice": None}, False),
        ({"options": ("Red", "Blue", "Blue"), "choice": 2}, True),
    ],
)
def test_correct_is_the_text_of_the_gold_option(fields: dict[str, Any], correct: bool) -> None:
    assert prediction("q", **fields).correct is correct


def test_reply_is_read_again_without_a_model() -> None:
    kept = prediction("q", reply="Option 2.", labels=("Option 1", "Option 2"), choice=None, rule="by older rules")
    again = kept.read_again()
    assert (again.choice, again.rule, again.correct) == (1, "letter", True)
    assert again.reply_rules == REPLY_RULES
    assert prediction("q", reply="so (b) it is").read_again().choice is None
    assert prediction("q", reply="so (b) it is").read_again(lower_case=True).choice == 1
    assert prediction("q", reply="<ponder>A</ponder>B").read_again(thinking_tags=("ponder",)).choice == 1
    scored = prediction("q", reply=None, likelihoods=(-1.0, -2.0), choice=0)
    assert scored.read_again() is scored


def test_labels_are_kept_where_options_are_not_called_by_letter() -> None:
    asked = Question(id="7", video=None, question="?", options=("x", "y"), gold=0, category="c")
    assert reply_labels(asked) == ()
    assert reply_labels(replace(asked, labels=("Option 1: ", "Option 2: "))) == ("Option 1", "Option 2")
    assert reply_labels(replace(asked, options=("yes", "no"), list_options=False)) is None


def test_likelihoods_must_be_finite() -> None:
    with pytest.raises(DataError, match=r"question 'q': the likelihoods .* are not all finite"):
        prediction("q", likelihoods=(0.0, float("nan")))


def test_each_prediction_is_on_disk_at_once(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path / "p.jsonl") as writer:
        writer.write(prediction("a"))
        assert read_predictions(tmp_path / "p.jsonl") == [prediction("a")]


def test_torn_last_line_is_dropped_where_a_run_is_resumed_and_refused_where_it_is_scored(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", prediction("a"), prediction("b"))
    path.write_bytes(path.read_bytes()[:-9])
    assert read_predictions(path, resuming=True) == [prediction("a")]
    for read in (read_predictions, read_columns):
        with pytest.raises(DataError, match=r"p\.jsonl, line 2: not valid JSON"):
            read(path)
    write(path, prediction("c"))
    assert read_predictions(path) == [prediction("a"), prediction("c")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a prediction"),
        (json.dumps({"question_id": "a"}), "not a prediction"),
        (prediction("a").to_line().replace('"correct": true', '"correct": false').strip(), "'correct' is False, but"),
    ],
)
def test_line_that_is_no_prediction_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "p.jsonl", prediction("a"))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=rf"p\.jsonl, line 2: {message}"):
        read_predictions(path)


def test_stale_and_foreign_predictions_are_asked_again(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", prediction("a"), prediction("b", prompt_hash="old"), prediction("x"))
    assert finished([path, tmp_path / "none.jsonl"], {"a": "new", "b": "new"}) == {"a": prediction("a")}


def test_empty_reply_is_not_asked_again(tmp_path: Path) -> None:
    empty = prediction("a", reply="", choice=None, rule="empty")
    assert finished([write(tmp_path / "p.jsonl", empty)], {"a": "new"}) == {"a": empty}


def test_final_file_does_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    twice = [prediction("q3", reply="B"), prediction("q3", reply="A", choice=0)]
    everything = [*(prediction(f"q{i}") for i in range(20)), prediction("q1", prompt_hash="old")]
    everything = [p for p in everything if p.question_id != "q3"] + twice
    hashes = {f"q{i}": "new" for i in range(20)}
    contents = set()
    for order in range(5):
        random.Random(order).shuffle(everything)
        cut = 4 * order
        paths = [
            write(tmp_path / f"{order}" / "rank0.jsonl", *everything[:cut]),
            write(tmp_path / f"{order}" / "rank1.jsonl", *everything[cut:]),
        ]
        final = finalise(paths, hashes, tmp_path / f"{order}.jsonl", reading={})
        assert [p.question_id for p in final] == sorted(hashes)
        contents.add((tmp_path / f"{order}.jsonl").read_bytes())
    assert len(contents) == 1


def test_stored_replies_are_read_by_the_rules_of_today(tmp_path: Path) -> None:
    old = prediction("a", reply="It is B.", choice=0, rule="a rule of an older version")
    path = write(tmp_path / "rank0.jsonl", old)
    (final,) = finalise([path], {"a": old.prompt_hash}, tmp_path / "final.jsonl", reading={})
    assert (final.choice, final.rule) == (1, "hinted")
    assert read_predictions(tmp_path / "final.jsonl") == [final]


def test_missing_prediction_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", prediction("a"))
    with pytest.raises(RunError, match=r"2 of 3 questions have no prediction \(b, c\)"):
        finalise([path], {"a": "new", "b": "new", "c": "new"}, tmp_path / "final.jsonl", reading={})
    assert not (tmp_path / "final.jsonl").exists()


def test_lines_of_before_prompts_and_rules_were_kept_are_read(tmp_path: Path) -> None:
    record = json.loads(prediction("a").to_line())
    del record["question_hash"], record["reply_rules"]
    (tmp_path / "p.jsonl").write_text(json.dumps(record) + "\n")
    (old,) = read_predictions(tmp_path / "p.jsonl")
    assert (old.question_hash, old.reply_rules) == ("", None)
    columns = read_columns(tmp_path / "p.jsonl")
    assert columns.questions_hash == columns.first_questions_hash
    assert columns.reply_rules.tolist() == [0]
