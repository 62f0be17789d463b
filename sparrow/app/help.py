"""`--help` of the Hydra commands: their groups and three useful commands.

Hydra's own help copies its whole cache of configurations once for every group and takes seconds.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import yaml

import sparrow.conf
from sparrow.core.templating import render

CONF_FOLDER = Path(sparrow.conf.__file__).parent
# The groups in the order of a study: what is asked, data, model, run, evaluation, machine.
ORDER = (
    *("experiment", "scale", "source", "mixture", "text_to_image", "frames", "embedder"),
    *("backbone", "tuning", "optimizer", "schedule", "batching", "validation"),
    *("benchmark", "evaluation", "logger", "checkpointing"),
    *("trainer", "strategy", "paths", "hydra/launcher"),
)
WORLD = "world/"
EVALUATE_GROUPS = ("benchmark", "experiment", "frames", "hydra/launcher", "paths", "trainer")


def help_text(command: str, purpose: str, folders: Sequence[Path] = (CONF_FOLDER,)) -> str:
    """The help of `sparrow <command>`, with the choices of all folders; `purpose` is its first line."""
    options, defaults = options_of(command, folders), default_choices(command)
    ordered = dict.fromkeys([*filter(options.__contains__, ORDER), *options])
    shown = {group: [n for n in options[group] if not n.startswith(WORLD)] for group in ordered}
    world = {group: [n.removeprefix(WORLD) for n in options[group] if n.startswith(WORLD)] for group in ordered}
    groups = "\n".join(choices(group, names, defaults) for group, names in shown.items())
    of_world = "\n".join(choices(f"{group}={WORLD}", names, set()) for group, names in world.items() if names)
    text = render("help.txt.jinja", command=command, purpose=purpose, groups=groups, of_world=of_world)
    shorter: dict[str, Callable[[str], str]] = {"purpose": wrapped, "text": wrapped, "example": _example}
    lines = (line.partition("|") for line in text.splitlines())
    return "".join(f"{shorter[kind](line) if kind in shorter else kind + bar + line}\n" for kind, bar, line in lines)


def default_choices(command: str) -> set[tuple[str, str]]:
    """The group and the choice of each default of a command."""
    content = yaml.safe_load((CONF_FOLDER / f"{command}.yaml").read_text(encoding="utf-8"))
    found = {("hydra/launcher", "sequential")}
    for entry in content["defaults"]:
        if isinstance(entry, dict):
            ((group, chosen),) = entry.items()
            name = group.removeprefix("override ").lstrip("/")
            found |= {(name, str(choice)) for choice in (chosen if isinstance(chosen, list) else [chosen])}
        elif (CONF_FOLDER / f"{entry}.yaml").is_file():
            found |= default_choices(entry)
    return found


def choices(group: str, names: Sequence[str], defaults: set[tuple[str, str]]) -> str:
    """A group and its choices, wrapped to the terminal, those by default with a star."""
    return wrapped(f"{group}: {', '.join(f'{n}*' if (group, n) in defaults else n for n in names)}", "  ")


def wrapped(text: str, indent: str = "", ending: str = "") -> str:
    """A text wrapped to the terminal, further lines indented; each but the last has an ending."""
    width = shutil.get_terminal_size((100, 24)).columns - len(ending)
    lines = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent * 3, break_long_words=False, break_on_hyphens=False
    )
    return f"{ending}\n".join(lines)


def _example(line: str) -> str:
    """A command and what it does, which stands above the command where one line is too short for both."""
    command, _, note = line.strip().partition("   ")
    if len(line) <= shutil.get_terminal_size((100, 24)).columns:
        return line
    return "\n".join([*[wrapped(f"# {note.strip()}", "  ")] * bool(note), wrapped(command, "  ", " \\")])


def options_of(command: str, folders: Sequence[Path]) -> dict[str, list[str]]:
    """The groups of a command and their choices."""

    def is_of_evaluate(experiment: str) -> bool:
        files = (folder / f"experiment/{experiment}.yaml" for folder in folders)
        return "sparrow evaluate" in next(filter(Path.is_file, files)).read_text(encoding="utf-8")

    options, evaluates = options_by_group(folders), command == "evaluate"
    options["experiment"] = [name for name in options["experiment"] if is_of_evaluate(name) == evaluates]
    return {group: names for group, names in options.items() if not evaluates or group in EVALUATE_GROUPS}


def options_by_group(folders: Iterable[Path] = (CONF_FOLDER,)) -> dict[str, list[str]]:
    """Names of the files in folders of settings, by group; those in folders below a group as `paper/main`."""
    options: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/**/*.yaml")):
            parts = path.relative_to(folder).with_suffix("").parts
            depth = 2 if parts[0] == "hydra" else 1  # as in hydra/launcher
            options.setdefault("/".join(parts[:depth]), []).append("/".join(parts[depth:]))
    return options
