"""Settings: dataclasses validated by pydantic, each with its help, its unit and whether it can change a result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass as validated_dataclass

from sparrow.core.entries import Registry
from sparrow.core.errors import ConfigError
from sparrow.core.hashing import content_hash

T = TypeVar("T")
REQUIRED = "???"
# Limits of values as pydantic calls them, and how help writes them.
LIMITS = {
    **{"ge": " >= {}", "gt": " > {}", "le": " <= {}", "lt": " < {}"},
    **{"multiple_of": " a multiple of {}", "min_length": " ({} at least)", "choices": ""},
}
RANGES = {
    **{"greater_than_equal": "at least {ge}", "greater_than": "above {gt:g}", "less_than_equal": "at most {le}"},
    **{"less_than": "below {lt}", "multiple_of": "a multiple of {multiple_of}"},
}
MISSING_VALUE = "a value is missing; set it"
RUN_ID_CHARACTERS = 12
CONFIG = ConfigDict(extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)
MAX_PASSES = 4
MAX_SEED = 2**32 - 1  # NumPy's

AtLeast0 = Annotated[int, Field(ge=0)]
AtLeast1 = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


def setting(
    help: str = "",
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    unit: str = "",
    recorded: bool = False,
    added: bool = False,
    remedy: str = "",
    formerly: tuple[Any, str] = (MISSING, ""),
) -> Any:
    """A setting of a class of settings, with one line of help; `REQUIRED` is the default where a user must set it.

    `remedy` ends the message where a value is refused.

    `recorded`: it says only where or how fast a run happens, so that it leaves `run_id` alone. `added`: it came after
    the first `run_id`s were given, and at its default does not enter them. `formerly`: the default when they were
    given, which enters them in place of today's, and a setting that came with the change: a record without it is older.
    """
    metadata = {"help": help, "unit": unit, "recorded": recorded, "added": added}
    metadata |= {"remedy": remedy, "formerly": formerly}
    return field(default=default, default_factory=default_factory, metadata=metadata)


def same_setting(cls: Any, name: str, *, default: Any = MISSING, default_factory: Any = MISSING) -> Any:
    """The setting of another class with a default of its own."""
    (metadata,) = (f.metadata for f in fields(cls) if f.name == name)
    return setting(**metadata, default=default, default_factory=default_factory)


@dataclass_transform(field_specifiers=(setting, same_setting, field))
def settings(cls: type[T]) -> type[T]:
    """Make a class of settings: a dataclass without unknown keys, whose values are checked when it is made.

    Made by hand, its problems are one `ConfigError`; within `validated` they come together with all others.
    """
    return _validating(cls, frozen=False)


@dataclass_transform(field_specifiers=(setting, same_setting, field), frozen_default=True)
def frozen_settings(cls: type[T]) -> type[T]:
    """The same, unchangeable, and hashable where its values are."""
    return _validating(cls, frozen=True)


def _validating(cls: type[T], *, frozen: bool) -> type[T]:
    """A class whose `completed`, if any, adds to the values that are given.

    What its `conflicts` yields, as (name of a setting, what is wrong and how to fix it), is refused too.
    """
    if complete := getattr(cls, "completed", None):
        cls._complete = model_validator(mode="before")(  # type: ignore[attr-defined]
            lambda given: complete(given) if isinstance(given, Mapping) else given
        )
    made: Any = validated_dataclass(frozen=frozen, config=CONFIG)(cls)
    validate = made.__init__

    def validate_once(self: T, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
            problems = _contradictions(self, "", [])
        except ValidationError:
            names = [f.name for f in fields(made)]
            problems = validated(made, dict(zip(names, args, strict=False)) | kwargs)
        if problems:
            raise ConfigError("\n".join(map(str, problems)))

    made.__init__ = validate_once
    return made


@dataclass(frozen=True)
class Problem:
    """What is wrong with a setting, and how to fix it; `written` is the key that was written, if not `key` itself."""

    key: str
    what: str
    written: str | None = None

    def __str__(self) -> str:
        return f"{self.key}: {self.what}" if self.key else self.what


def one_of(table: Registry[Any], *further: str) -> Any:
    """Validates a name of a registry, or the dotted path of a user's own entry."""

    def check(name: str, info: ValidationInfo) -> str:
        if name not in further and name not in table and "." in name and info.context is not None:
            info.context.append(name)
        elif name not in further:
            table.check(name, further)
        return name

    check.choices = (*further, *table, "your own dotted path")  # type: ignore[attr-defined]
    return AfterValidator(check)


