"""The `sparrow` command: finds the command's module and runs it as `__main__`."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from difflib import get_close_matches

from sparrow import __version__

COMMANDS = {
    "train": "fine-tune a backbone on a mixture, evaluate it before and after",
    "evaluate": "ask a checkpoint the questions of benchmarks",
    "prepare": "plan a mixture: counts, tokens, steps, rejected samples; nothing is trained",
    "preview": "one HTML page of samples as the model gets them",
    "diversity": "how diverse instructions are: metrics, clusters, pictures",
    "export": "a run's model as a Hugging Face folder, with a model card",
    "report": "tables and plots over folders of runs",
    "compare": "what differs between two runs in settings, data and scores",
    "rescore": "recompute a run's scores from its stored predictions, without a model",
    "ask": "one question about one video: the reply, the frames, the options weighed",
}


def main() -> None:
    """Run `sparrow.<command>` as `__main__`, so that processes started by it find the same module by its name."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: sparrow COMMAND ...\n")
        for name, purpose in COMMANDS.items():
            print(f"  {name:<10}{purpose}")
        print("\n`sparrow COMMAND --help` tells more.")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1] == "--version":
        print(f"sparrow {__version__}")
        return
    command = sys.argv.pop(1)
    if command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(COMMANDS)}"
        sys.exit(f"sparrow: unknown command '{command}'; {hint}")
    module = f"sparrow.{command}"
    assert importlib.util.find_spec(module) is not None
    sys.argv[0] = f"sparrow {command}"
    runpy.run_module(module, run_name="__main__", alter_sys=True)
