"""A schema of records, and the rule that its publisher's data is used with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sparrow.data.converters.placeholders import Chat, refuse_unread_media
from sparrow.data.converters.raw_record import Record


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
