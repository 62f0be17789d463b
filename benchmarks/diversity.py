"""Time and memory of measuring and selecting among 200,000 instructions.

Usage: python benchmarks/diversity.py [--instructions 200000] [--selected 30000]

Every stage runs in a process of its own on the vectors that the first one keeps. Memory is the peak resident size of
the process, imports included. One half of the instructions follow a few templates, as captions of videos do; the other
half are questions in different words.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from sparrow.instructions.corpus import make_corpus
from sparrow.instructions.diagnostics import cluster, nearest_distances
from sparrow.instructions.embedding import embed
from sparrow.instructions.metrics import estimate
from sparrow.instructions.selection import SELECTIONS, select
from sparrow.instructions.settings import METRICS, Embedder

SAMPLE = 5_000


def instructions(number: int) -> list[str]:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(2, 9))) for _ in range(20_000)]
    frequent = [1 / (rank + 10) for rank in range(len(words))]
    starts = ["Describe the video in detail, and the", "What happens in the video after the", "Is there a"]
    made = []
    for i in range(number):
        if i % 2:
            made.append(f"{rng.choice(starts)} {rng.choice(words[:3_000])} {rng.choice(words[:300])}?")
        else:
            made.append(" ".join(rng.choices(words, frequent, k=rng.randint(6, 18))) + "?")
    return made


def stage(name: str, folder: Path, number: int, num_selected: int) -> str:
    """Carry out one stage; returns what it did."""
    texts = instructions(number)
    ids = [f"s{i}" for i in range(number)]
    started, used = time.perf_counter(), time.process_time()
    vectors = embed(texts, Embedder(), cache_root=folder)
    if name == "embed":
        told = f"{vectors.shape[0]:,} x {vectors.shape[1]}"
    else:
        started, used = time.perf_counter(), time.process_time()
    if name == "metrics of all":
        corpus = make_corpus(texts, vectors)
        told = ", ".join(f"{key} {metric(corpus):.3g}" for key, metric in METRICS.items())
    elif name == "metrics of a sample":
        estimate(make_corpus(texts[:SAMPLE], vectors[:SAMPLE]), 100)
        told = f"{SAMPLE:,} with 100 resamples"
    elif name == "clusters":
        told = f"{cluster({'all': vectors}, 50, 0)['all'].effective_clusters:.1f} effective of 50"
    elif name == "nearest":
        told = f"{SAMPLE:,} to all: {nearest_distances(vectors[:SAMPLE], vectors[SAMPLE:]).mean():.3f}"
    elif name in SELECTIONS:
        wanted = num_selected if name == "kcenter" else number
        order = list(islice(select(name, ids, vectors, 0), wanted))
        told = f"first {len(order):,}"
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return f"{name:22}{seconds:9.1f} s{processor:9.1f} s of processors{peak:8.0f} MB  {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instructions", type=int, default=200_000)
    parser.add_argument("--selected", type=int, default=30_000, help="how many kcenter chooses; the others order all")
    parser.add_argument("--stage", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        name, folder = arguments.stage
        print(stage(name, Path(folder), arguments.instructions, arguments.selected))
        return
    print(f"{arguments.instructions:,} instructions, {os.cpu_count()} cores, NumPy {np.__version__}")
    sizes = ["--instructions", str(arguments.instructions), "--selected", str(arguments.selected)]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("embed", "metrics of all", "metrics of a sample", "clusters", "nearest", *SELECTIONS):
            subprocess.run([sys.executable, __file__, *sizes, "--stage", name, folder], check=True)


if __name__ == "__main__":
    main()
