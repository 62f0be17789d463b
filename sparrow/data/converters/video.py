"""Video and image instruction data: LLaVA-style conversations and the schemas close to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sparrow.core.samples import Image, Part, Text, Video
from sparrow.data.converters.converter import Converter
from sparrow.data.converters.placeholders import (
    LOSS_MARKS,
    MEDIA_FIELDS,
    SYSTEM_FIELDS,
    VISUAL_FIELDS,
    Chat,
    chat_of_turns,
    media_list,
    media_path,
    question_answer,
    spoken_turns,
    system_turn,
    video_bounds,
)
from sparrow.data.converters.raw_record import Record, kind_of

_VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif")
_NUMBERED = re.compile(r"<image_\d+>")


def llava(record: Record) -> Iterator[Chat]:
    """`conversations` of `{from, value}` about a `video`, an `image` or `images` (LLaVA, ShareGPT)."""
    turns = spoken_turns(record, "conversations", "from", "value")
    yield chat_of_turns(record, turns, {"image": media_list(record, "image"), "video": media_list(record, "video")})


def videochatgpt(record: Record) -> Iterator[Chat]:
    """`q`, `a`, `video_id` (VideoInstruct100K), or the LLaVA form of the same data."""
    if record.has("conversations"):
        yield from llava(record)
        return
    if unread := next(filter(record.has, VISUAL_FIELDS), None):
        raise record.error(f"field '{unread}' is not read beside 'video_id'", "name the video in one of them")
    video_id = record.text("video_id")
    path = video_id if video_id.lower().endswith(_VIDEO_SUFFIXES) else f"{video_id}.mp4"
    question = Text(record.text("q").strip())
    video, before = Video(path, *video_bounds(record)), system_turn(record)
    yield question_answer(video, question, answer=record.text("a"), id=record.own_id(), before=before)


def minicpmv(record: Record) -> Iterator[Chat]:
    """MiniCPM-V's form: `conversations` of `{role, content}`, `image` a path or `{"<image_00>": path, ...}`.

    A `video`, which its publisher's data does not have, is read as LLaVA's.
    """
    videos = media_list(record, "video")
    turns = spoken_turns(record, "conversations", "role", "content")
    images = record.data.get("image")
    mentioned = [key for turn in turns if turn.role == "user" for key in _NUMBERED.findall(turn.text)]
    if not isinstance(images, Mapping):
        if mentioned:
            what = f"the turns mention {mentioned[0]}, 'image' is {kind_of(images)}"
            raise record.error(what, f"write 'image' as {{'{mentioned[0]}': path, ...}}, or <image> in the turns")
        yield chat_of_turns(record, turns, {"image": media_list(record, "image"), "video": videos})
        return
    named = {key: Image(media_path(record, value, key)) for key, value in images.items() if value is not None}
    unknown = sorted(set(mentioned) - set(named))
    if unknown:
        raise record.error(f"the turns mention {unknown[0]}, which 'image' does not name", "name its file in 'image'")
    ordered: list[Part] = [named[key] for key in mentioned]
    if not mentioned:
        ordered = list(named.values())
    elif set(mentioned) != set(named):
        unused = sorted(set(named) - set(mentioned))[0]
        raise record.error(f"no turn mentions the image {unused}", "write its key where it belongs, or remove it")
    turns = [t._replace(text=_NUMBERED.sub("<image>", t.text)) if t.role == "user" else t for t in turns]
    yield chat_of_turns(record, turns, {"image": ordered, "video": videos})


def _turn_fields(*names: str) -> tuple[str, ...]:
    return tuple(f"conversations[].{name}" for name in (*names, *LOSS_MARKS))


LLAVA = Converter(llava, fields=(*_turn_fields("from", "value"), *SYSTEM_FIELDS, *MEDIA_FIELDS))
_KEYED = ("image", *(name for name in MEDIA_FIELDS if not name.startswith("image[]")))  # image by its <image_00>
MINICPMV = Converter(minicpmv, fields=(*_turn_fields("role", "content"), *SYSTEM_FIELDS, *_KEYED))
VIDEOCHATGPT = Converter(videochatgpt, fields=("q", "a", "video_id", *LLAVA.fields))
