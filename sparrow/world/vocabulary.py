"""Every sentence form and word of the world, for training a tokenizer in which the world's words are whole."""

from __future__ import annotations

from sparrow.world.generate import ANSWER_BY_LETTER, LETTERS, book_instruction
from sparrow.world.other_words import in_other_words
from sparrow.world.phrasings import BOOK_TITLES, CAPTION_REQUESTS, PHRASINGS, WRAPPERS
from sparrow.world.scene_questions import QUESTIONS, VALUES
from sparrow.world.scenes import COLOURS, DIRECTIONS, SHAPES, Event


def world_texts() -> list[str]:
    """Sentences that together use every word of the world; the same on every call."""
    questions = [
        question.words(number)
        for kind, wordings in PHRASINGS.items()
        for question in QUESTIONS[kind]
        for number in range(len(wordings))
    ]
    events = [Event(c, s, d, 0, 0).sentence for c in COLOURS for s in SHAPES for d in DIRECTIONS]
    instructions = [
        book_instruction(f"{BOOK_TITLES[i % len(BOOK_TITLES)]}, Part {i + 1}", event, WRAPPERS[i % len(WRAPPERS)])
        for i, event in enumerate(events)
    ]
    answers = [f"{letter}. {value}" for letter in LETTERS for values in VALUES.values() for value in values]
    other = [in_other_words(text) for text in (*events, *questions, *(v for values in VALUES.values() for v in values))]
    return [*events, *questions, *instructions, *CAPTION_REQUESTS, *answers, ANSWER_BY_LETTER, *dict.fromkeys(other)]
