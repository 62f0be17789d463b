"""What is written under `hydra.launcher`, checked for all launchers in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import OmegaConf

from sparrow.app.launching.multirun import refusal
from sparrow.core.settings import validated

T = TypeVar("T")


def launcher_values(given: Mapping[str, Any], schema: type[T]) -> T:
    """The launcher's settings as its class.

    Raises:
        CompactHydraException: With every key that is unknown or missing, and every value of a wrong type or too low.
    """
    made = validated(schema, {key: plain(value) for key, value in given.items()})
    if isinstance(made, list):
        problems = (f"hydra.launcher.{problem}" for problem in made)
        raise refusal("\n  ".join(["the launcher cannot be used", *problems]))
    return made


def plain(value: Any) -> Any:
    """A value without OmegaConf's containers."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
