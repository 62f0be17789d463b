"""Defaults of `sparrow evaluate` that are those of the run that it evaluates, written `${as_trained:KEY,DEFAULT}`."""

from __future__ import annotations

import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sparrow.core.errors import RunError
from sparrow.runs.checkpoint_settings import ALIKE, select, settings_of
from sparrow.runs.settings import leaves


def as_trained(key: str, default: Any = None, *, _root_: DictConfig) -> Any:
    """The setting of the run that is evaluated; the default where anything else is, or nothing."""
    checkpoint = OmegaConf.select(_root_, "checkpoint", throw_on_missing=False)
    try:
        found = select(settings_of(str(checkpoint)), key, default) if checkpoint is not None else default
    except RunError:
        found = default  # said when the run is opened
    return OmegaConf.create(found) if isinstance(found, list) else found


def with_trained_defaults(schema: DictConfig) -> DictConfig:
    """The settings of `sparrow evaluate` with what is `ALIKE` in training taken from there; groups do it themselves."""
    result = OmegaConf.create(OmegaConf.to_container(schema))  # of plain values, which may be interpolations
    assert isinstance(result, DictConfig)
    for key, value in leaves(OmegaConf.to_container(schema)):
        if any(key == alike or key.startswith(f"{alike}.") for alike in ALIKE):
            OmegaConf.update(result, key, f"${{as_trained:{key},{json.dumps(value)}}}")
    return result
