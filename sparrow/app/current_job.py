"""The job at hand as Hydra knows it: its factors, name and folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sparrow.app.remember_sweep import RememberSweep
from sparrow.core.errors import ConfigError
from sparrow.core.files import name_below
from sparrow.core.hashing import content_hash
from sparrow.runs.settings import folder_name, former_name, recorded_choice

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


def study_folder(*, _root_: DictConfig) -> str:
    """The folder of a study below that of all runs; Hydra makes it before settings are checked."""
    try:
        return name_below(_root_.study.name)
    except ConfigError as error:
        raise ConfigError(f"study.name: {error}") from error


def run_name(*, _root_: DictConfig) -> str:
    """A run's folder inside its sweep: the values of its factors, as `mixture-sparrow+seed-0`; one that is there in the
    former naming, `mixture=sparrow,seed=0`, is gone on with.

    What is too long for a name ends in a hash of all of it, so that runs keep folders of their own.
    """
    values = factors_of(_root_, _root_.hydra)
    former = _shortened(former_name(values))
    if former and (Path(_root_.hydra.sweep.dir) / former).is_dir():
        return former
    return _shortened(folder_name(values)) or str(_root_.hydra.job.num)


def _shortened(name: str) -> str:
    ending = f"-{content_hash(name, length=8)}"
    return name if len(name) <= MAX_NAME_CHARACTERS else name[: MAX_NAME_CHARACTERS - len(ending)] + ending


def of_data(generated: Any, own: Any, how_many: str = "any", *, _root_: DictConfig) -> Any:
    """The value of a rehearsal where it draws generated data, or where any source, or `all`, has no generated table."""
    chosen = [_root_.source.get(part.get("source") or "") for part in _root_.mixture.components.values()]
    are_own = [source is not None and source.get("world") is None for source in chosen]
    return own if are_own and {"any": any, "all": all}[how_many](are_own) else generated


def gpus_per_node(*, _root_: DictConfig) -> int | None:
    """GPUs that a job asks SLURM for on each node; None on the CPU."""
    return None if _root_.trainer.accelerator == "cpu" else int(_root_.trainer.devices)


def run_folder() -> Path:
    """The folder that Hydra gave this run."""
    return Path(HydraConfig.get().runtime.output_dir)


def is_sweep() -> bool:
    """Whether this process carries out one job of a multirun."""
    return HydraConfig.get().mode == RunMode.MULTIRUN or RememberSweep.swept_keys is not None
