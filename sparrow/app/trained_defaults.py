"""Defaults of `sparrow evaluate` that are those of the run that it evaluates, written `${as_trained:KEY,DEFAULT}`."""

from __future__ import annotations

import json
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from sparrow.commands.checkpoint_settings import ALIKE, select, settings_of
from sparrow.core.errors import RunError
from sparrow.evaluation.settings import Benchmark


def as_trained(key: str, default: Any = None, *, _root_: DictConfig) -> Any:
    """The setting of the run that is evaluated; the default where anything else is, or nothing."""
    checkpoint = OmegaConf.select(_root_, "checkpoint", throw_on_missing=False)
    if isinstance(checkpoint, ListConfig) and len(checkpoint) == 1:
        checkpoint = checkpoint[0]
    try:
        found = select(settings_of(str(checkpoint)), key, default) if checkpoint is not None else default
    except RunError:
        found = default  # said when the run is opened
    return OmegaConf.create(found) if isinstance(found, list) else found


def of_protocol(key: str, default: Any, *, _parent_: DictConfig) -> Any:
    """What a benchmark's protocol sets, or else the default, which may be another setting."""
    given = {name: _parent_.get(name) for name in ("format", "protocol")}
    return Benchmark.completed(given).get(key, default)


def with_trained_defaults(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The defaults of `sparrow evaluate` with what is `ALIKE` in training taken from there."""
    return {
        name: with_trained_defaults(value, f"{prefix}{name}.")
        if isinstance(value, dict)
        else f"${{as_trained:{prefix}{name},{json.dumps(value)}}}"
        if any(f"{prefix}{name}.".startswith(f"{alike}.") for alike in ALIKE)
        else value
        for name, value in plain.items()
    }
