"""`--help` of the Hydra commands: their groups and three useful commands.

Hydra's own help copies its whole cache of configurations once for every group and takes seconds.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path

import yaml

import sparrow.conf

CONF_FOLDER = Path(sparrow.conf.__file__).parent
EXPERIMENTS = """\
  sparrow prepare experiment=quickstart               what would each run see?
  sparrow train experiment=quickstart                 train and evaluate two arms, end with a table
  sparrow train -m experiment=quickstart seed=0,1,2   the same with three seeds"""
EVALUATIONS = """\
  sparrow evaluate checkpoint=RUN benchmark=[world/short,world/long] blind=true
  sparrow evaluate checkpoint=MODEL benchmark=[multiple_choice] benchmark.multiple_choice.file=mine.jsonl
  sparrow evaluate -m checkpoint=RUN benchmark=[world/long] frames.max_frames=4,8,16"""
DIVERSITIES = """\
  sparrow diversity mixture=sparrow                                      the components of a mixture
  sparrow diversity "+source=[longalpaca,qmsum]" num_instructions=1000   sources, whole
  sparrow diversity mixture=sparrow embedder=mpnet                       with the encoder of the paper"""
# The groups in the order of a study: what is asked, data, model, run, evaluation, machine.
ORDER = (
    *("experiment", "scale", "source", "mixture", "text_to_image", "frames", "embedder"),
    *("backbone", "tuning", "optimizer", "schedule", "batching", "validation"),
    *("benchmark", "evaluation", "logger", "checkpointing"),
    *("trainer", "strategy", "paths", "hydra/launcher"),
)
WORLD = "world/"
EVALUATE_GROUPS = ("benchmark", "experiment", "frames", "hydra/launcher", "paths", "trainer")


def help_text(command: str, purpose: str) -> str:
    """The help of `sparrow <command>`; `purpose` is its first line."""
    options, defaults = options_by_group(), default_choices(command)
    options["experiment"] = [name for name in options["experiment"] if _is_of_evaluate(name) == (command == "evaluate")]
    if command == "evaluate":
        options = {group: names for group, names in options.items() if group in EVALUATE_GROUPS}
    ordered = dict.fromkeys([*filter(options.__contains__, ORDER), *options])
    shown = {group: [n for n in options[group] if not n.startswith(WORLD)] for group in ordered}
    world = {group: [n.removeprefix(WORLD) for n in options[group] if n.startswith(WORLD)] for group in ordered}
    groups = "\n".join(_listed(group, names, defaults) for group, names in shown.items())
    of_world = "\n".join(_listed(f"{group}={WORLD}", names, set()) for group, names in world.items() if names)
    examples = {"evaluate": EVALUATIONS, "diversity": DIVERSITIES}.get(command, EXPERIMENTS)
    return f"""{purpose}

usage: sparrow {command} [group=choice ...] [key=value ...] [-m]

Groups and their choices, * by default; `sparrow {command} --help GROUP` explains the settings of one:
{groups}

Choices of the generated world and its studies, as in benchmark=world/short:
{of_world}

Three useful commands:
{examples}

Any setting can be given as group=choice or key=value; `--cfg job` prints all of them.
`-m` runs every combination of comma-separated values. `--hydra-help` shows what Hydra adds.
"""


def default_choices(command: str) -> set[tuple[str, str]]:
    """The group and the choice of each default of a command."""
    content = yaml.safe_load((CONF_FOLDER / f"{command}.yaml").read_text(encoding="utf-8"))
    found: set[tuple[str, str]] = set()
    for entry in content["defaults"]:
        if isinstance(entry, dict):
            ((group, chosen),) = entry.items()
            name = group.removeprefix("override ").lstrip("/")
            found |= {(name, str(choice)) for choice in (chosen if isinstance(chosen, list) else [chosen])}
        elif (CONF_FOLDER / f"{entry}.yaml").is_file():
            found |= default_choices(entry)
    return found


def _listed(group: str, names: list[str], defaults: set[tuple[str, str]]) -> str:
    marked = [f"{name}*" if (group, name) in defaults else name for name in names]
    wrapper = textwrap.TextWrapper(shutil.get_terminal_size((100, 24)).columns, "  ", " " * 6)
    wrapper.break_long_words = wrapper.break_on_hyphens = False
    return wrapper.fill(f"{group}: {', '.join(marked)}")


def _is_of_evaluate(experiment: str) -> bool:
    return "sparrow evaluate" in (CONF_FOLDER / f"experiment/{experiment}.yaml").read_text(encoding="utf-8")


def options_by_group(folders: Iterable[Path] = (CONF_FOLDER,)) -> dict[str, list[str]]:
    """Names of the files in folders of settings, by group; those in folders below a group as `paper/main`."""
    options: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/**/*.yaml")):
            parts = path.relative_to(folder).with_suffix("").parts
            depth = 2 if parts[0] == "hydra" else 1  # as in hydra/launcher
            options.setdefault("/".join(parts[:depth]), []).append("/".join(parts[depth:]))
    return options
