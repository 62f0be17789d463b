"""How a protocol words its prompts, and what a reader of annotations is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from sparrow.evaluation.questions import Question

DIRECTLY = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What a protocol puts around a question and its options; the fields are those of `Question`.

    `label` stands before an option, with `{}` for its letter.
    """

    preamble: str = ""
    lead: str = ""
    label: str = "{}. "
    instruction: str = ""
    system: str = ""
    reply_start: str = ""

    def ask(self, *, options: Sequence[str], **fields: Any) -> Question:
        """The question in these words."""
        return Question(
            options=tuple(options),
            labels=tuple(self.label.format(letter) for letter in ascii_uppercase[: len(options)]),
            preamble=self.preamble,
            lead=self.lead,
            instruction=self.instruction,
            system=self.system,
            reply_start=self.reply_start,
            **fields,
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reader of annotations is asked for.

    Args:
        benchmark: Name of the benchmark, for messages.
        protocol: `official` or `released` (the released code of arXiv 2411.19951).
        subtitles: Whether subtitles are read too.
        tasks: Tasks that are read; all when empty.
    """

    benchmark: str
    protocol: str = "official"
    subtitles: bool = False
    tasks: tuple[str, ...] = ()

    def wants(self, task: str) -> bool:
        """Whether a task is asked for."""
        return not self.tasks or task in self.tasks
