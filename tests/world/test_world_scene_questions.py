from collections import Counter
from random import Random

import pytest

from sparrow.world.phrasings import NUM_PHRASINGS, PHRASINGS
from sparrow.world.scene_questions import MIN_EVENTS, QUESTIONS, SceneQuestion, ask, follow_ups, kind_answers
from sparrow.world.scenes import Event, random_still_scene

SCENE = (
    Event("red", "circle", "left", 0, 0),
    Event("blue", "square", "up", 1, 1),
    Event("red", "square", "down", 2, 2),
    Event("pink", "cross", "right", 3, 3),
)
CIRCLE, SQUARE, RED, BLUE = ("shape", "circle"), ("shape", "square"), ("colour", "red"), ("colour", "blue")


@pytest.mark.parametrize(
    ("question", "words", "answer"),
    [
        (SceneQuestion("colour", "colour", (CIRCLE,)), "What colour is the circle?", "red"),
        (SceneQuestion("colour", "colour", (SQUARE,)), "What colour is the square?", None),
        (SceneQuestion("shape", "shape", (BLUE,)), "What shape is the blue one?", "square"),
        (SceneQuestion("shape", "shape", (RED,)), "What shape is the red one?", None),
        (SceneQuestion("direction", "direction", (RED, SQUARE)), "Which way does the red square move?", "down"),
        (SceneQuestion("count", "number", (RED,)), "How often does red appear?", "two"),
        (SceneQuestion("count", "number", (("shape", "triangle"),)), "How often does the triangle appear?", "zero"),
        (SceneQuestion("first", "shape"), "What shape comes first?", "circle"),
        (SceneQuestion("last", "colour"), "What colour comes last?", "pink"),
        (SceneQuestion("after", "colour", (BLUE,)), "What colour comes right after blue?", "red"),
        (SceneQuestion("after", "shape", (("shape", "cross"),)), "What shape comes right after the cross?", None),
        (SceneQuestion("before", "colour", (BLUE,)), "What colour comes right before blue?", "red"),
        (SceneQuestion("exists", "truth", (RED, CIRCLE)), "Does a red circle appear?", "yes"),
        (SceneQuestion("exists", "truth", (BLUE, CIRCLE)), "Does a blue circle appear?", "no"),
        (
            SceneQuestion("where", "vertical", (RED, CIRCLE)),
            "Is the red circle at the top or at the bottom?",
            "top",
        ),
    ],
)
def test_words_and_answer(question, words, answer):
    assert question.words() == words
    assert question.answer(SCENE) == answer
    assert question in QUESTIONS[question.kind]


def test_wordings_of_a_kind_are_distinct_and_name_the_subject():
    for kind, questions in QUESTIONS.items():
        assert len(PHRASINGS[kind]) == NUM_PHRASINGS
        for question in questions:
            wordings = [question.words(number) for number in range(NUM_PHRASINGS)]
            assert len(set(wordings)) == NUM_PHRASINGS
            assert all(value in text.lower() for text in wordings for _, value in question.subject)


@pytest.mark.parametrize("kind", [kind for kind in QUESTIONS if kind != "where"])
def test_a_scene_is_found_for_every_answer(kind):
    rng = Random(0)
    for num_events in {MIN_EVENTS.get(kind, 1), 2, 8}:
        for answer in kind_answers(kind, num_events):
            question, scene = ask(kind, answer, num_events, rng)
            assert question.answer(scene) == answer
            assert len(scene) == num_events


def test_distractors_come_from_the_scene_first():
    question = SceneQuestion("colour", "colour", (CIRCLE,))
    for seed in range(20):
        wrong = question.wrong_options(SCENE, Random(seed))
        assert set(wrong[:2]) == {"blue", "pink"}
        assert len(wrong) == 3
        assert "red" not in wrong
    after = SceneQuestion("after", "shape", (CIRCLE,))
    assert set(after.wrong_options(SCENE, Random(0))) == {"triangle", "cross"}  # a circle cannot follow the only one
    assert set(SceneQuestion("count", "number", (RED,)).wrong_options(SCENE[:2], Random(0))) == {"zero", "two"}


def test_no_turn_is_answered_by_the_turns_before_it():
    rng = Random(3)
    turns_per_scene = Counter()
    for _ in range(300):
        lead, scene = ask("direction", rng.choice(("left", "up")), rng.choice((1, 2, 4)), rng)
        turns = [lead, *follow_ups([lead], scene, ["colour", "shape", "last", "count"], rng)]
        told = set()
        for turn in turns:
            assert turn.answer(scene) is not None
            assert not turn.asks(scene) & told
            told |= turn.tells(scene)
        turns_per_scene[len(scene), len(turns)] += 1
    assert {turns for events, turns in turns_per_scene if events == 1} == {1}  # the lead has named all there is
    assert max(turns for events, turns in turns_per_scene if events == 4) == 4


def test_stills_are_asked_where():
    scene = random_still_scene(1, Random(0))
    sides = follow_ups([], scene, ["where", "where"], Random(0))
    assert {question.attribute for question in sides} == {"horizontal", "vertical"}
