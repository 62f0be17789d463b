"""The training benchmark runs, all its ways learn the same, and none needs what a bare GPU machine lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ["--steps", "1", "--warmup", "1", "--repeats", "1", "--batch", "4", "--divisor", "24"]


@pytest.mark.slow
def test_the_ways_of_the_training_benchmark_begin_with_one_loss(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/training.py"), *SMALL, "--ways", "released", "sparrow"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "Losses of the first step agree" in done.stdout
    assert "sparrow loaded" not in done.stdout, "hydra, decord and datasets stay out"