def validated(
    schema: type[T],
    values: Mapping[str, Any],
    conflicts: Callable[[T], Iterable[tuple[str, str]]] = lambda settings: (),
) -> T | list[Problem]:
    """Settings of plain values, or every problem with them.

    What is wrong is set aside and the rest is looked at again, so that contradictions are reported beside wrong values,
    those of a class beside those of others. `???` stands for a missing value. `conflicts` finds contradictions between
    groups, as (key, what is wrong and how to fix it). Entries of the user's own, whose import may take seconds, and
    contradictions with them are looked at once all values are right.
    """
    rest = _without_missing(values)
    problems = [*_truth_values(rest, schema, [])]
    aside: list[str] = []
    for problem in problems:
        _set_aside(rest, aside, problem.key.partition("[")[0].split("."))
    for _ in range(MAX_PASSES):
        own: list[str] = []  # entries that are not imported yet
        try:
            made = TypeAdapter(schema).validate_python(rest, context=own)
            missing = _apart_from(aside, _missing(made, ""))
            if own and (problems or missing):
                return [*problems, *missing]
            made = TypeAdapter(schema).validate_python(rest) if own else made
        except ValidationError as error:
            problems += [p for p in _apart_from(aside, _problems_of(error, schema)) if p not in problems]
            for details in error.errors():
                _set_aside(rest, aside, _location(details["loc"], schema))
            continue
        aside += [problem.key for problem in missing]
        within = _contradictions(made, "", aside)
        between = [Problem(key, what) for key, what in conflicts(made)]
        found = _apart_from(aside, [*within, *_not_around(within, between)])
        problems += [*missing, *(p for p in found if not any(key in p.what for key in aside))]
        return problems or made
    return problems


def with_changes(base: T, changes: Mapping[str, Any]) -> T | list[Problem]:
    """Settings with some of them changed, given as plain values, or every problem with them."""
    return validated(type(base), asdict(cast(Any, base)) | dict(changes)) if changes else base


