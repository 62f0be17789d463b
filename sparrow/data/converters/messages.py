"""Chat `messages`: typed parts as Hugging Face writes them, or placeholders with media columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from sparrow.core.samples import Image, LongText, Message, Part, Role, Text, Video
from sparrow.data.converters.converter import Converter
from sparrow.data.converters.placeholders import (
    BOUNDS,
    LOSS_MARKS,
    MEDIA_FIELDS,
    SYSTEM_FIELDS,
    Chat,
    MediaKind,
    MediaQueue,
    chat_of_turns,
    is_learnt,
    media_list,
    media_path,
    one_of_fields,
    role_of,
    spoken_turns,
    video_bounds,
    video_path,
)
from sparrow.data.converters.raw_record import Record, is_empty, kind_of

_TYPES = {
    "text": "text",
    "long_text": "long_text",
    "image": "image",
    "image_url": "image",
    "video": "video",
    "video_url": "video",
}
_VALUES = (*_TYPES, "value", "url", "path")


def messages(record: Record) -> Iterator[Chat]:
    """`messages` of `{role, content}` (LLaMA-Factory, ms-swift, TRL).

    `content` is text with `<image>` and `<video>` placeholders for the `images` and `videos` columns, or a list
    of parts `{type, text | image | video | image_url | value}`; a part without a path takes the next of its column.
    A part of type `long_text` is ours: a context that a mixture renders as pages, which several turns may ask about.
    """
    items = record.items("messages")
    media: dict[MediaKind, list[Part]] = {"image": media_list(record, "image"), "video": media_list(record, "video")}
    if all(isinstance(item, Mapping) and isinstance(item.get("content"), str) for item in items):
        yield chat_of_turns(record, spoken_turns(record, "messages", "role", "content"), media)
        return
    queue = MediaQueue(record, media)
    system = one_of_fields(record, SYSTEM_FIELDS)
    turns = [Message("system", (Text(record.text(system)),))] if system else []
    for item in items:
        if not isinstance(item, Mapping):
            raise record.error(f"a message is {kind_of(item)}", "write messages as {'role', 'content'}")
        role = role_of(record, item.get("role"))
        if role == "system" and not item.get("content"):
            continue
        parts = tuple(_joined(_parts(record, role, item.get("content"), queue)))
        turns.append(Message(role, parts, is_learnt(record, role, item)))
    queue.finish()
    yield Chat(tuple(turns), record.own_id())


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """Text parts that follow each other as one, which is what chat templates make of them, without space around it."""
    for is_text, group in groupby(parts, key=lambda part: isinstance(part, Text)):
        if is_text:
            yield Text("".join(part.text for part in group if isinstance(part, Text)).strip())
        else:
            yield from group


def _parts(record: Record, role: Role, content: Any, queue: MediaQueue) -> Iterator[Part]:
    if isinstance(content, str):
        yield from queue.split(content) if role == "user" else [Text(content.strip())]
        return
    if not isinstance(content, list):
        raise record.error(f"the content of a {role} message is {kind_of(content)}", "write text or a list of parts")
    for part in content:
        kind = _TYPES.get(str(part.get("type"))) if isinstance(part, Mapping) else None
        if kind is None:
            named = repr(part.get("type")) if isinstance(part, Mapping) else kind_of(part)
            raise record.error(f"a part of a {role} message is {named}", f"known types are {', '.join(_TYPES)}")
        is_text = kind in ("text", "long_text")
        own = {kind, part["type"], "value", "url", "path", "text" if is_text else kind}
        given = [key for key in (*_VALUES, *(() if kind == "video" else BOUNDS)) if not is_empty(part.get(key))]
        if len(given) > 1 or not own.issuperset(given):
            what = f"a part of type {part['type']} holds {' and '.join(map(repr, given))}"
            raise record.error(what, "write a part for each, of its own type")
        value = part[given[0]] if given else part.get("text") if is_text else None
        if is_text:
            if not isinstance(value, str):
                raise record.error(f"a text part of a {role} message has no text", "write it under 'text'")
            if kind == "long_text" and role != "user":
                raise record.error(f"a {role} message holds a long text", "only the user shows contexts")
            yield Text(value) if kind == "text" else LongText(value.strip())
        elif kind == "image":
            yield queue.next("image") if value is None else Image(media_path(record, value, "image"))
        else:
            bounds = video_bounds(Record(part, record.place, record.source))
            if value is None and bounds != (None, None, None):
                raise record.error("a part that names no video has bounds", "write them in the record")
            yield queue.next("video") if value is None else Video(video_path(record, value, "video"), *bounds)


MESSAGES = Converter(
    messages,
    fields=(
        *(f"messages[].{name}" for name in ("role", *LOSS_MARKS)),
        *(f"messages[].content[].{name}" for name in ("type", *_VALUES, *BOUNDS)),
        *(*SYSTEM_FIELDS, *MEDIA_FIELDS),
    ),
)
