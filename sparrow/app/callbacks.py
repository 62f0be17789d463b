"""Hydra callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class RememberSweep(Callback):
    """Remembers the folder and the swept keys of the multirun that this process launches.

    The report is written by the entry point when everything has ended; Hydra's own `on_multirun_end` is not called
    when a job failed.
    """

    folder: Path | None = None
    swept_keys: tuple[str, ...] = ()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note folder and keys."""
        given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        overrides = OverridesParser.create().parse_overrides([*given, *config.hydra.overrides.task])
        RememberSweep.folder = Path(config.hydra.sweep.dir)
        RememberSweep.swept_keys = tuple(
            dict.fromkeys(
                override.get_key_element().lstrip("+") for override in overrides if override.is_sweep_override()
            )
        )
