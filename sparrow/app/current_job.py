"""The job at hand as Hydra knows it: its factors, name and folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sparrow.app.remember_sweep import RememberSweep
from sparrow.core.hashing import content_hash
from sparrow.runs.settings import recorded_choice

MAX_NAME_CHARACTERS = 120


def factors_of(config: DictConfig, hydra: DictConfig | None = None) -> dict[str, Any]:
    """Values of the study's factors and of what else is swept: the choice of a group, or the value of a key."""
    choices = (HydraConfig.get() if hydra is None else hydra).runtime.choices
    values: dict[str, Any] = {}
    for key in dict.fromkeys([*config.study.factors, *(RememberSweep.swept_keys or ())]):
        value = choices[key] if key in choices else OmegaConf.select(config, key)
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        values[key] = recorded_choice(value) if key in choices else value
    return values


def run_name(*, _root_: DictConfig) -> str:
    """A run's folder inside its sweep: the values of its factors, as `mixture=sparrow,seed=0`.

    What is too long for a folder's name ends in a hash of all of it, so that runs keep folders of their own.
    """
    values = factors_of(_root_, _root_.hydra).items()
    name = ",".join(f"{key.split('.')[-1]}={value}" for key, value in values)
    name = "".join(c if c.isalnum() or c in "=,._-+[]" else "_" for c in name)
    if len(name) > MAX_NAME_CHARACTERS:
        ending = f"-{content_hash(name, length=8)}"
        name = name[: MAX_NAME_CHARACTERS - len(ending)] + ending
    return name or str(_root_.hydra.job.num)


def gpus_per_node(*, _root_: DictConfig) -> int | None:
    """GPUs that a job asks SLURM for on each node; None on the CPU."""
    return None if _root_.trainer.accelerator == "cpu" else int(_root_.trainer.devices)


def run_folder() -> Path:
    """The folder that Hydra gave this run."""
    return Path(HydraConfig.get().runtime.output_dir)


def is_sweep() -> bool:
    """Whether this process carries out one job of a multirun."""
    return HydraConfig.get().mode == RunMode.MULTIRUN or RememberSweep.swept_keys is not None
