"""What is typed on the command line, checked by name before Hydra composes it.

Hydra stops at the first name that it does not know and offers none that is near.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass, make_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from sparrow.app.help import CONF_FOLDER, EVALUATE_GROUPS, options_by_group
from sparrow.app.renamed import RENAMED
from sparrow.app.sweeps import values_of
from sparrow.core.errors import BackboneError, ConfigError
from sparrow.core.settings import without_null
from sparrow.core.tables import counted
from sparrow.models.registry import refuse_without_port
from sparrow.runs.differences import leaves
from sparrow.settings import EvaluateConfig

OTHER_LAUNCHERS = {"basic": "sequential", "joblib": "parallel", "submitit_local": "parallel", "submitit_slurm": "slurm"}
HYDRA = make_dataclass("Hydra", [("hydra", HydraConf)])
MULTIRUN = ("--multirun", "-m")
SHOWING = ("--cfg", "-c", "--info", "-i")
MAX_NAMED_OPTIONS = 30
SAME_LAST_NAME = 0.2  # how near a key with the same last name has to be
OF_ALL_GROUPS = ("experiment", "scale")  # groups whose files set what other groups hold
FOR_ALL = "the line '# @package _global_'"


def check_arguments(
    arguments: Sequence[str], schema: Any, further: Callable[[list[str]], list[str]] = lambda overrides: []
) -> None:
    """Check flags, then names of settings and groups, and the choices of groups, swept ones too.

    `further` finds what else is wrong with overrides whose names are known, as lines.

    Raises:
        ConfigError: With every flag or name that is not known, and one that is near; or if a multirun is to be shown,
            or the folder of settings is not there.
    """
    flags = {argument.partition("=")[0] for argument in arguments}
    if flags & set(MULTIRUN) and (showing := flags & set(SHOWING)):
        raise ConfigError(f"{min(showing)} shows the settings of one job: leave out {min(flags & set(MULTIRUN))}")
    parser = get_args_parser()
    known, rest = parser.parse_known_intermixed_args(arguments)
    folders = [Path(known.config_dir)] if known.config_dir is not None else []
    unknown = [flag.partition("=")[0] for flag in rest if flag.startswith("-")]
    problems = [f"{flag}: there is no such flag{near_hint(flag, [*parser._option_string_actions])}" for flag in unknown]
    problems += [f"--config-dir={folder}: there is no such folder" for folder in folders if not folder.is_dir()]
    _refuse(problems)
    overrides = [override for override in known.overrides if "=" in override]
    problems = unknown_names(overrides, [CONF_FOLDER, *folders], schema)
    if problems:
        good = [override for override in overrides if not unknown_names([override], [CONF_FOLDER, *folders], schema)]
        wrong = {override.lstrip("+~").partition("=")[0].partition(".")[0] for override in {*overrides} - {*good}}
        search = [f"+hydra.searchpath={[f'file://{folder.absolute()}' for folder in folders]}"]
        typed = {override.lstrip("+~").partition("=")[0] for override in good}
        # What is left out may be missed below its group and by the study.
        problems += [
            line
            for line in further([*_first_jobs(good), *search])
            if line.partition(".")[0] not in {*wrong, "study"} or line.partition(":")[0] in typed
        ]
    _refuse(problems)


def _first_jobs(overrides: Sequence[str]) -> list[str]:
    """The overrides with the first value of what is swept, those of the first job."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    swept = {place: next(iter(o.sweep_string_iterator())) for place, o in enumerate(parsed) if values_of(o)}
    return [f"{text.partition('=')[0]}={swept[i]}" if i in swept else text for i, text in enumerate(overrides)]


def flags_apart(arguments: Sequence[str]) -> list[str]:
    """The arguments with the flags and their values behind all overrides, which Hydra takes in one piece alone."""
    known, _ = get_args_parser().parse_known_intermixed_args(arguments)
    flags = [*arguments]
    for override in known.overrides:
        flags.remove(override)
    return [*known.overrides, *flags]


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigError("\n  ".join([f"{counted(len(problems), 'problem')} on the command line:", *problems]))


def unknown_names(overrides: Sequence[str], folders: Sequence[Path], schema: Any) -> list[str]:
    """Every name of a setting, a group or a choice that is not known, with one that is near."""
    options = options_by_group(folders)
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException:
        return []  # they cannot be read at all, which Hydra says best itself
    if any(override.get_key_element() == "hydra.searchpath" for override in parsed):
        return []  # there may be more to choose from than is seen here
    return [*dict.fromkeys(p for override in parsed for p in _problems(override, options, schema, folders))]


