"""Plain JSON values read back into typed dataclasses, with the key named where a value does not fit."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_hints = cache(get_type_hints)


class DecodingError(ValueError):
    """A value is not of the type that its key declares."""


def decode(kind: type[T], value: Any, key: str = "") -> T:
    """`value` as an instance of the dataclass `kind`.

    Raises:
        DecodingError: If a field is missing, unknown or of another type.
    """
    result: T = _decode(kind, value, key)
    return result


def _decode(kind: Any, value: Any, key: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _decode(kind, value, key)
    if origin is Literal:
        if value not in arguments:
            raise DecodingError(f"{key} is {value!r}, expected one of {', '.join(map(str, arguments))}")
        return value
    if origin is dict:
        _expect(dict, value, key)
        return {
            _decode(arguments[0], name, f"the key {key}.{name}"): _decode(arguments[1], item, f"{key}.{name}")
            for name, item in value.items()
        }
    if origin is list:
        _expect(list, value, key)
        return [_decode(arguments[0], item, f"{key}[{i}]") for i, item in enumerate(value)]
    if is_dataclass(kind):
        return _decode_fields(kind, value, key)
    if kind is float and type(value) is int:
        return float(value)
    _expect(kind, value, key)
    return value


def _decode_fields(kind: Any, value: Any, key: str) -> Any:
    _expect(dict, value, key or "the document")
    hints, prefix = _hints(kind), f"{key}." if key else ""
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(required - value.keys()):
        raise DecodingError(f"{prefix}{missing[0]} is missing")
    if unknown := sorted(value.keys() - {f.name for f in fields(kind)}):
        raise DecodingError(f"{prefix}{unknown[0]} is not a known key")
    return kind(**{name: _decode(hints[name], item, prefix + name) for name, item in value.items()})


def _expect(kind: type, value: Any, key: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DecodingError(f"{key} is of type {type(value).__name__}, expected {kind.__name__}")
