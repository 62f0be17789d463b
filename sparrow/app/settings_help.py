"""The settings with their types, defaults and help, for `--help GROUP` and docs/settings.md.

`python -m sparrow.app.settings_help` prints that page.
"""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from sparrow.app.arguments import near_hint
from sparrow.app.help import CONF_FOLDER, choices, default_choices, options_of
from sparrow.app.launching.parallel import ParallelValues
from sparrow.app.launching.slurm import SlurmValues
from sparrow.app.trained_defaults import with_trained_defaults
from sparrow.core.errors import ConfigError
from sparrow.core.settings import REQUIRED, defaults, hints, readable
from sparrow.core.templating import render
from sparrow.runs.differences import leaves
from sparrow.settings import SCHEMAS

ITEM = "NAME"  # stands for what a user names
INDENT, MUST_BE_SET, QUOTE = " " * 4, "must be set", '"'
LAUNCHER_NAMES = ("launcher", "hydra/launcher", "hydra.launcher")
RECORDED = "the setting says only where or how fast a run happens. It stands in `run.json` and leaves `run_id` alone."


@dataclass(frozen=True)
class Described:
    """One setting as it is shown."""

    key: str
    kind: str
    default: str
    help: str
    recorded: bool


def described(
    schema: Any, prefix: str = "", *, recorded: bool = False, given: Mapping[str, Any] | None = None
) -> Iterator[Described]:
    """The settings of a class and of the classes in it, depth first; `given` are other defaults, by key."""
    types, plain, given = hints(schema), defaults(schema), given or {}
    for f in fields(schema):
        key, kind = f"{prefix}{f.name}", types[f.name]
        only_recorded = recorded or bool(f.metadata.get("recorded"))
        if is_dataclass(kind):
            yield from described(kind, f"{key}.", recorded=only_recorded, given=given)
        elif get_origin(kind) is dict and is_dataclass(get_args(kind)[1]):
            yield from described(get_args(kind)[1], f"{key}.{ITEM}.", recorded=only_recorded)
        else:
            unit = f" [{f.metadata['unit']}]" if f.metadata.get("unit") else ""
            text = f"{f.metadata.get('help', '')}{unit}"
            yield Described(
                key, readable(kind, limits=True), _written(given.get(key, plain[f.name])), text, only_recorded
            )


def command_settings(command: str) -> list[Described]:
    """The settings of a command, with the defaults of its default choices."""
    schema = SCHEMAS[command]
    plain = defaults(schema)
    given = dict(leaves(with_trained_defaults(plain))) if command == "evaluate" else {}
    for group, choice in sorted(default_choices(command)):
        path = CONF_FOLDER / group / f"{choice}.yaml"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if "# @package" not in text:
            given |= {key: value for key, value in leaves(yaml.safe_load(text) or {}, group) if value != []}
    return [*described(schema, given=given)]


def group_help(command: str, group: str, folders: Sequence[Path] = (CONF_FOLDER,)) -> str:
    """The settings of a group, wrapped to the terminal; of a group without settings of its own its choices.

    Raises:
        ConfigError: If the command has no such group, with a near one.
    """
    options = options_of(command, folders)
    if group in LAUNCHER_NAMES:
        return "\n\n".join(f"{title}\n{_wrapped(settings)}" for title, settings in _launchers().items())
    found = [setting for setting in command_settings(command) if _is_below(setting.key, group)]
    if not found and group in options:
        return choices(group, options[group], default_choices(command))
    if not found:
        hint = near_hint(group, [*hints(SCHEMAS[command]), *options, *LAUNCHER_NAMES])
        raise ConfigError(f"--help {group}: `sparrow {command}` has no such settings{hint}")
    return _wrapped(found)


def _launchers() -> dict[str, list[Described]]:
    """The settings of each launcher that has any, under the choice of it."""
    found = {}
    for name, schema in (("parallel", ParallelValues), ("slurm", SlurmValues)):
        values = yaml.safe_load((CONF_FOLDER / f"hydra/launcher/{name}.yaml").read_text(encoding="utf-8"))
        given = {f"hydra.launcher.{key}": value for key, value in values.items()}
        found[f"hydra/launcher={name}"] = [*described(schema, "hydra.launcher.", recorded=True, given=given)]
    return found


def _is_below(key: str, group: str) -> bool:
    """Whether a setting belongs to a group; a name of the user's own in the group matches any."""
    parts, wanted = key.split("."), group.split(".")
    return len(parts) >= len(wanted) and all(p in (ITEM, w) for p, w in zip(parts, wanted, strict=False))


def settings_page() -> str:
    """The page docs/settings.md: a table for each group, then what other commands have beside them."""
    parts, shown = [render("settings.md.jinja") + "\n"], set()
    for command in SCHEMAS:
        own = [setting for setting in command_settings(command) if setting not in shown]
        shown |= set(own)
        tables: dict[str, list[Described]] = {}
        for setting in own:
            group = setting.key.partition(".")[0] if "." in setting.key else "general"
            tables.setdefault(group if command == "train" else f"of `{command}` alone", []).append(setting)
        for title, settings in tables.items():
            parts += [f"## {title}\n", _markdown(settings)]
    for title, settings in _launchers().items():
        parts += [f"## `{title}`\n", _markdown(settings)]
    return "\n".join(parts)


def _markdown(settings: list[Described]) -> str:
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for setting in settings:
        kind, text = (part.replace("|", "\\|") for part in (setting.kind, setting.help))
        note = " *recorded*" if setting.recorded else ""
        rows.append(f"| `{setting.key}` | {kind} | {setting.default} | {text}{note} |")
    return "\n".join([*rows, ""])


def _wrapped(settings: list[Described]) -> str:
    width, lines = shutil.get_terminal_size((100, 24)).columns, []
    for setting in settings:
        default = setting.default if setting.default == MUST_BE_SET else f"default {setting.default}"
        text = setting.help + (" (recorded)" if setting.recorded else "")
        lines += textwrap.wrap(f"  {setting.key}: {setting.kind}, {default}", width, subsequent_indent=INDENT)
        lines += textwrap.wrap(text, width, initial_indent=INDENT, subsequent_indent=INDENT)
    if any(setting.recorded for setting in settings):
        lines += textwrap.wrap(f"(recorded): {RECORDED}", width)
    return "\n".join(lines)


def _written(default: Any) -> str:
    if default == REQUIRED:
        return MUST_BE_SET
    if isinstance(default, str) and (found := re.search(r"\$\{(as_trained|oc\.env):([\w.]+),([^}]*)\}", default)):
        return f"{'as trained' if found[1] == 'as_trained' else f'${found[2]}'}, else {found[3].strip(QUOTE)}"
    if isinstance(default, list | tuple):
        return f"[{', '.join(map(str, default))}]"
    return json.dumps(default) if default in (None, "") or isinstance(default, bool) else str(default)


if __name__ == "__main__":
    print(settings_page())
