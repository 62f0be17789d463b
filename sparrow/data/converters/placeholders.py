"""What converters make of records, and the placement of media at their placeholders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import splitext
from typing import Any, Literal

from sparrow.core.samples import Image, LongText, Message, Part, Role, Text, Video
from sparrow.data.converters.raw_record import Record, kind_of
from sparrow.media.frame_folders import PICTURE_SUFFIXES

MediaKind = Literal["image", "video"]
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"<(image|video)>")
_SOUND = "<audio>"
VISUAL_FIELDS = ("image", "images", "video", "videos")
_ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
}


@dataclass(frozen=True, slots=True)
class Chat:
    """The messages of one sample, and the record's own id where it has one."""

    messages: tuple[Message, ...]
    id: str | None = None


def question_answer(*question: Part, answer: str, id: str | None = None) -> Chat:
    """A chat of one question and one answer."""
    return Chat((Message("user", question), Message("assistant", (Text(answer.strip()),))), id)


def about_context(context: str, question: str, answer: str, id: str | None = None) -> Chat:
    """A question about a long text: the text first, then the question, as a video precedes its question."""
    return question_answer(LongText(context.strip()), Text(question.strip()), answer=answer, id=id)


def role_of(record: Record, name: Any) -> Role:
    """The role that a schema's word for a speaker means."""
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise record.error(f"a turn is spoken by {name!r}", f"known speakers are {', '.join(_ROLES)}")
    return role


def refuse_unread_media(record: Record, fields: Iterable[str]) -> None:
    """Refuse a record with media in other fields: it would be learnt from without being seen."""
    for name in ("audio", "audios"):
        if record.has(name):
            raise record.error(f"field '{name}' holds sound, which no model hears", "remove the record")
    for name in VISUAL_FIELDS:
        if name not in fields and record.has(name):
            raise record.error(
                f"field '{name}' is not read by this converter",
                "choose the converter of this schema, or remove the field if nothing is asked about it",
            )


def media_path(record: Record, value: Any, name: str) -> str:
    """The path of a media file as a record names it: a string, or an object with a `path`, `image` or `video`.

    Neither a web address nor the bytes themselves will do.
    """
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            raise record.error(f"field '{name}' holds a file's bytes", "write the files to disk and name their paths")
        value = next((value[key] for key in ("path", "url", "image", "video") if value.get(key)), None)
    if not isinstance(value, str) or not value.strip():
        raise record.error(f"field '{name}' is {kind_of(value)}, expected a path", "name the media file")
    value = value.removeprefix("file://")
    if _ADDRESS.match(value):
        raise record.error(f"field '{name}' holds an address", "download the files and name their paths")
    return value


def media_list(record: Record, kind: MediaKind) -> list[Part]:
    """The media of a record's `image`/`images` or `video`/`videos` field, in order; `[]` where there is none.

    One video may have `start`, `end` (seconds) and, if it is a folder of frames, `fps`.
    """
    singular, plural = record.has(kind), record.has(f"{kind}s")
    if singular and plural:
        raise record.error(f"both '{kind}' and '{kind}s' are given", "keep one of them")
    if not singular and not plural:
        return []
    name = kind if singular else f"{kind}s"
    value = record.data[name]
    if isinstance(value, str) and value.strip()[:1] + value.strip()[-1:] == "[]":
        value = record.items(name)
    paths = [media_path(record, item, name) for item in (value if isinstance(value, list) else [value])]
    if kind == "image":
        return [Image(path) for path in paths]
    stills = PICTURE_SUFFIXES - {".webp"} if len(paths) == 1 else PICTURE_SUFFIXES  # one webp may be an animation
    if any(splitext(path)[1].lower() in stills for path in paths):
        raise record.error(
            f"field '{name}' names a picture", "put the frames of a video into one folder and name the folder"
        )
    start_s, end_s, fps = (record.number(field) for field in ("start", "end", "fps"))
    if len(paths) > 1 and (start_s, end_s, fps) != (None, None, None):
        raise record.error(f"'start', 'end' or 'fps' with {len(paths)} videos", "give one video a record")
    return [Video(path, start_s, end_s, fps) for path in paths]


