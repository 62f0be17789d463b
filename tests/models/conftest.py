"""Tiny backbones, one a family, that the tests of a session share."""

from __future__ import annotations

import numpy as np
import pytest

from sparrow.models.backbone import Backbone
from sparrow.models.loading import load_backbone
from sparrow.models.registry import FAMILIES, NATIVE_VIDEO

FRAME_SIZE_PX = 64


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `family` runs once for each that `--family` chooses; with `video_family`, of those with video."""
    chosen = metafunc.config.getoption("--family")
    families = sorted(FAMILIES) if chosen == "all" else [chosen]
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", families, scope="session")
    if "video_family" in metafunc.fixturenames:
        metafunc.parametrize("video_family", [f for f in families if f in NATIVE_VIDEO], scope="session")


@pytest.fixture(scope="session")
def load_tiny(tiny_checkpoint):
    """Load a family's tiny backbone anew, for tests that change it."""
    return lambda family, **options: load_backbone(
        str(tiny_checkpoint(family)), family=family, **{"frame_size_px": FRAME_SIZE_PX, **options}
    )


@pytest.fixture(scope="session")
def backbone(family, load_tiny) -> Backbone:
    """The tiny backbone of a family, which no test changes."""
    return load_tiny(family)


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    """A frame that fits and one that is resized."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, size, dtype=np.uint8) for size in ((64, 64, 3), (50, 90, 3))]
