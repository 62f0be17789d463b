"""The `sparrow` command line: one table of the commands; `python -m sparrow COMMAND` is the same."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from sparrow import __version__


@dataclass(frozen=True)
class Command:
    """What a command is for, and what reads its command line: Hydra or argparse."""

    purpose: str
    kind: Literal["hydra", "argparse"]


COMMANDS = {
    "train": Command("fine-tune a backbone on a mixture, evaluate it before and after", "hydra"),
    "evaluate": Command("ask a checkpoint the questions of benchmarks", "hydra"),
    "prepare": Command("plan a mixture: counts, tokens, steps, rejected samples; nothing is trained", "hydra"),
    "preview": Command("one HTML page of samples as the model gets them", "hydra"),
    "diversity": Command("how diverse instructions are: metrics, clusters, pictures", "hydra"),
    "export": Command("a run's model as a Hugging Face folder, with a model card", "argparse"),
    "report": Command("tables and plots over folders of runs", "argparse"),
    "compare": Command("what differs between two runs in settings, data and scores", "argparse"),
    "rescore": Command("recompute a run's scores from its stored predictions, without a model", "argparse"),
    "ask": Command("one question about one video: the reply, the frames, the options weighed", "argparse"),
}


def main() -> None:
    """Run the command that is named on the command line.

    `sys.argv` keeps the command, so that processes which Lightning starts by it run the same one.
    """
    name, *arguments = sys.argv[1:] or [""]
    if name in ("", "-h", "--help"):
        print("usage: sparrow COMMAND ...\n")
        for command, described in COMMANDS.items():
            print(f"  {command:<10}{described.purpose}")
        print("\n`sparrow COMMAND --help` tells more.")
        sys.exit(0 if name else 2)
    if name == "--version":
        print(f"sparrow {__version__}")
        return
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(COMMANDS)}"
        sys.exit(f"sparrow: unknown command '{name}'; {hint}")
    if COMMANDS[name].kind == "hydra":
        from sparrow.app.entry import run_app

        run_app(name, arguments, COMMANDS[name].purpose)
    else:
        from sparrow import argparse_commands

        sys.exit(getattr(argparse_commands, name)(arguments))
