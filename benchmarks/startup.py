"""Measures how much processor time the commands take to begin, and which large libraries they import.

Usage: python benchmarks/startup.py [--repeat 3] [--folder FOLDER]

Every command runs in a process of its own, after one that fills the caches; the least time of all repetitions counts.
With `PYTHONPATH` set to another checkout, that one is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = ("torch", "transformers", "pytorch_lightning", "datasets")
MEASURED = """
import atexit, json, os, resource, sys

def write():
    seconds = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    with open(os.environ["MEASURED"], "w") as file:
        json.dump({"seconds": seconds, "modules": [name for name in sys.modules if "." not in name]}, file)

atexit.register(write)
from sparrow.cli import main
sys.argv = ["sparrow", *sys.argv[1:]]
main()
"""
SMOKE = (
    *("scale=tiny", "mixture=world_video", "sample_divisor=1", "mixture.num_samples=96", "world.num_clips=96"),
    *("world.num_stills=0", "world.num_pages=0", "world.num_event_texts=0", "world.num_benchmark_clips=8"),
    "benchmark=[world_short]",
)
RUNS = ("a", "b")
COMMANDS = {
    "`--help`": ("train", "--help"),
    "a wrong value": ("train", *SMOKE, "optimizer.learning_rate=-1"),
    "a contradiction": ("train", *SMOKE, "strategy=fsdp", "optimizer=adafactor"),
    "`prepare`": ("prepare", *SMOKE, "hydra.run.dir=prepared"),
    "`preview`": ("preview", *SMOKE, "hydra.run.dir=previewed"),
    "`report`": ("report", ".", "--out", "report"),
    "`compare`": ("compare", *RUNS),
    "`rescore`": ("rescore", RUNS[0]),
}


REFUSED = ("a wrong value", "a contradiction")


def measured(arguments: tuple[str, ...], folder: Path, *, status: int = 0) -> tuple[float, list[str]]:
    """Processor seconds of a command and its children, and which of the libraries it imported."""
    path = folder / "measured.json"
    path.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments],
        cwd=folder,
        env={**os.environ, "MEASURED": str(path)},
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode != status:
        sys.exit(f"sparrow {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    found = json.loads(path.read_text())
    return found["seconds"], [name for name in LIBRARIES if name in found["modules"]]


def main() -> None:
    """Train two tiny runs, then measure all commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the two runs are kept; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for seed, run in enumerate(RUNS):
            if not (folder / run / "run.json").is_file():
                measured(("train", *SMOKE, f"hydra.run.dir={run}", f"seed={seed}"), folder)
        print("| command | CPU s | imports |\n|---|---|---|")
        for name, arguments in COMMANDS.items():
            found = [measured(arguments, folder, status=int(name in REFUSED)) for _ in range(given.repeat + 1)][1:]
            print(f"| {name} | {min(found)[0]:.1f} | {', '.join(found[0][1]) or 'none'} |", flush=True)


if __name__ == "__main__":
    main()
