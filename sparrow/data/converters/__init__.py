"""Converters: pure functions from a publisher's record to the chats of canonical samples, one per schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sparrow.data.converters.long_text import booksum, context_qa, long_nq, longalpaca, longqlora, qmsum
from sparrow.data.converters.messages import messages
from sparrow.data.converters.placeholders import VISUAL_FIELDS, Chat, refuse_unread_media
from sparrow.data.converters.raw_record import LeftOutError, Record, RecordError
from sparrow.data.converters.short_text import alpaca
from sparrow.data.converters.video import llava, minicpmv, videochatgpt

__all__ = ["CONVERTERS", "Chat", "Converter", "LeftOutError", "Record", "RecordError"]


@dataclass(frozen=True)
class Converter:
    """A schema: the function that reads its records, and the rule that its publisher's data is used with.

    Args:
        read: Yields the chats of a record (most have one), each with the record's own id if it has one.
            Raises `RecordError` for a record that breaks the schema, `LeftOutError` for one that is not used.
        min_context_words: Records with a shorter long text are left out.
        media_fields: The fields of images and videos that it reads; a record with another is refused.
    """

    read: Callable[[Record], Iterator[Chat]]
    min_context_words: int = 0
    media_fields: tuple[str, ...] = ()

    def chats(self, record: Record) -> Iterator[Chat]:
        """The chats of a record; an error where it holds media that would not be shown."""
        refuse_unread_media(record, self.media_fields)
        return self.read(record)


CONVERTERS: dict[str, Converter] = {
    "alpaca": Converter(alpaca),
    "booksum": Converter(booksum, min_context_words=3_000),
    "context_qa": Converter(context_qa),
    "llava": Converter(llava, media_fields=VISUAL_FIELDS),
    "long_nq": Converter(long_nq, min_context_words=3_000),
    "longalpaca": Converter(longalpaca),
    "longqlora": Converter(longqlora),
    "messages": Converter(messages, media_fields=VISUAL_FIELDS),
    "minicpmv": Converter(minicpmv, media_fields=VISUAL_FIELDS),
    "qmsum": Converter(qmsum),
    "sharegemini": Converter(llava, media_fields=VISUAL_FIELDS),
    "videochatgpt": Converter(videochatgpt, media_fields=VISUAL_FIELDS),
}
