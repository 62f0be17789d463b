"""What is left of a user's turns, by the documented rules."""

import json

import pytest

from sparrow.data.settings import Source
from sparrow.data.sources import load_source
from sparrow.instructions.extraction import clean, read_instructions, sample_instructions


@pytest.mark.parametrize(
    ("turn", "instruction"),
    [
        ("<video>\nWhat  happens\tnext?", "What happens next?"),
        ("<image_00>Describe the video in detail.", "Describe the video in detail."),
        ("<|vision_start|><|video_pad|><|vision_end|>Who is it?", "Who is it?"),
        ("[IMG] What is shown?", "What is shown?"),
        (
            "What colour?\nA. red\nB. blue\nAnswer with the option's letter from the given choices directly.",
            "What colour?",
        ),
        ("What colour?\n(A) red\n(B) blue\nOnly give the best option.\nBest option: (", "What colour?"),
        ("Question: Who is it? (A) me (B) you (C) he", "Who is it?"),
        ("What is he doing? Answer the question using a single word or phrase.", "What is he doing?"),
        (
            "Who sang it?\nAnswer the question in short and give the corresponding document ID.",
            "Who sang it?",
        ),
        ("<video>\nAnswer with the option's letter from the given choices directly.", ""),
        ("What comes last? Answer in one word.", "What comes last?"),
        ("<video>", ""),
        # Words that only look like one of them stay.
        ("What did A. B. Smith say?", "What did A. B. Smith say?"),
        ("Is <b>this</b> an image of x < y?", "Is <b>this</b> an image of x < y?"),
        ("Answer me this: why is the sky blue?", "Answer me this: why is the sky blue?"),
        ("视频里发生了什么？", "视频里发生了什么？"),
    ],
)
def test_only_the_instruction_is_left(turn, instruction):
    assert clean(turn) == instruction


@pytest.fixture
def talks(tmp_path):
    """Six records of two questions, one of them nothing but a picture's placeholder."""
    records = [
        {
            "id": f"r{number}",
            "image": "x.png",
            "conversations": [
                {"from": "human", "value": f"<image>\nFirst {number}?"},
                {"from": "gpt", "value": "an answer that is no instruction"},
                {
                    "from": "human",
                    "value": "Answer with the option's letter directly." if number == 5 else f"Then {number}?",
                },
                {"from": "gpt", "value": "b"},
            ],
        }
        for number in range(6)
    ]
    (tmp_path / "talks.json").write_text(json.dumps(records))
    return load_source("talks", Source("llava", ["talks.json"], str(tmp_path)), cache_root=tmp_path / "cache")


def test_every_user_turn_with_words_is_an_instruction(talks):
    found = dict(read_instructions(talks, [5, 1]))
    assert found == {1: ["First 1?", "Then 1?"], 5: ["First 5?"]}


def test_long_texts_are_no_instructions(tmp_path):
    record = {"context": "A long tale.", "question": "Who?", "answer": "he"}
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    data = load_source("x", Source("context_qa", ["x.jsonl"], str(tmp_path)), cache_root=tmp_path / "cache")
    assert list(read_instructions(data)) == [(0, ["Who?"])]


def test_a_sample_is_seeded_and_lies_inside_a_larger_one(talks):
    rows = list(range(6))
    whole = sample_instructions(talks, rows, 100, seed=0)
    assert len(whole) == 11, "more than there are gives all there are"
    for size in (1, 4, 7):
        assert sample_instructions(talks, rows, size, seed=0) == whole[:size]
    assert sample_instructions(talks, rows[::-1] + rows, 4, seed=0) == whole[:4], "neither order nor repetition counts"
    assert sample_instructions(talks, rows, 11, seed=1) != whole
    assert sample_instructions(talks, [], 4, seed=0) == []
