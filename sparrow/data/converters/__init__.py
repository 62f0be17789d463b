"""Converters: pure functions from a publisher's record to the chats of canonical samples, one per schema."""

from sparrow.data.converters.converter import Converter
from sparrow.data.converters.placeholders import Chat
from sparrow.data.converters.raw_record import LeftOutError, Record, RecordError
from sparrow.data.settings import CONVERTERS

__all__ = ["CONVERTERS", "Chat", "Converter", "LeftOutError", "Record", "RecordError"]
