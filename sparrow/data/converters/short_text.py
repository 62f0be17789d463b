"""Short instructions, kept as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sparrow.core.samples import Message, Text
from sparrow.data.converters.converter import Converter
from sparrow.data.converters.placeholders import SYSTEM_FIELDS, Chat, question_answer, system_turn
from sparrow.data.converters.raw_record import Record


def alpaca(record: Record) -> Iterator[Chat]:
    """`instruction`, `input`, `output` (Alpaca), or `instruction` with `instances` of the two (its seed tasks).

    A record may have a `system` turn.
    """
    instruction = record.text("instruction").strip()
    if not record.has("instances"):
        yield _chat(instruction, record, record.own_id(), system_turn(record))
        return
    instances = record.items("instances")
    for number, instance in enumerate(instances, start=1):
        if not isinstance(instance, Mapping):
            raise record.error("an entry of 'instances' is not an object", "write entries as {'input', 'output'}")
        own_id = record.own_id()
        if own_id and len(instances) > 1:
            own_id = f"{own_id}.{number}"
        yield _chat(instruction, Record(instance, record.place, record.source), own_id, system_turn(record))


def _chat(instruction: str, record: Record, own_id: str | None, before: list[Message]) -> Chat:
    given = record.optional_text("input").strip()
    question = f"{instruction}\n\n{given}" if given else instruction
    return question_answer(Text(question), answer=record.text("output"), id=own_id, before=before)


ALPACA = Converter(
    alpaca,
    fields=(
        *("instruction", "input", "output", *SYSTEM_FIELDS),
        *("instances[].input", "instances[].output", "is_classification", "name"),  # of its seed tasks
    ),
)
