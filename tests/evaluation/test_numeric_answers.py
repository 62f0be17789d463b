import json

import numpy as np
import pytest

from sparrow.analysis.answers import Predictions
from sparrow.analysis.scores import score
from sparrow.core.errors import DataError
from sparrow.evaluation.numeric_answers import read_number, relative_accuracy
from sparrow.evaluation.predictions import Prediction, unanswered, write_submission
from sparrow.evaluation.questions import Question
from sparrow.evaluation.replies import REPLY_RULES


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        *(
            ("3", 3),
            ("4.5 m", 4.5),
            ("4.5m", 4.5),
            ("There are 3 boxes.", 3),
            ("three", 3),
            ("1,200", 1200),
            (".5", 0.5),
        ),
        *(
            ("12 m^2", 12),
            ("**5**", 5),
            ("<think>5 or 6</think>7", 7),
            ("\\boxed{0.35}", 0.35),
            ("<answer>3.2</answer>", 3.2),
        ),
        *(
            ("2 or 3", 2),
            ("3 chairs and 2 tables", 3),
            ("It is between 2 and 4, so the answer is 3.", 3),
            ("room2 has 4", 4),
        ),
        *(("", None), ("none", None), ("2-3", None), ("1/2", None), ("Either 2 or 3", None), ("<think>5", None)),
    ],
)
def test_the_number_that_a_reply_names_is_read(reply, number):
    assert read_number(reply)[0] == number


@pytest.mark.parametrize(
    ("value", "number", "accuracy"),
    [
        (3.0, 3.0, 1.0),
        (3.3, 3.0, 0.9),
        (4.5, 3.0, 0.1),
        (100.0, 3.0, 0.0),
        (0.0, 3.0, 0.0),
        (None, 3.0, 0.0),
        (1.9, 2.0, 1.0),
    ],
)
def test_relative_accuracy_is_the_publishers(value, number, accuracy):
    assert relative_accuracy(value, number) == pytest.approx(accuracy)


def answer(name: str, reply: str, **changes: object) -> Prediction:
    fields = {"id": name, "video": "v.mp4", "question": "?", "options": (), "gold": None, "category": "c"}
    prediction = unanswered(Question(**fields | changes), "generate", "hash", ())
    return Prediction.from_row(
        json.loads(prediction.to_line()) | {"reply": reply, "correct": prediction.correct}
    ).read_again(lower_case=False)


def test_numbers_count_by_their_accuracy_and_answers_that_are_kept_do_not_count(tmp_path):
    near = answer("a", "3.3", number=3.0)
    other = answer("b", "many", number=3.0)
    kept = answer("c", "B", options=("x", "y"), withheld=True)
    plain = answer("d", "A", options=("x", "y"), gold=0)
    assert Prediction.from_row(json.loads(near.to_line())) == near
    assert not {"number", "value", "withheld"} & json.loads(plain.to_line()).keys()
    rows = [json.loads(prediction.to_line()) for prediction in (near, other, kept, plain)]
    answers = Predictions.from_rows(rows)
    assert set(answers.reply_rules.tolist()) == {REPLY_RULES}
    assert answers.correct.tolist() == pytest.approx([0.9, 0.0, 1.0])
    assert answers.chances.tolist() == [0.0, 0.0, 0.5]
    found = score(answers)
    assert found.accuracy == pytest.approx(1.9 / 3)
    assert (found.num_questions, found.num_correct, found.num_unanswered, found.num_unscored) == (3, 1, 1, 1)
    changed = Predictions.from_rows([rows[0] | {"number": 3.5, "correct": 0.9}, *rows[1:]])
    assert changed.questions_hash != answers.questions_hash
    with pytest.raises(DataError, match=r"'correct' is 0\.2"):
        Prediction.from_row(rows[0] | {"correct": 0.2})

    for name, form, predictions in (("x", "letter", [kept, plain]), ("y", "place", [kept]), ("z", "place", [plain])):
        (tmp_path / f"{name}.jsonl").write_text("".join(prediction.to_line() for prediction in predictions))
        write_submission(form, tmp_path / f"{name}.jsonl")
    assert json.loads((tmp_path / "x.submission.json").read_text()) == {"c": "B", "d": "A"}
    assert json.loads((tmp_path / "y.submission.json").read_text()) == {"c": 1}
    assert not (tmp_path / "z.submission.json").exists()
    assert np.issubdtype(Predictions.from_rows([rows[3]]).correct.dtype, np.bool_)
