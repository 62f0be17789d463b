"""What is written under `hydra.launcher`, checked for all launchers in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparrow.app.launching.multirun import refusal

T = TypeVar("T")
LEAST = {
    "n_parallel": 1,
    "timeout_min": 1,
    "cpus_per_task": 1,
    "array_parallelism": 1,
    "max_requeues": 0,
    "signal_delay_s": 0,
    "poll_interval_s": 0,
}


def launcher_values(given: Mapping[str, Any], schema: type[T]) -> T:
    """The launcher's settings as its dataclass.

    Raises:
        CompactHydraException: With every key that is unknown or missing, and every value of a wrong type or too low.
    """
    holder = OmegaConf.structured(schema)
    kinds = {f.name: str(f.type).replace("|", "or").replace("None", "null") for f in fields(cast(Any, schema))}
    wrong = []
    for key in [*kinds, *(key for key in given if key not in kinds)]:
        if key not in kinds:
            known = f"it takes {', '.join(kinds)}" if kinds else "it takes no settings"
            wrong.append(f"hydra.launcher.{key}: this launcher has no such setting; {known}")
        elif key not in given:
            wrong.append(f"hydra.launcher.{key}: a value is missing, expected {kinds[key]}")
        else:
            try:
                holder[key] = given[key]
            except OmegaConfBaseException:
                found = "null" if given[key] is None else repr(given[key])
                wrong.append(f"hydra.launcher.{key}: expected {kinds[key]}, found {found}")
                continue
            if holder[key] is not None and key in LEAST and holder[key] < LEAST[key]:
                wrong.append(f"hydra.launcher.{key}: must be at least {LEAST[key]}, is {holder[key]}")
    if wrong:
        raise refusal("\n  ".join(["the launcher cannot be used", *wrong]))
    return cast(T, OmegaConf.to_object(holder))


def plain(value: Any) -> Any:
    """A value without OmegaConf's containers."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
