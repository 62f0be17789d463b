"""Instructions out of samples: what the user asks, without what says nothing about the question.

The rules, in order: only text parts of user turns count, so that media and long texts are left out; placeholders of
media go; a list of lettered options goes; sentences that only say how to answer, and labels such as `Question:`, go;
white space becomes one space. A turn of which nothing is left is no instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sparrow.core.hashing import hash_order
from sparrow.data.overlap import stored_messages
from sparrow.data.sources import SourceData
from sparrow.evaluation.questions import split_prompt

EXTRACTION_VERSION = 1  # raised whenever the rules change
_MEDIA_TOKEN = re.compile(
    r"<[|/]{0,2}(?:begin_of_|start_of_|end_of_)?(?:image|img|video|vid|vision|frame|audio)[^<>\s]{0,24}>"
    r"|\[(?:img|image|video|frame)(?:[ _]?\d+)?\]",
    re.IGNORECASE,
)
_INLINE_OPTIONS = re.compile(r"\s\(?A[).]\s\S.*?\s\(?B[).]\s\S.*\Z", re.DOTALL)
_LABEL = re.compile(r"^\s*(?:question|instruction|query|user|q)\s*:\s*", re.IGNORECASE)
_BOILERPLATE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in Path(__file__).with_name("boilerplate.txt").read_text(encoding="utf-8").splitlines()
)


def clean(text: str) -> str:
    """The instruction in a user's words by the rules above; empty where nothing is left."""
    text = _MEDIA_TOKEN.sub(" ", text)
    parts = split_prompt(text)
    if parts is not None:
        text = f"{parts.question}\n{parts.instruction}"
    text = _INLINE_OPTIONS.sub(" ", text)
    for pattern in _BOILERPLATE:
        text = "\n".join(pattern.sub(" ", line) for line in text.split("\n"))
    return " ".join(_LABEL.sub("", text.strip()).split())


def read_instructions(data: SourceData, rows: Sequence[int] | None = None) -> Iterator[tuple[int, list[str]]]:
    """Rows of a source, all unless given, in ascending order, with the instruction of each user turn that holds one."""
    import numpy as np

    wanted = np.arange(len(data)) if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    for row, messages in stored_messages(data, wanted):
        asked = (message["content"] for message in messages if message["role"] == "user")
        texts = ("\n".join(part["text"] for part in parts if part["type"] == "text") for parts in asked)
        yield row, [text for text in map(clean, texts) if text]


def sample_instructions(data: SourceData, rows: Sequence[int], num_instructions: int, seed: int) -> list[str]:
    """A seeded sample of at most `num_instructions`: samples in hash order, all turns of each, until there are enough.

    A repeated row counts once.
    """
    distinct = sorted(set(rows))
    ids, ties = [data.ids[row] for row in distinct], data.digests[distinct].tolist()
    ordered = [distinct[i] for i in hash_order(ids, seed, salt="instructions", ties=ties)]
    found: list[str] = []
    for start in range(0, len(ordered), num_instructions):
        chunk = ordered[start : start + num_instructions]
        by_row = dict(read_instructions(data, chunk))
        found += [text for row in chunk for text in by_row[row]]
        if len(found) >= num_instructions:
            break
    return found[:num_instructions]
