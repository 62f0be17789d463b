"""`--help` of the Hydra commands: their groups and three useful commands.

Hydra's own help copies its whole cache of configurations once for every group and takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import sparrow.conf

CONF_FOLDER = Path(sparrow.conf.__file__).parent
EXPERIMENTS = """\
  sparrow prepare experiment=quickstart                      what would each run see?
  sparrow train experiment=quickstart                        train and evaluate two arms, end with a table
  sparrow train -m experiment=quickstart seed=0,1,2          the same with three seeds"""
EVALUATIONS = """\
  sparrow evaluate checkpoint=RUN benchmark=[world_short,world_long] blind=true
  sparrow evaluate checkpoint=MODEL benchmark=[multiple_choice] benchmark.multiple_choice.file=mine.jsonl
  sparrow evaluate -m checkpoint=RUN benchmark=[world_long] frames.max_frames=4,8,16"""
DIVERSITIES = """\
  sparrow diversity mixture=sparrow                                      the components of a mixture
  sparrow diversity "+source=[longalpaca,qmsum]" num_instructions=1000   sources, whole
  sparrow diversity mixture=sparrow embedder=mpnet                       with the encoder of the paper"""
EVALUATE_GROUPS = ("benchmark", "experiment", "frames", "hydra/launcher", "paths", "trainer")


def help_text(command: str, purpose: str) -> str:
    """The help of `sparrow <command>`; `purpose` is its first line."""
    options = options_by_group()
    options["experiment"] = [name for name in options["experiment"] if _is_of_evaluate(name) == (command == "evaluate")]
    if command == "evaluate":
        options = {group: names for group, names in options.items() if group in EVALUATE_GROUPS}
    groups = "\n".join(f"  {group}: {', '.join(names)}" for group, names in options.items())
    examples = {"evaluate": EVALUATIONS, "diversity": DIVERSITIES}.get(command, EXPERIMENTS)
    return f"""{purpose}

usage: sparrow {command} [group=choice ...] [key=value ...] [-m]

Groups and their choices:
{groups}

Three useful commands:
{examples}

Any setting can be given as group=choice or key=value; `--cfg job` prints all of them, with `--resolve` resolved.
`-m` runs every combination of comma-separated values. `--hydra-help` tells what Hydra adds.
"""


def _is_of_evaluate(experiment: str) -> bool:
    return "sparrow evaluate" in (CONF_FOLDER / f"experiment/{experiment}.yaml").read_text(encoding="utf-8")


def options_by_group(folders: Iterable[Path] = (CONF_FOLDER,)) -> dict[str, list[str]]:
    """Names of the files in folders of settings, by group; those in folders below a group as `paper/main`.

    Hydra's own groups are two names deep, as `hydra/launcher`.
    """
    options: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml")):
            if path.parent == folder:
                continue
            parts = path.relative_to(folder).with_suffix("").parts
            depth = 2 if parts[0] == "hydra" else 1
            options.setdefault("/".join(parts[:depth]), []).append("/".join(parts[depth:]))
    return options
