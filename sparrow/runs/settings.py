"""Settings of runs in general: their study, where they read and write, and the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from sparrow.core.files import name_below
from sparrow.core.settings import REQUIRED, AboveZero, AtLeast1, setting, settings

PROJECT_MARKER = "sparrow.yaml"  # in the folder of a project, as `sparrow init` writes it


@settings
class Study:
    """The question of a set of runs, what it varies on purpose, and what was published (docs/studies.md)."""

    name: Annotated[str, AfterValidator(name_below)] = setting("folder of the study's runs", default="untitled")
    question: str = setting("what the study is to answer", default="")
    factors: list[str] = setting("groups and settings that it varies on purpose", default_factory=list)
    metric: str | None = setting("BENCHMARK or BENCHMARK.PHASE, whose score a sweeper maximises", default=None)
    baseline: str | None = setting("arm or factors that others are compared with; null: the first", default=None)
    primary: list[str] = setting("benchmarks that p values are adjusted over; empty: all", default_factory=list)
    trunk: bool = setting("sizes share the steps before their decay: docs/studies.md", default=False)
    fit: Literal["logarithm", "power_law"] = setting("form of learning curves", default="logarithm")
    published: dict[str, Any] = setting("published numbers to print beside ours", default_factory=dict)


@settings
class Paths:
    """Where data is read, runs are written, and what can be made again is kept."""

    data_root: str = setting("folder of the data sets", default=REQUIRED)
    output_root: str = setting("folder of the runs", default=REQUIRED)
    cache_root: str = setting("folder of what can be made again", default=REQUIRED)


@settings
class Trainer:
    """The machine a run uses, its numeric precision, and what of it is looked at."""

    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = setting("numeric precision", default="bf16-mixed")
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = setting("kind of device", default="auto", recorded=True)
    devices: AtLeast1 = setting("devices per node", default=1, recorded=True)
    num_nodes: AtLeast1 = setting("nodes", default=1, recorded=True)
    num_threads: AtLeast1 | None = setting("CPU threads per process; null: torch's choice", default=None, recorded=True)
    log_every_n_steps: AtLeast1 = setting("steps between logged losses", default=10, unit="steps", recorded=True)
    progress_bar: bool = setting("show a progress bar", default=True, recorded=True)
    compile: bool = setting("compile the backbone's blocks", default=False, recorded=True)
    profiler: Literal["torch"] | None = setting("trace a few steps", default=None, recorded=True)
    try_longest_micro_batch: bool = setting("run it first, to see that memory suffices", default=True, recorded=True)
    peak_flops: AboveZero | None = setting("device's peak; null: looked up", default=None, unit="FLOP/s", recorded=True)


def folder_name(values: Mapping[str, Any]) -> str:
    """The name of a run's folder by the values of its factors: `mixture-sparrow+seed-0`."""
    spelt = {key.rpartition(".")[2]: re.sub(r"[^\w.-]+", "_", str(value)).strip("_") for key, value in values.items()}
    return "+".join(f"{key}-{value}" for key, value in spelt.items())


def former_name(values: Mapping[str, Any]) -> str:
    """The same as it was before names had to be free of signs that Hydra reads: `mixture=sparrow,seed=0`."""
    name = ",".join(f"{key.split('.')[-1]}={value}" for key, value in values.items())
    return "".join(c if c.isalnum() or c in "=,._-+[]" else "_" for c in name)


def recorded_choice(choice: Any) -> Any:
    """What records, folders of runs and reports call a choice: `world/short` is `world_short`.

    The mixtures of the claim, as `world/claim_video`, go by their last name.
    """
    if isinstance(choice, list):
        return [recorded_choice(item) for item in choice]
    return re.sub("^world/(claim_)?", lambda found: found[1] or "world_", choice) if isinstance(choice, str) else choice
