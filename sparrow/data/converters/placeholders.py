"""What converters make of records, and the placement of media at their placeholders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sparrow.core.samples import Image, LongText, Message, Part, Role, Text, Video
from sparrow.data.converters.raw_record import Record, kind_of
from sparrow.media.frame_folders import PICTURE_SUFFIXES

MediaKind = Literal["image", "video"]
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"<(image|video)>")
_LIKE_PLACEHOLDER = re.compile(r"<\|?(image|img|video|vid)[ _-]?(\d+|here|pad|token)?\|?>", re.IGNORECASE)
_IMAGES = r"<image>(?:\s*<image>)*"
_SOUND = "<audio>"
_STILL = tuple(PICTURE_SUFFIXES)
_NAMES: dict[MediaKind, tuple[str, ...]] = {"image": ("image", "images"), "video": ("video", "videos")}
VISUAL_FIELDS = (*_NAMES["image"], *_NAMES["video"])
_STARTS, _ENDS = ("start", "start_time", "video_start"), ("end", "end_time", "video_end")
UNREAD_BOUNDS = ("clip", "end_frame", "start_frame", "timestamp", "timestamps")
BOUNDS = (*_STARTS, *_ENDS, "fps")
SYSTEM_FIELDS = ("system", "system_prompt")
LOSS_MARKS = ("loss", "loss_scale", "loss_weight", "train", "training", "weight")
_MARKS, _ALL_BOUNDS = frozenset(LOSS_MARKS), frozenset((*BOUNDS, *UNREAD_BOUNDS))
_FILE_FIELDS = ("bytes", "detail", "image", "path", "url", "video")
MEDIA_FIELDS = (*(f"{name}[].{field}" for name in VISUAL_FIELDS for field in _FILE_FIELDS), *BOUNDS)
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
}


class Turn(NamedTuple):
    """What is said in a turn, with placeholders of media."""

    role: Role
    text: str
    supervised: bool = True


@dataclass(frozen=True, slots=True)
class Chat:
    """The messages of one sample, and the record's own id where it has one."""

    messages: tuple[Message, ...]
    id: str | None = None


def question_answer(*question: Part, answer: str, id: str | None = None, before: Iterable[Message] = ()) -> Chat:
    """A chat of one question and one answer, and of the turns before them."""
    return Chat((*before, Message("user", question), Message("assistant", (Text(answer.strip()),))), id)


def about_context(context: str, question: str, answer: str, id: str | None = None) -> Chat:
    """A question about a long text: the text first, then the question, as a video precedes its question."""
    return question_answer(LongText(context.strip()), Text(question.strip()), answer=answer, id=id)


def role_of(record: Record, name: Any) -> Role:
    """The role that a schema's word for a speaker means."""
    role = _ROLES.get(name) or _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise record.error(f"a turn is spoken by {name!r}", f"known speakers are {', '.join(_ROLES)}")
    return role


def system_turn(record: Record) -> list[Message]:
    """The turn of a record's `system` or `system_prompt` field, if it has one."""
    name = one_of_fields(record, SYSTEM_FIELDS)
    return [Message("system", (Text(record.text(name).strip()),))] if name else []


def one_of_fields(record: Record, names: Iterable[str]) -> str | None:
    """The name among some for the same thing under which the record has it, if it does; an error where two have."""
    given = [name for name in names if name in record.data and record.has(name)]
    if len(given) > 1:
        raise record.error(f"both '{given[0]}' and '{given[1]}' are given", "keep one of them")
    return given[0] if given else None


def is_learnt(record: Record, role: Role, turn: Mapping[str, Any]) -> bool:
    """Whether a turn is to be learnt, as its marks say; by default as all answers are."""
    if _MARKS.isdisjoint(turn):
        return True
    marks = [(name, turn[name]) for name in LOSS_MARKS if turn.get(name) is not None]
    for name, value in marks:
        if value not in (0, 1) or value != marks[0][1]:
            raise record.error(f"'{name}' of a turn is {value!r}", "write true or false alike in all marks of a turn")
        if value and role != "assistant":
            raise record.error(f"'{name}' of a {role} turn is {value!r}, only answers are learnt", "remove the mark")
    return role != "assistant" or not marks or bool(marks[0][1])


def media_path(record: Record, value: Any, name: str) -> str:
    """The path of a media file as a record names it: a string, or an object with a `path`, `image` or `video`.

    Neither a web address nor the bytes themselves will do.
    """
    if isinstance(value, dict):
        if value.get("bytes") is not None:
            raise record.error(f"field '{name}' holds a file's bytes", "write the files to disk and name their paths")
        value = next((value[key] for key in ("path", "url", "image", "video") if value.get(key)), None)
    if not isinstance(value, str) or not value.strip() or "\n" in value:
        raise record.error(f"field '{name}' is {kind_of(value)}, expected a path", "name the media file")
    value = value.removeprefix("file://")
    if _ADDRESS.match(value):
        raise record.error(f"field '{name}' holds an address", "download the files and name their paths")
    return value


