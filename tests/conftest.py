"""What the tests share: composed settings, a small generated world, a tiny backbone."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig

from sparrow.runs.record import RunRecord
from tests.forks import ForkedCommand

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

SMALL_WORLD = [
    "world.num_stills=24",
    "world.num_pages=24",
    "world.num_clips=48",
    "world.num_clips_all_kinds=48",
    "world.num_event_texts=24",
    "world.num_benchmark_clips=24",
]
SMALL_RUN = [
    "scale=tiny",
    "mixture=world/sparrow",
    "sample_divisor=1",
    "mixture.num_samples=24",
    "batching.global_batch_size_samples=8",
    "batching.micro_batch_size_samples=4",
    "batching.num_workers=0",
    "trainer.progress_bar=false",
    "trainer.log_every_n_steps=1",
    "schedule.warmup_steps=1",
    *SMALL_WORLD,
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/models --family qwen3_vl` tests one family of backbones."""
    parser.addoption("--family", default="all", help="a family of backbones, or all")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that two processes end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_quickstart.py")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two busy cores and a thread each: more threads only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests of one process share, so that the small world is written once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def settings(cache_root: Path) -> Iterator[Callable]:
    """Compose and check settings as a command does: `settings("mixture=world/video", ...)`.

    Composing takes a third of a second, so each set of choices is composed once. Values are set in a copy of it by what
    Hydra itself calls last.
    """
    from hydra import compose, initialize_config_module
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    from sparrow.app.entry import set_up
    from sparrow.app.schema import checked
    from sparrow.settings import ExperimentConfig

    set_up()
    by_choices: dict[tuple[str, ...], DictConfig] = {}

    def make(*overrides: str, config_name: str = "train", schema: type = ExperimentConfig, small: bool = True):
        choices, values = [*(SMALL_RUN if small else []), f"paths.cache_root={cache_root}"], []
        with initialize_config_module("sparrow.conf", version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            for override in OverridesParser.create(loader).parse_overrides(list(overrides)):
                is_value = isinstance(override.value(), dict) or not loader.repository.group_exists(
                    override.key_or_group
                )
                if is_value and not override.is_hydra_override():
                    values.append(override)
                else:
                    choices.append(override.input_line)
            key = (config_name, *choices)
            if key not in by_choices:
                by_choices[key] = compose(config_name, overrides=choices)
            composed = copy.deepcopy(by_choices[key])
            ConfigLoaderImpl._apply_overrides_to_config(values, composed)
        OmegaConf.set_struct(composed, False)
        return checked(composed, schema)

    yield make


@pytest.fixture
def sparrow(tmp_path: Path, cache_root: Path) -> Callable:
    """Run `sparrow ...` in an empty folder and a fork, with environment variables as keywords.

    A command that starts processes by itself needs `sparrow_process`.
    """

    def run(
        *arguments: str, prepare: Callable[[], object] | None = None, folder: Path = tmp_path, **changes: str
    ) -> subprocess.CompletedProcess:
        return ForkedCommand(arguments, folder, {"SPARROW_CACHE_ROOT": str(cache_root)} | changes, prepare).wait()

    return run


@pytest.fixture
def sparrow_process(tmp_path: Path, cache_root: Path) -> Callable:
    """Run `sparrow ...` in a new process and an empty folder, with further environment variables as keywords."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "sparrow", *arguments],
            cwd=tmp_path,
            env=os.environ | {"SPARROW_CACHE_ROOT": str(cache_root), "OMP_NUM_THREADS": "1"} | changes,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )

    return run


@pytest.fixture(scope="session")
def tiny_checkpoint(cache_root: Path) -> Callable[[str], Path]:
    """Folder of a family's tiny checkpoint."""
    from sparrow.models.loading import ensure_tiny
    from sparrow.world import world_texts

    return lambda family: ensure_tiny(cache_root, family, world_texts(), frame_size_px=64, seed=0)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Put folders into a local cache of the Hub as the commits of one model, the last one its newest; its id."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(**commits: Path) -> str:
        cached = tmp_path / "hub" / "models--some--model"
        (cached / "refs").mkdir(parents=True, exist_ok=True)
        for revision, folder in commits.items():
            commit = (revision.encode().hex() * 20)[:40]
            shutil.copytree(folder, cached / "snapshots" / commit)
            for name in (revision, "main"):
                (cached / "refs" / name).write_text(commit)
        return "some/model"

    return put


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real clips and texts that `SPARROW_TEST_DATA` names."""
    folder = os.environ.get("SPARROW_TEST_DATA")
    if not folder:
        pytest.skip("SPARROW_TEST_DATA is not set: the real clips and texts are not at hand")
    return Path(folder)


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until a condition holds, and fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def trains(folder: Path) -> bool:
    """Whether the present attempt of a run has done a step, so that a signal ends it with a checkpoint."""
    if not (folder / "run.json").is_file():
        return False
    record = RunRecord.load(folder)
    return record.status == "running" and record.num_steps_done > 0


def losses_of(folder: Path) -> dict[int, float]:
    """Loss by step, as TensorBoard shows it; a step that was done again after a resume counts as it was last."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses: dict[int, float] = {}
    for file in sorted(folder.glob("events*"), key=lambda path: path.stat().st_mtime_ns):
        events = EventAccumulator(str(file)).Reload()
        if "train/loss" in events.Tags()["scalars"]:
            losses |= {event.step: event.value for event in events.Scalars("train/loss")}
    return losses
