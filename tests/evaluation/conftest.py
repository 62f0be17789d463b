"""What the tests of evaluation share: small benchmarks on disk, and settings to ask a tiny model with."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparrow.settings import EvaluateConfig
from tests.evaluation.benchmark_folders import FIXTURES, MEDIA_ROOTS, MISSING, OFFICIAL, questions_of, write_video


@pytest.fixture(scope="session")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with all five benchmarks; of each one video is missing."""
    root = tmp_path_factory.mktemp("benchmarks")
    for name in OFFICIAL:
        shutil.copytree(FIXTURES / name, root / name)
        for video in {question.video for question in questions_of(name)} - {MISSING[name]}:
            assert video is not None
            write_video(root / name / MEDIA_ROOTS[name] / video)
    return root


@pytest.fixture
def evaluate_overrides(benchmarks: Path, tiny_checkpoint: Callable[[str], Path]) -> list[str]:
    """Overrides of `sparrow evaluate` for a quick look at the five benchmarks."""
    return [
        f"checkpoint={tiny_checkpoint('idefics3')}",
        f"paths.data_root={benchmarks}",
        "frames.max_frames=4",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.num_threads=1",
    ]


@pytest.fixture
def evaluate_settings(settings: Callable, evaluate_overrides: list[str]) -> Callable[..., EvaluateConfig]:
    """Checked settings of `sparrow evaluate`."""
    return lambda *more: settings(
        *evaluate_overrides, *more, config_name="evaluate", schema=EvaluateConfig, small=False
    )