def media_list(record: Record, kind: MediaKind) -> list[Part]:
    """The media of a record's `image`/`images` or `video`/`videos` field, in order; `[]` where there is none.

    A video is a path or a list of the paths of its frames. One video may have bounds; see `video_bounds`.
    """
    name = one_of_fields(record, _NAMES[kind])
    if name is None:
        if kind == "video" and (bound := next(filter(record.has, BOUNDS), None)):
            raise record.error(f"field '{bound}' bounds a video, and no field names one", "write it beside the video")
        return []
    value = record.data[name]
    if isinstance(value, str) and value.lstrip()[:1] == "[" and value.rstrip()[-1:] == "]":
        value = record.items(name)
    items = value if isinstance(value, list) else [value]
    if kind == "image":
        return [Image(media_path(record, item, name)) for item in items]
    if name == "video" and len(items) > 1 and all(_is_still(media_path(record, item, name)) for item in items):
        items = [items]
    bounds = video_bounds(record)
    if len(items) > 1 and bounds != (None, None, None):
        raise record.error(f"'start', 'end' or 'fps' with {len(items)} videos", "give one video a record")
    return [Video(video_path(record, item, name, alone=len(items) == 1), *bounds) for item in items]


def video_path(record: Record, value: Any, name: str, *, alone: bool = True) -> str:
    """The path of a video as a record names it, or those of its frames, one a line."""
    if isinstance(value, list) and value:
        return "\n".join(media_path(record, item, name) for item in value)
    path = media_path(record, value, name)
    if _is_still(path) and not (alone and path.lower().endswith(".webp")):  # one may be an animation
        remedy = "list the frames of each video in a list of their own, or name the folder that holds them"
        raise record.error(f"field '{name}' names a picture", remedy)
    return path


def _is_still(path: str) -> bool:
    return path.lower().endswith(_STILL)


def video_bounds(record: Record) -> tuple[float | None, float | None, float | None]:
    """Start and end in seconds of what is shown of a record's video, and the frame rate of a folder or list of frames.

    Bounds in other fields than `start`, `start_time` or `video_start` and the like for the end are refused by name.
    """
    if _ALL_BOUNDS.isdisjoint(record.data):
        return None, None, None
    if unread := next(filter(record.has, UNREAD_BOUNDS), None):
        what = f"field '{unread}' says which part of the video is meant, and is not read"
        raise record.error(what, "write 'start' and 'end' in seconds")
    start, end, fps = (one_of_fields(record, names) for names in (_STARTS, _ENDS, ("fps",)))
    return tuple(record.number(name) if name else None for name in (start, end, fps))  # type: ignore[return-value]


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
        if "<" not in text:  # as in most turns
            return [Text(text.strip())] if text.strip() else []
        if _SOUND in text:
            raise self.record.error(f"a user turn holds {_SOUND}, sound that no model hears", "remove the record")
        parts: list[Part] = []
        for i, piece in enumerate(_PLACEHOLDER.split(text.strip())):
            if i % 2:
                parts.append(self.next("image" if piece == "image" else "video"))
            elif piece.strip():
                if unread := _LIKE_PLACEHOLDER.search(piece):
                    what = f"a user turn holds {unread[0]}, a placeholder that is not read"
                    raise self.record.error(what, "write <image> or <video>")
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


def chat_of_turns(record: Record, turns: list[Turn], media: dict[MediaKind, list[Part]]) -> Chat:
    """A chat whose turns, after the record's system turn if it has one, hold `<image>` and `<video>` placeholders.

    Media of a record without any placeholder stand before the first user turn. Placeholders and media that differ in
    number, and a placeholder in an answer, are errors.
    """
    asked = " ".join(turn.text for turn in turns if turn.role == "user")
    videos = media.get("video")
    if videos and not media.get("image") and "<video>" not in asked and "<image>" in asked:
        # LLaVA-Video and its kin write <image> for a video too, some as often as it has frames.
        marks = _IMAGES if asked.count("<image>") > len(videos) else "<image>"
        turns = [
            turn._replace(text=re.sub(marks, "<video>", turn.text)) if turn.role == "user" else turn for turn in turns
        ]
        asked = re.sub(marks, "<video>", asked)
    queue = MediaQueue(record, media)
    leading: list[Part] = []
    if not _PLACEHOLDER.search(asked):
        leading = [queue.next(kind) for kind, items in media.items() for _ in items]
    messages = system_turn(record)
    for role, text, supervised in turns:
        if role == "user":
            parts = leading + queue.split(text)
            leading = []
        elif "<" in text and _PLACEHOLDER.search(text):
            raise record.error(f"a turn of the {role} holds a media placeholder", "only the user shows media")
        else:
            parts = [Text(text.strip())]
        messages.append(Message(role, tuple(parts), supervised))
    queue.finish()
    return Chat(tuple(messages), record.own_id())


def spoken_turns(record: Record, name: str, speaker_key: str, text_key: str) -> list[Turn]:
    """The turns of a list of `{speaker_key: ..., text_key: ...}`.

    A system turn without words is left out, as an empty field is.
    """
    turns: list[Turn] = []
    for turn in record.items(name):
        if not isinstance(turn, dict) or not isinstance(turn.get(text_key), str):
            raise record.error(
                f"a turn of '{name}' has no text in '{text_key}'", f"write turns as {{'{speaker_key}', '{text_key}'}}"
            )
        role = role_of(record, turn.get(speaker_key))
        if role != "system" or turn[text_key].strip():
            turns.append(Turn(role, turn[text_key], is_learnt(record, role, turn)))
    return turns