def _problems(
    override: Override, options: Mapping[str, list[str]], schema: Any, folders: Sequence[Path]
) -> Iterator[str]:
    key = override.get_key_element().lstrip("+~").partition("@")[0]
    if key.partition("/")[0].partition(".")[0] == "hydra":
        yield from _hydra_problems(key, override, options, folders)
    elif key in options_by_group() and key not in (groups := offered(options, schema)):
        yield f"{key}: this command has no such group; there are {listed(groups)}"
    elif key in options and not override.is_delete():
        for choice in _choices(override):
            if isinstance(choice, dict):
                below = (unknown_key(f"{key}.{name}", schema, []) for name, _ in leaves(choice))
                yield from filter(None, below)
            elif choice is None:
                several = is_dataclass(schema) and get_origin(get_type_hints(schema).get(key)) is dict
                remedy = f"use {key}=[]" if several else f"leave it out, or choose one of {listed(options[key])}"
                yield f"{key}=null: a group cannot be null; {remedy}"
            elif choice not in options[key] and choice not in RENAMED.get(key, {}):
                yield f"{key}={choice}: {_no_choice(key, str(choice), options[key])}"
            elif key in OF_ALL_GROUPS:
                files = [path for folder in folders if (path := folder / key / f"{choice}.yaml").is_file()]
                if "# @package" not in files[0].read_text(encoding="utf-8"):
                    yield f"{key}={choice}: begin {files[0]} with {FOR_ALL}"
    elif key not in options and (unknown := unknown_key(key, schema, offered(options, schema))) is not None:
        yield unknown


def _hydra_problems(
    key: str, override: Override, options: Mapping[str, list[str]], folders: Sequence[Path]
) -> Iterator[str]:
    """Misspelt settings of Hydra and of the launchers."""
    launchers, parts = options["hydra/launcher"], key.split(".")
    if key == "hydra/launcher":
        yield from (no_launcher(str(c), launchers) for c in _choices(override) if c not in launchers)
    elif parts[:2] == ["hydra", "launcher"] and len(parts) > 2:
        files = [path for folder in folders for path in (folder / "hydra/launcher").glob("*.yaml")]
        known = dict.fromkeys(name for path in files for name in yaml.safe_load(path.read_text(encoding="utf-8")))
        if parts[2] not in known:
            yield f"{key}: unknown key{near_hint(parts[2], [name for name in known if name != '_target_'])}"
    elif "." in key and "/" not in key and (unknown := unknown_key(key, HYDRA, [])) is not None:
        yield unknown


def no_launcher(choice: str, known: Sequence[str]) -> str:
    """What is wrong with a launcher that is not Sparrow's, and which one stands in its place."""
    if choice in OTHER_LAUNCHERS:
        return f"hydra/launcher={choice}: Sparrow has its own in its place: hydra/launcher={OTHER_LAUNCHERS[choice]}"
    return f"hydra/launcher={choice}: there is no such choice{near_hint(choice, known)}"


def _no_choice(group: str, choice: str, known: list[str]) -> str:
    if group == "backbone":
        try:
            refuse_without_port(choice)
        except BackboneError as error:
            return str(error)
    return f"there is no such choice{near_hint(choice, known)}"


def _choices(override: Override) -> Iterator[Any]:
    """What is chosen of a group, of all jobs of a sweep; a dictionary gives it settings."""
    for value in values_of(override) if override.is_sweep_override() else [override.value()]:
        yield from value if isinstance(value, list) else [value]


def offered(groups: Iterable[str], schema: Any) -> list[str]:
    """Groups that the command with this schema has."""
    return [group for group in groups if schema is not EvaluateConfig or group in EVALUATE_GROUPS]


def unknown_key(key: str, kind: Any, groups: Sequence[str]) -> str | None:
    """What is wrong with the name of a setting, if anything is; `groups` may have been meant."""
    names, whole = key.split("."), kind
    for place, name in enumerate(names):
        kind = without_null(kind)
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif is_dataclass(kind):
            fields = get_type_hints(kind)
            if name not in fields:
                wrong = f"{'.'.join(names[: place + 1])}: unknown key"
                # A setting may stand elsewhere in this command, as evaluation.blind is blind where all is evaluation.
                elsewhere = [known for known in _keys(whole) if known.rpartition(".")[2] == names[-1]]
                if meant := get_close_matches(key, elsewhere, n=3 if key == name else 1, cutoff=SAME_LAST_NAME):
                    return f"{wrong}; did you mean {' or '.join(map(repr, meant))}?"
                return f"{wrong}{near_hint(name, [*fields, *(groups if place == 0 else [])])}"
            kind = fields[name]
        elif any(part in (Any, dict) or is_dataclass(part) for part in (kind, get_origin(kind), *get_args(kind))):
            return None
        else:
            return f"{'.'.join(names[:place])}: has no settings below it"
    return None


def _keys(schema: Any, prefix: str = "") -> Iterator[str]:
    """The settings of a class and of the classes in it, without those of items that users name."""
    for name, kind in get_type_hints(schema).items():
        yield f"{prefix}{name}"
        if is_dataclass(kind := without_null(kind)):
            yield from _keys(kind, f"{prefix}{name}.")


def near(name: str, known: Sequence[str]) -> str | None:
    """The nearest name, also by its last part."""
    by_name = {full.rpartition("/")[2]: full for full in known} | {full: full for full in known}
    found = get_close_matches(name, by_name, n=1)
    return by_name[found[0]] if found else None


def near_hint(name: str, known: Sequence[str]) -> str:
    """A hint at the name that was meant, or at what there is."""
    found = near(name, known)
    return f"; did you mean '{found}'?" if found else f"; there are {listed(known)}"


def listed(known: Iterable[str]) -> str:
    """Names for a message, each once."""
    names = [*dict.fromkeys(known)]
    return ", ".join([*names[:MAX_NAMED_OPTIONS], *["…"] * (len(names) > MAX_NAMED_OPTIONS)])
