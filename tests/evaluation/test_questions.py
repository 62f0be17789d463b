"""The released code's jsonl is read into questions, and every problem of a file is told at once."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparrow.core.errors import DataError
from sparrow.evaluation.questions import Question, prompt_text, question_hash, read_questions, split_prompt

INSTRUCTION = "Answer with the option's letter from the given choices directly."
RECORD = {
    "question_id": 7,
    "video": "a.mp4",
    "prompt": f"What colour is the ball?\nA. Red\nB. Blue\n{INSTRUCTION}",
    "GT": "B",
    "category": "colour",
}


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def question(num_options: int, **fields: Any) -> Question:
    texts = tuple(f"option {i}" for i in range(num_options))
    return Question(
        **({"id": "q", "video": None, "question": "?", "options": texts, "gold": 0, "category": "c"} | fields)
    )


def test_record_becomes_a_question(tmp_path: Path) -> None:
    assert read_questions(write(tmp_path / "q.jsonl", RECORD), benchmark="mine") == [
        Question(
            id="7",
            video="a.mp4",
            question="What colour is the ball?",
            options=("Red", "Blue"),
            gold=1,
            category="colour",
            labels=("A. ", "B. "),
            instruction=INSTRUCTION,
        )
    ]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Q?\nA. x\nB. y", ("Q?", ("x", "y"), "")),
        ("Q?\n(A) x\n(B) y\nOnly give the best option.", ("Q?", ("x", "y"), "Only give the best option.")),
        ("Q?\nA) x\nB) y\nC) z\n", ("Q?", ("x", "y", "z"), "")),
        ("Q?\n\nA: x\n\nB: y\n\nDirectly.", ("Q?", ("x", "y"), "Directly.")),
        ("Line one.\nLine two?\nA. x\nB. y\nGo.\nNow.", ("Line one.\nLine two?", ("x", "y"), "Go.\nNow.")),
        (
            "Which holds?\nA. is a letter\nThe choices:\nA. x\nB. y",
            ("Which holds?\nA. is a letter\nThe choices:", ("x", "y"), ""),
        ),
        ("Q?\nA. x\nand more\nB. y\nGo.", ("Q?", ("x\nand more", "y"), "Go.")),
        ("Q?\nA. x\nB. y\nA. x\nB. y", ("Q?", ("x", "y"), "")),
        ("A. Smith does what?\nA. x\nB. y", ("A. Smith does what?", ("x", "y"), "")),
        (
            "Without the cube, what happens?\nA. A collision\nGo.",
            ("Without the cube, what happens?", ("A collision",), "Go."),
        ),
    ],
)
def test_prompt_is_taken_apart(prompt: str, expected: tuple[str, tuple[str, ...], str]) -> None:
    parts = split_prompt(prompt)
    assert parts is not None
    assert (parts.question, parts.options, parts.instruction) == expected


@pytest.mark.parametrize("prompt", ["", "Just a question?", "A. alone", "Q?\nB. x\nC. y", "Q? A. x B. y"])
def test_prompt_without_options_is_none(prompt: str) -> None:
    assert split_prompt(prompt) is None


words = st.text("abcdefgh ", min_size=1, max_size=20).map(str.strip).filter(bool)


@given(words, st.lists(words, min_size=2, max_size=6), st.sampled_from(["{}. ", "({}) ", "{}) "]), words)
def test_prompt_text_gives_the_prompt_back(text: str, options: list[str], style: str, instruction: str) -> None:
    lines = [style.format("ABCDEF"[i]) + option for i, option in enumerate(options)]
    prompt = "\n".join([text, *lines, instruction])
    parts = split_prompt(prompt)
    assert parts is not None
    whole = question(
        2, question=parts.question, options=parts.options, labels=parts.labels, instruction=parts.instruction
    )
    assert prompt_text(whole) == prompt


def test_prompt_text_without_options_is_the_question() -> None:
    asked = question(2, question="What?", instruction=INSTRUCTION, lead="Options:")
    assert prompt_text(asked, show_options=False) == "What?"
    assert prompt_text(asked) == f"What?\nOptions:\nA. option 0\nB. option 1\n{INSTRUCTION}"


def test_all_problems_are_told_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path / "q.jsonl",
        RECORD,
        "{broken\n",
        "\n",
        {key: value for key, value in RECORD.items() if key not in ("GT", "video")},
        RECORD | {"question_id": 8, "GT": "C"},
        RECORD,
        RECORD | {"question_id": 9, "prompt": "What?"},
        RECORD | {"question_id": True},
        [1],
        RECORD | {"question_id": 10, "video": ""},
        RECORD | {"question_id": 11, "start": "soon"},
        RECORD | {"question_id": 12, "GT": 1},
        RECORD | {"question_id": 13, "groups": {"length_s": 8}},
        RECORD | {"question_id": 14, "prompt": "What \ud83d?\nA. x\nB. y"},
    )
    with pytest.raises(DataError) as error:
        read_questions(path, benchmark="mine")
    assert str(error.value).split("\n  ") == [
        f"benchmark 'mine', {path}: 12 problems",
        "line 2: unreadable JSON: Expecting property name enclosed in double quotes (column 2)",
        "line 4: missing 'video', 'GT'",
        "line 5: 'GT' is 'C', the prompt has the options A, B",
        "line 6: question id '7' stands already in line 1",
        "line 7: no options found in 'prompt': expected lines that begin 'A.', 'B.' or '(A)', '(B)'",
        "line 8: 'question_id' is True, expected text or a whole number",
        "line 9: expected an object, found list",
        "line 10: 'video' is '', expected text or null",
        "line 11: 'start' is 'soon', expected seconds",
        "line 12: 'GT' is 1, the prompt has the options A, B",
        "line 13: 'groups' is {'length_s': 8}, expected an object of texts, as {\"duration\": \"short\"}",
        "line 14: the text 'What \\ud83d?' holds a NUL or half of a surrogate pair",
    ]


def test_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", *["{\n"] * 60)
    with pytest.raises(DataError, match="60 problems") as error:
        read_questions(path, benchmark="mine")
    assert str(error.value).endswith("\n  and 10 more")


def test_file_that_is_missing_empty_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl", benchmark="mine")
    with pytest.raises(DataError, match="holds no questions"):
        read_questions(write(tmp_path / "empty.jsonl", "\n"), benchmark="mine")
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(DataError, match="byte 7 is not UTF-8"):
        read_questions(tmp_path / "latin.jsonl", benchmark="mine")


def test_bounds_groups_and_null_video_are_kept(tmp_path: Path) -> None:
    record = RECORD | {"video": None, "start": 2, "end": 7.5, "groups": {"duration": "short"}}
    (read,) = read_questions(write(tmp_path / "q.jsonl", record), benchmark="mine")
    assert (read.video, read.start_s, read.end_s, read.groups) == (None, 2.0, 7.5, {"duration": "short"})


def test_real_clips_are_read() -> None:
    root = os.environ.get("SPARROW_TEST_DATA")
    if not root:
        pytest.skip("SPARROW_TEST_DATA is not set")
    path = Path(root) / "video" / "clips_multiple_choice.jsonl"
    questions = read_questions(path, benchmark="real_clips")
    assert len(questions) == 10
    assert questions[2].options[questions[2].gold or 0] == "Two"
    prompts = [json.loads(line)["prompt"] for line in path.read_text().splitlines()]
    assert [prompt_text(q) for q in questions] == prompts


def test_hash_of_a_question_covers_its_whole_prompt_and_tells_white_space_apart() -> None:
    question = Question(
        id="1", video=None, question="What?", options=("x", "y"), gold=0, category="c", instruction="Answer."
    )
    loosely, exactly = question_hash(question).split(".")
    for changed in ({"question": "Who?"}, {"options": ("x", "z")}, {"instruction": "Choose."}, {"system": "Look."}):
        assert question_hash(replace(question, **changed)).split(".")[0] != loosely
    spaced = question_hash(replace(question, question="What? ")).split(".")
    assert spaced[0] == loosely
    assert spaced[1] != exactly
