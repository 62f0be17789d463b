"""Settings of runs laid side by side: leaves by key, and which of them can change a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from sparrow.core.config import EvaluateConfig, ExperimentConfig

SCHEMAS = {"train": ExperimentConfig, "evaluate": EvaluateConfig}


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values of all leaves of a document, keys joined with dots."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


@cache
def is_recorded(schema: Any, key: str) -> bool:
    """Whether a setting is only recorded: marked so in the schema, or below one that is."""
    for name in key.split("."):
        if get_origin(schema) is dict:
            schema = get_args(schema)[1]
        elif is_dataclass(schema):
            field = next((field for field in dataclass_fields(schema) if field.name == name), None)
            if field is None:
                return False
            if field.metadata.get("recorded"):
                return True
            schema = get_type_hints(schema)[name]
    return False