class MediaQueue:
    """The media of a record, handed out in order as its placeholders come up."""

    def __init__(self, record: Record, media: dict[MediaKind, list[Part]]) -> None:
        self.record = record
        self.left = {kind: list(items) for kind, items in media.items()}
        self.num_given = {kind: len(items) for kind, items in media.items()}

    def next(self, kind: MediaKind) -> Part:
        """The next image or video; an error where there are more placeholders than media."""
        if not self.left.get(kind):
            raise self.record.error(
                f"there are more <{kind}> placeholders than {kind}s ({self.num_given.get(kind, 0)})",
                f"name every {kind} in the record, or remove the placeholder",
            )
        return self.left[kind].pop(0)

    def split(self, text: str) -> list[Part]:
        """Words and media of a turn in their order; line breaks beside a placeholder go with it."""
        if _SOUND in text:
            raise self.record.error(f"a user turn holds {_SOUND}, sound that no model hears", "remove the record")
        parts: list[Part] = []
        for i, piece in enumerate(_PLACEHOLDER.split(text.strip())):
            if i % 2:
                parts.append(self.next("image" if piece == "image" else "video"))
            elif piece.strip():
                parts.append(Text(piece.strip("\r\n")))
        return parts

    def finish(self) -> None:
        """Refuse a record with fewer placeholders than media."""
        for kind, items in self.left.items():
            if items:
                raise self.record.error(
                    f"{len(items)} of {self.num_given[kind]} {kind}s have no <{kind}> placeholder",
                    f"write <{kind}> where each {kind} belongs",
                )


def chat_of_turns(record: Record, turns: list[tuple[Role, str]], media: dict[MediaKind, list[Part]]) -> Chat:
    """A chat whose turns hold `<image>` and `<video>` placeholders.

    Media of a record without any placeholder stand before the first user turn. Placeholders and media that differ in
    number, and a placeholder in an answer, are errors.
    """
    asked = " ".join(text for role, text in turns if role == "user")
    if media.get("video") and not media.get("image") and "<video>" not in asked:
        # LLaVA-Video and its kin write <image> for a video too.
        turns = [(role, text.replace("<image>", "<video>") if role == "user" else text) for role, text in turns]
        asked = asked.replace("<image>", "<video>")
    queue = MediaQueue(record, media)
    leading: list[Part] = []
    if not _PLACEHOLDER.search(asked):
        leading = [queue.next(kind) for kind, items in media.items() for _ in items]
    messages = []
    for role, text in turns:
        if role == "user":
            parts = leading + queue.split(text)
            leading = []
        elif _PLACEHOLDER.search(text):
            raise record.error(f"a turn of the {role} holds a media placeholder", "only the user shows media")
        else:
            parts = [Text(text.strip())]
        messages.append(Message(role, tuple(parts)))
    queue.finish()
    return Chat(tuple(messages), record.own_id())


def spoken_turns(record: Record, name: str, speaker_key: str, text_key: str) -> list[tuple[Role, str]]:
    """The turns of a list of `{speaker_key: ..., text_key: ...}`, after a `system` field if there is one.

    A system turn without words is left out, as an empty field is.
    """
    turns: list[tuple[Role, str]] = []
    if record.has("system"):
        turns.append(("system", record.text("system")))
    for turn in record.items(name):
        if not isinstance(turn, Mapping) or not isinstance(turn.get(text_key), str):
            raise record.error(
                f"a turn of '{name}' has no text in '{text_key}'", f"write turns as {{'{speaker_key}', '{text_key}'}}"
            )
        role = role_of(record, turn.get(speaker_key))
        if role != "system" or turn[text_key].strip():
            turns.append((role, turn[text_key]))
    return turns
