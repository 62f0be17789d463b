"""From a composed configuration to checked dataclasses, with every problem said at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparrow.app.provenance import origin_of
from sparrow.app.trained_defaults import with_trained_defaults
from sparrow.core.config import (
    REQUIRED,
    DiversityConfig,
    EvaluateConfig,
    ExperimentConfig,
    PrepareConfig,
    PreviewConfig,
)
from sparrow.core.errors import ConfigError
from sparrow.core.files import user_path

T = TypeVar("T")
MADE_BY_HYDRA = "paths.output_root"  # its folders, before a setting is looked at
MISSING = "a value is missing; set it"
OF_ALL_GROUPS = ("experiment", "scale")  # groups whose files set what other groups hold
FOR_ALL = "the line '# @package _global_'"
SCHEMAS = {
    "train": ExperimentConfig,
    "prepare": PrepareConfig,
    "preview": PreviewConfig,
    "diversity": DiversityConfig,
    "evaluate": EvaluateConfig,
}


@dataclass(frozen=True)
class _Problem:
    key: str
    what: str
    written: str | None = None  # what was written where the key itself was not


def register_schemas() -> None:
    """Make the schemas known to Hydra by name.

    They are stored as plain values, so that a file with an unknown key still composes and `checked` can report
    all problems together instead of Hydra the first one.
    """
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        settings = OmegaConf.structured(schema)
        plain = OmegaConf.to_container(with_trained_defaults(settings) if schema is EvaluateConfig else settings)
        store.store(name=f"{command}_schema", node=plain, provider="sparrow")


def checked(
    config: DictConfig,
    schema: type[T],
    origin: Callable[[str], str] = origin_of,
    further: Callable[[T], Iterable[tuple[str, str]]] = lambda settings: (),
) -> T:
    """Merge a composed configuration into its schema.

    Args:
        config: The composed configuration.
        schema: Dataclass of its settings.
        origin: What a message adds on where a key was written.
        further: Finds what else is wrong with settings of the right types, as (key, what is wrong and how to fix it).

    Raises:
        ConfigError: With every unknown key, wrong type, missing value and contradiction, each with its file.
    """
    from sparrow.app.checks import check  # loads the types that settings are for; --help does without

    problems: list[_Problem] = []
    plain = _resolved(config, problems)
    if not problems:
        problems += _schema_problems(plain, schema, "")
    if not problems:
        settings = cast(T, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), plain)))
        found = [*check(settings), *further(settings)]
        if not found:
            return settings
        problems += [_Problem(key, what) for key, what in found]
    lines = [f"{p.key}: {p.what}{origin(p.written or p.key)}" for p in problems]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    raise ConfigError(f"{count} in the configuration:\n  " + "\n  ".join(lines))


def _resolved(config: DictConfig, problems: list[_Problem]) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)

    def walk(node: Any, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {k: walk(node._get_node(k), v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(node._get_node(i), v, f"{key}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            try:
                resolved = OmegaConf.select(config, key, throw_on_missing=False)
            except OmegaConfBaseException as error:
                problems.append(_Problem(key, str(error).splitlines()[0]))
                return value
            value = OmegaConf.to_container(resolved, resolve=True) if OmegaConf.is_config(resolved) else resolved
        if key == MADE_BY_HYDRA and isinstance(value, str) and value.startswith("~/"):
            problems.append(_Problem(key, f"Hydra takes ~ for a name here; write ${{oc.env:HOME}}{value[1:]}"))
        return user_path(value) if isinstance(value, str) else value

    return cast(dict[str, Any], walk(config, plain, ""))


def _schema_problems(value: Any, kind: Any, key: str) -> list[_Problem]:
    """Unknown keys, missing values and wrong types below `key`."""
    if is_dataclass(kind):
        return _fields_problems(value, kind, key)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            return [_Problem(key, f"expected names with settings, found {value!r}")]
        item = get_args(kind)[1]
        return [p for k, v in value.items() for p in _item_problems(str(k), v, item, key, [*map(str, value)])]
    if isinstance(value, str) and value == REQUIRED:
        return [_Problem(key, MISSING)]
    if kind is Any:
        return []
    try:
        # OmegaConf's own conversion decides, so that the shell's "1e-5" is a float here as everywhere.
        holder = OmegaConf.structured(_holder(kind))
        holder.value = value
    except (OmegaConfBaseException, TypeError, ValueError):
        return [_Problem(key, f"expected {_readable(kind)}, found {value!r}")]
    return []


def _item_problems(name: str, value: Any, kind: Any, key: str, names: list[str]) -> list[_Problem]:
    """As `_schema_problems`; where a value is missing, another item may have been meant."""
    problems = _schema_problems(value, kind, f"{key}.{name}")
    near = get_close_matches(name, [other for other in names if other != name], n=1)
    hint = f", or did you mean '{key}.{near[0]}'?" if near else ""
    return [replace(p, what=f"{p.what}{hint}") if p.what == MISSING else p for p in problems]


def _fields_problems(value: Any, kind: Any, key: str) -> list[_Problem]:
    if not isinstance(value, dict):
        return [_Problem(key or "the configuration", f"expected settings, found {value!r}")]
    problems = []
    types = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    for name, item in value.items():
        path = f"{key}.{name}" if key else str(name)
        if name in names:
            problems += _schema_problems(item, types[name], path)
        elif path in OF_ALL_GROUPS:
            problems.append(_Problem(path, f"its settings belong to other groups: begin its file with {FOR_ALL}"))
        else:
            near = get_close_matches(str(name), names, n=1)
            problems.append(_Problem(path, "unknown key" + (f"; did you mean '{near[0]}'?" if near else "")))
    for field in fields(kind):
        path = f"{key}.{field.name}" if key else field.name
        if field.name not in value and is_dataclass(types[field.name]):
            problems += _fields_problems({}, types[field.name], path)
        elif field.name not in value and field.default == REQUIRED:
            problems.append(_Problem(path, MISSING, written=key))
    return problems


def _holder(kind: Any) -> type:
    return dataclass(type("Holder", (), {"__annotations__": {"value": kind}, "value": "???"}))


def _readable(kind: Any) -> str:
    parts = [_readable(part) for part in get_args(kind)]
    if get_origin(kind) is list:
        return f"a list of {parts[0]}"
    if parts:
        return " or ".join("null" if part == "NoneType" else part for part in parts)
    return str(getattr(kind, "__name__", kind))
