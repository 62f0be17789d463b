"""The job at hand as Hydra knows it: its factors, name and folder, and its errors as one message."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sparrow.app.remember_sweep import RememberSweep
from sparrow.core.errors import SparrowError
from sparrow.core.hashing import content_hash

T = TypeVar("T")
MAX_NAME_CHARACTERS = 120
HASH_CHARACTERS = 8
_ELSEWHERE = "choose another folder (paths.output_root, paths.cache_root, hydra.run.dir or hydra.sweep.dir)"
_NO_RIGHT = f"get the right to it, or {_ELSEWHERE}"
_NO_SPACE = f"free space on the disk, or {_ELSEWHERE}"
REMEDIES = {
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: _ELSEWHERE,
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.ENOTDIR: f"a file stands where a folder is needed: {_ELSEWHERE}",
    errno.EEXIST: f"a file stands where a folder is needed: {_ELSEWHERE}",
    errno.ENAMETOOLONG: f"shorten it, or {_ELSEWHERE}",
}


def factors_of(config: DictConfig) -> dict[str, Any]:
    """Values of the study's factors and of what else is swept: the choice of a group, or the value of a key."""
    return _factor_values(config, HydraConfig.get().runtime.choices)


def run_name(*, _root_: DictConfig) -> str:
    """A run's folder inside its sweep: the values of its factors, as `mixture=sparrow,seed=0`.

    What is too long for a folder's name ends in a hash of all of it, so that runs keep folders of their own.
    """
    values = _factor_values(_root_, _root_.hydra.runtime.choices)
    name = ",".join(f"{key.split('.')[-1]}={value}" for key, value in values.items())
    name = "".join(c if c.isalnum() or c in "=,._-+[]" else "_" for c in name)
    if len(name) > MAX_NAME_CHARACTERS:
        ending = f"-{content_hash(name, length=HASH_CHARACTERS)}"
        name = name[: MAX_NAME_CHARACTERS - len(ending)] + ending
    return name or str(_root_.hydra.job.num)


def gpus_per_node(*, _root_: DictConfig) -> int | None:
    """GPUs that a job asks SLURM for on each node; None on the CPU."""
    return None if _root_.trainer.accelerator == "cpu" else int(_root_.trainer.devices)


def _factor_values(config: DictConfig, choices: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in dict.fromkeys([*config.study.factors, *(RememberSweep.swept_keys or ())]):
        value = choices[key] if key in choices else OmegaConf.select(config, key)
        values[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return values


def run_folder() -> Path:
    """The folder that Hydra gave this run."""
    return Path(HydraConfig.get().runtime.output_dir)


def is_sweep() -> bool:
    """Whether this process carries out one job of a multirun."""
    return HydraConfig.get().mode == RunMode.MULTIRUN or RememberSweep.swept_keys is not None


def one_message(work: Callable[[], T]) -> T:
    """Do the work; an error that a user can fix becomes one message without a traceback.

    Raises:
        CompactHydraException: In place of a `SparrowError`, or of an `OSError` of a folder or a disk; Hydra prints it
            and exits with 1.
    """
    try:
        return work()
    except SparrowError as error:
        raise CompactHydraException(f"{type(error).__name__}: {error}") from error
    except (OSError, ValueError) as error:
        fault = error if isinstance(error, OSError) else error.__cause__  # logging tells so of its file
        if not isinstance(fault, OSError) or fault.errno not in REMEDIES:
            raise
        where = f"{fault.filename}: " if fault.filename is not None else ""
        raise CompactHydraException(f"{where}{fault.strerror}; {REMEDIES[fault.errno]}") from error