def _contradictions(value: Any, key: str, aside: list[str]) -> list[Problem]:
    """Contradictions within the classes of settings below a key, less what may only follow from those further below."""
    if is_dataclass(value):
        items = {f"{key}.{f.name}".lstrip("."): getattr(value, f.name) for f in fields(value)}
    else:
        items = {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {}
    found = [problem for below, item in items.items() for problem in _contradictions(item, below, aside)]
    if hasattr(value, "conflicts") and not any(name.startswith(f"{below}.") for name in aside for below in items):
        own = [Problem(f"{key}.{name}".strip("."), what) for name, what in value.conflicts()]
        found += _not_around(found, own)
    return found


def _not_around(inner: list[Problem], outer: list[Problem]) -> list[Problem]:
    return [p for p in outer if not any(f"{q.key}.".startswith(f"{p.key}.") for q in inner)]


def decoded(kind: type[T], value: Any) -> T | list[Problem]:
    """A dataclass read back from JSON, or every problem with it: unknown and missing keys and other types."""
    try:
        return _strict_adapter(cast(Any, kind)).validate_json(json.dumps([value]))[0]
    except ValidationError as error:
        return [replace(p, key=p.key.removeprefix("[0]").lstrip(".")) for p in _problems_of(error, list[kind])]  # type: ignore[valid-type]


@cache
def _strict_adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(list[kind], config=ConfigDict(extra="forbid", strict=True))


def _apart_from(aside: list[str], found: Iterable[Problem]) -> list[Problem]:
    """Problems less those that may only follow from a value that was set aside."""

    def below(one: str, other: str) -> bool:
        return f"{one.replace('[', '.')}.".startswith(f"{other.replace('[', '.')}.")

    return [p for p in found if not any(below(p.key, key) or below(key, p.key) for key in aside)]


def _set_aside(values: Any, aside: list[str], location: list[Any]) -> None:
    """Remove a value; of a list all values."""
    path = location[: next((place for place, part in enumerate(location) if isinstance(part, int)), len(location))]
    aside.append(_key(path))
    for part in path[:-1]:
        values = values.get(part, {})
    if path:
        values.pop(path[-1], None)


def _truth_values(value: Any, kind: Any, location: list[Any]) -> Iterator[Problem]:
    """A problem for each value that pydantic would turn into another type: a truth value, or decimals as text."""
    kind = without_null(kind)
    kinds = {*(get_args(kind) or (kind,))}
    if isinstance(value, dict):
        of_items = get_args(kind)[1] if get_origin(kind) is dict else None
        types = hints(kind) if is_dataclass(kind) else {}
        for name, item in value.items():
            yield from _truth_values(item, types.get(name, Any) if of_items is None else of_items, [*location, name])
    elif isinstance(value, list | tuple) and get_origin(kind) in (list, tuple):
        for place, item in enumerate(value):
            yield from _truth_values(item, get_args(kind)[0], [*location, place])
    elif (isinstance(value, bool) and {int, float} & kinds) or (isinstance(value, float) and {int, str} <= kinds):
        yield Problem(_key(location), f"expected {readable(kind)}, found {value}")


def _missing(value: Any, key: str) -> Iterator[Problem]:
    """A problem for each required setting below a key that has no value."""
    if is_dataclass(value):
        for f in fields(value):
            below = f"{key}.{f.name}".lstrip(".")
            item = getattr(value, f.name)
            if isinstance(item, str) and item == REQUIRED:
                yield Problem(below, MISSING_VALUE, written=key)
            else:
                yield from _missing(item, below)
    elif isinstance(value, dict):
        for name, item in value.items():
            for problem in _missing(item, f"{key}.{name}"):
                near = get_close_matches(str(name), [str(other) for other in value if other != name], n=1)
                hint = f", or did you mean '{key}.{near[0]}'?" if near else ""
                yield replace(problem, what=f"{problem.what}{hint}")


def _without_missing(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_missing(item) for key, item in value.items() if item != REQUIRED}
    return [_without_missing(item) for item in value] if isinstance(value, list | tuple) else value


def _problems_of(error: ValidationError, schema: Any) -> list[Problem]:
    found: list[Problem] = []
    for details in error.errors():
        location = _location(details["loc"], schema)
        key, cause = _key(location), (details.get("ctx") or {}).get("error")
        if isinstance(cause, Exception):
            found.append(Problem(key, str(cause)))
        elif details["type"] == "missing":
            found.append(Problem(key, "is missing"))
        elif details["type"] == "unexpected_keyword_argument":
            near = get_close_matches(str(location[-1]), _siblings(schema, location), n=1)
            found.append(Problem(key, "unknown key" + (f"; did you mean '{near[0]}'?" if near else "")))
        else:
            remedy = _siblings(schema, location).get(location[-1], {}).get("remedy") if location else None
            message = _message(details, kind_of(schema, location))
            out_of_range = not details["type"].endswith(("_parsing", "_type"))
            found.append(Problem(key, f"{message}; {remedy}" if remedy and out_of_range else message))
    return list(dict.fromkeys(found))


def _siblings(schema: Any, location: list[Any]) -> dict[str, Any]:
    """The settings of the class that the one at a place belongs to, by name, with their metadata."""
    parent = without_null(kind_of(schema, location[:-1])) if location else None
    return {f.name: f.metadata for f in fields(parent)} if is_dataclass(parent) else {}


def _location(parts: Iterable[Any], schema: Any) -> list[Any]:
    """The keys and places that lead to a value, without pydantic's names of what it tried there."""
    location: list[Any] = []
    for part in parts:
        kind = without_null(kind_of(schema, location))
        if is_dataclass(kind) or get_origin(kind) in (dict, list, tuple):
            location.append(part)
    return location


def without_null(kind: Any) -> Any:
    """The one type that a value has where it is not null, without its own constraints."""
    kind = bare(kind)
    parts = [part for part in get_args(kind) if part is not type(None)]
    return bare(parts[0]) if len(parts) == 1 and type(None) in get_args(kind) else kind


def _key(location: list[Any]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _message(details: Mapping[str, Any], kind: Any) -> str:
    value, context, limits = details["input"], details.get("ctx") or {}, constraints(kind)
    ending = f"{', or null' if type(None) in get_args(bare(kind)) else ''}, is {value}"
    match details["type"]:
        case "greater_than_equal" | "less_than_equal" if {"ge", "le"} <= {*limits}:
            return f"must lie between {limits['ge']} and {limits['le']}{ending}"
        case "greater_than_equal" if context["ge"] == 0:
            return f"must not be negative{ending}"
        case name if name in RANGES:
            return f"must be {RANGES[name].format(**context)}{ending}"
        case "finite_number":
            return f"must be finite{ending}"
        case "too_short" | "string_too_short":
            return "must not be empty"
        case "literal_error":
            names = map(str, get_args(without_null(kind)))
            choices = ", ".join([*names, *["or null"] * (", or null" in ending)])
            quote = "; quote it, as YAML reads it as a truth value" if isinstance(value, bool) else ""
            found = "null" if value is None else f"'{value}'"
            return f"{found} is not one of {choices}{quote}"
        case "string_type" if isinstance(value, bool):
            return f"expected {readable(kind)}, found {value}; quote it, as YAML reads it as a truth value"
        case _:
            return f"expected {readable(kind)}, found {'null' if value is None else repr(value)}"


def constraints(kind: Any) -> dict[str, Any]:
    """The limits of a type's values, or of the items of a list, by pydantic's names, and `choices`."""
    found = _own_constraints(kind)
    for part in get_args(kind):
        found |= constraints(part)
    return found


def _own_constraints(kind: Any) -> dict[str, Any]:
    extras = getattr(kind, "__metadata__", ())
    limits = [limit for extra in extras for limit in (getattr(extra, "func", None), *getattr(extra, "metadata", ()))]
    return {name: getattr(limit, name) for limit in limits for name in LIMITS if hasattr(limit, name)}


def bare(kind: Any) -> Any:
    """A type without its own constraints."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def kind_of(schema: Any, location: list[Any]) -> Any:
    """The type of the setting at a place, with its constraints; `Any` where there is none."""
    for part in location:
        schema = without_null(schema)
        if get_origin(schema) in (dict, list, tuple):
            schema = get_args(schema)[1 if get_origin(schema) is dict else 0]
        elif is_dataclass(schema):
            schema = hints(schema).get(str(part), Any)
        else:
            return Any
    return schema


def hints(schema: Any) -> dict[str, Any]:
    """The types of the settings of a class, with their constraints."""
    return get_type_hints(schema, include_extras=True)


def readable(kind: Any, *, limits: bool = False) -> str:
    """A type in words, with the limits of its values or without."""
    own = _own_constraints(kind) if limits else {}
    kind = bare(kind)
    if "choices" in own:
        return " or ".join(own["choices"])
    if own:
        between = f" from {own.pop('ge')} to {own.pop('le')}" if {"ge", "le"} <= {*own} else ""
        ranges = " and".join(LIMITS[name].format(value) for name, value in own.items())
        return f"{readable(kind, limits=True)}{between}{ranges}"
    if get_origin(kind) in (list, tuple):
        return f"a list of {readable(get_args(kind)[0], limits=limits)}"
    if get_origin(kind) is dict or is_dataclass(kind):
        return "settings"
    if get_args(kind):
        return " or ".join("null" if part is type(None) else readable(part, limits=limits) for part in get_args(kind))
    return str(getattr(kind, "__name__", kind))


def defaults(schema: Any) -> dict[str, Any]:
    """The defaults of a class of settings as plain values; `???` where there is none."""
    types, found = hints(schema), {}
    for f in fields(schema):
        value = _default(f)
        found[f.name] = defaults(types[f.name]) if is_dataclass(value) else REQUIRED if value is MISSING else value
    return found


def _default(f: Any) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def identity(config: Any, *, whole: bool = False) -> Any:
    """The settings that determine a result, as plain values; with `whole` also what was added and left alone."""
    if is_dataclass(config):
        values = {f: getattr(config, f.name) for f in fields(config) if not f.metadata.get("recorded")}
        if not whole:
            values = {f: v for f, v in values.items() if not (f.metadata.get("added") and v == _default(f))}
            formerly = {f: f.metadata.get("formerly", (MISSING, ""))[0] for f in values}
            values |= {f: old for f, old in formerly.items() if old is not MISSING and values[f] == _default(f)}
        return {f.name: identity(value, whole=whole) for f, value in values.items()}
    if isinstance(config, dict):
        return {key: identity(value, whole=whole) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [identity(value, whole=whole) for value in config]
    return config


def differences_within_an_id(config: Any, recorded: Any, key: str = "") -> Iterator[str]:
    """Settings that differ though the ids may agree, as `key: old -> new`: the default changed before the record."""
    if is_dataclass(config) and isinstance(recorded, Mapping):
        for f in fields(config):
            old, new, below = recorded.get(f.name), getattr(config, f.name), f"{key}.{f.name}".lstrip(".")
            if (mark := f.metadata.get("formerly", (MISSING, ""))[1]) and mark in recorded and old != new:
                yield f"{below}: {old} -> {new}"
            yield from differences_within_an_id(new, old, below)


def run_id(config: Any) -> str:
    """Hash of the settings that determine a result; equal on every machine and for every folder."""
    return content_hash(identity(config), length=RUN_ID_CHARACTERS)
