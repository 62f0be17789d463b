"""The words in which questions are put: wordings of each kind, and the wrappers that make instructions diverse."""

from __future__ import annotations

from pathlib import Path

import yaml

PHRASINGS: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("phrasings.yaml").read_text(encoding="utf-8"))
NUM_PHRASINGS = 10
NUM_TRAINED_PHRASINGS = 8

# What surrounds a question in the instruction of an event text.
WRAPPERS = (
    "{}",
    "{} Answer in one word.",
    "Please answer this question. {}",
    "Read all of it again and answer: {}",
    "{} One word is enough.",
)
NUM_TEXT_TEMPLATES = NUM_TRAINED_PHRASINGS * len(WRAPPERS)

CAPTION_REQUESTS = ("Describe the video in detail.", "What happens in the video?")

BOOK_TITLES = ("The Quiet Morning", "A Walk at Night", "Songs of the Hill", "The Old Garden", "Tales of a Window")
