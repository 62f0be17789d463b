"""The canonical sample: chat messages with typed parts, immutable and self-validating."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from sparrow.core.errors import DataError

UNREADABLE = re.compile("[\x00\ud800-\udfff]")  # NULs and halves of surrogate pairs, which tokenizers refuse
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a turn, shown to the model as they are."""

    text: str


@dataclass(frozen=True, slots=True)
class LongText:
    """A long context; the mixture decides whether it becomes page images or stays plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """One still picture; `path` is relative to the media root of the sample's source."""

    path: str


@dataclass(frozen=True, slots=True)
class Video:
    """A video file or a folder of frames, whole or between two times.

    `path` is relative to the media root of the sample's source, or the paths of the video's frames, one a line; times
    are in seconds; `fps` is the rate of frames in files of their own, which have no other clock.
    """

    path: str
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None


Part = Text | LongText | Image | Video
PART_TYPES: dict[str, type[Part]] = {"text": Text, "long_text": LongText, "image": Image, "video": Video}
_TYPE_NAMES = {cls: name for name, cls in PART_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; an assistant's is learnt unless it is not `supervised`."""

    role: Role
    parts: tuple[Part, ...]
    supervised: bool = True


@dataclass(frozen=True, slots=True)
class Sample:
    """One training or evaluation example.

    Args:
        id: Unique within the source and stable when the source's records are re-ordered.
        source: Name of the source it was read from.
        messages: An optional system turn, then user and assistant turns in alternation, a user turn first.
            Only user turns hold images, videos and long texts. A sample that ends with a user turn is a
            prompt: it can be evaluated, not trained on.

    Raises:
        DataError: If the messages are not such a chat.
    """

    id: str
    source: str
    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        if not self.id:
            raise self._error("the sample id is empty", "give every record an id")
        if any(m.role == "system" for m in self.messages[1:]):
            raise self._error("a system turn stands after the first turn", "put it first")
        turns = self.messages[1:] if self.messages and self.messages[0].role == "system" else self.messages
        if not turns:
            raise self._error("it has no user turn", "a sample needs a question")
        for i, message in enumerate(turns):
            expected = "user" if i % 2 == 0 else "assistant"
            if message.role != expected:
                raise self._error(
                    f"turn {i + 1} is '{message.role}', expected '{expected}'",
                    "user and assistant turns must alternate, a user turn first",
                )
        for message in self.messages:
            of_user = message.role == "user"
            for part in message.parts:
                if isinstance(part, (Text, LongText)):
                    blank = not part.text or part.text.isspace()
                    empty = blank and (not of_user or isinstance(part, LongText))
                else:
                    empty = not part.path
                if not of_user and not isinstance(part, Text):
                    raise self._error(f"the {message.role} turn holds media", "only user turns may hold media")
                if empty:
                    raise self._error(f"the {_TYPE_NAMES[type(part)]} part of the {message.role} turn is empty")
            if not message.parts:
                raise self._error(f"the {message.role} turn has no parts")

    def _error(self, what: str, remedy: str | None = None) -> DataError:
        return DataError(what, source=self.source, where=f"sample {self.id!r}", remedy=remedy)

    @property
    def is_prompt(self) -> bool:
        """Whether the last turn is the user's, so that nothing is supervised."""
        return self.messages[-1].role == "user"

    def parts(self) -> list[Part]:
        """All parts of all turns, in order."""
        return [part for message in self.messages for part in message.parts]

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Sample:
        """A sample of the rows of a source: `id`, `source`, and `messages` with parts as dicts of `COLUMNS`."""
        messages = (
            Message(m["role"], tuple(map(_part_from_row, m["content"])), m["supervised"]) for m in row["messages"]
        )
        return cls(row["id"], row["source"], tuple(messages))


COLUMNS = ("type", "text", "path", "start_s", "end_s", "fps")


def part_values(part: Part) -> tuple[Any, ...]:
    """A part as the values of `COLUMNS`."""
    match part:
        case Video():
            return ("video", None, part.path, part.start_s, part.end_s, part.fps)
        case Image():
            return ("image", None, part.path, None, None, None)
    return (_TYPE_NAMES[type(part)], part.text, None, None, None, None)


def _part_from_row(part: dict[str, Any]) -> Part:
    kind = PART_TYPES[part["type"]]
    return kind(**{name: part[name] for name in kind.__dataclass_fields__})
