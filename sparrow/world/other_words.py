"""The same texts about other things: sentence and question forms stay, what they name is replaced word by word."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_WORDS = yaml.safe_load(Path(__file__).with_name("other_words.yaml").read_text(encoding="utf-8"))
DIRECTIONS: dict[str, str] = _WORDS["directions"]
THINGS: dict[str, str] = _WORDS["things"]
_THING = re.compile(rf"\b({'|'.join(THINGS)})\b")
# "right" is an adverb elsewhere: "right before".
_DIRECTION = re.compile(rf"(?<=moves )({'|'.join(DIRECTIONS)})\b")
_LISTED = ("Left, right, up or down", "West, east, north or south")


def in_other_words(text: str) -> str:
    """A sentence, question, instruction or answer of the world in another vocabulary.

    Numbers, yes and no stay: they belong to the form of an answer.
    """
    if text in DIRECTIONS:
        return DIRECTIONS[text]
    text = _THING.sub(lambda match: THINGS[match[1]], text.replace(*_LISTED))
    return _DIRECTION.sub(lambda match: DIRECTIONS[match[1]], text)
