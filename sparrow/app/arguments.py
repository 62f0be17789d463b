"""What is typed on the command line, checked by name before Hydra composes it.

Hydra stops at the first name that it does not know and offers none that is near.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from sparrow.app.help import CONF_FOLDER, options_by_group
from sparrow.app.sweeps import values_of
from sparrow.core.errors import BackboneError, ConfigError
from sparrow.models.registry import refuse_without_port

CONFIG_DIR = ("--config-dir", "-cd")
MULTIRUN = ("--multirun", "-m")
SHOWING = ("--cfg", "-c", "--info", "-i")
MAX_NAMED_OPTIONS = 30


def check_arguments(arguments: Sequence[str], schema: Any) -> None:
    """Check names of settings and groups, and the choices of groups, swept ones too.

    Args:
        arguments: What stands behind the command.
        schema: Dataclass of the command's settings.

    Raises:
        ConfigError: With every name that is not known, and one that is near; or if a multirun is to be shown.
    """
    flags = {argument.partition("=")[0] for argument in arguments}
    if flags & set(MULTIRUN) and (showing := flags & set(SHOWING)):
        raise ConfigError(f"{min(showing)} shows the settings of one job: leave out {min(flags & set(MULTIRUN))}")
    folders = [Path(after) for flag, after in pairwise(arguments) if flag in CONFIG_DIR]
    folders += [Path(a.partition("=")[2]) for a in arguments if a.partition("=")[0] in CONFIG_DIR and "=" in a]
    options = options_by_group([CONF_FOLDER, *folders])
    try:
        overrides = OverridesParser.create().parse_overrides([a for a in arguments if "=" in a and a[0] != "-"])
    except HydraException:
        return  # what cannot be read at all, Hydra says best itself
    if any(override.get_key_element() == "hydra.searchpath" for override in overrides):
        return  # there may be more to choose from than is seen here
    problems = [problem for override in overrides for problem in _problems(override, options, schema)]
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{count} on the command line:\n  " + "\n  ".join(problems))


def _problems(override: Override, options: Mapping[str, list[str]], schema: Any) -> Iterator[str]:
    key = override.get_key_element().lstrip("+~").partition("@")[0]
    if key.partition("/")[0].partition(".")[0] == "hydra":
        return
    if key in options and not override.is_delete():
        for choice in _choices(override):
            if choice not in options[key]:
                yield f"{key}={choice}: {_no_choice(key, choice, options[key])}"
    elif key not in options and (unknown := _unknown(key, schema, [*options])) is not None:
        yield unknown


def _no_choice(group: str, choice: str, known: list[str]) -> str:
    if group == "backbone":
        try:
            refuse_without_port(choice)
        except BackboneError as error:
            return str(error)
    return f"there is no such choice{_near(choice, known)}"


def _choices(override: Override) -> Iterator[str]:
    """Names that are chosen of a group, of all jobs of a sweep."""
    for value in values_of(override) if override.is_sweep_override() else [override.value()]:
        for choice in value if isinstance(value, list) else [value]:
            if isinstance(choice, str):
                yield choice


def _unknown(key: str, kind: Any, groups: list[str]) -> str | None:
    """What is wrong with the name of a setting, if anything is."""
    names = key.split(".")
    for place, name in enumerate(names):
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif is_dataclass(kind):
            fields = get_type_hints(kind)
            if name not in fields:
                near = _near(name, [*fields, *(groups if place == 0 else [])])
                return f"{'.'.join(names[: place + 1])}: unknown key{near}"
            kind = fields[name]
        else:
            return None
    return None


def _near(name: str, known: list[str]) -> str:
    """A hint at the name that was meant: the nearest one, also by its last part, or what there is."""
    by_name = {short: full for full in known for short in (full.rpartition("/")[2], full)}
    near = get_close_matches(name, by_name, n=1)
    return f"; did you mean '{by_name[near[0]]}'?" if near else f"; there are {', '.join(known[:MAX_NAMED_OPTIONS])}"
