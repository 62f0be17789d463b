"""Hydra callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from sparrow.app.provenance import as_typed


class RememberSweep(Callback):
    """Remembers the folders and the swept keys of the multirun that this process launches, or is one job of.

    The report is written by the entry point when everything has ended; Hydra's own `on_multirun_end` is not called
    when a job failed.

    Args:
        swept_keys: Given to a process that carries out one job of a multirun; None everywhere else.
    """

    folders: ClassVar[list[Path]] = []
    swept_keys: tuple[str, ...] | None = None

    def __init__(self, swept_keys: list[str] | None = None) -> None:
        if swept_keys is not None:
            RememberSweep.swept_keys = tuple(swept_keys)

    @staticmethod
    def remember(config: DictConfig) -> None:
        """Note the folder that a job's study lies in; a multirun may be over several studies."""
        folder = Path(config.hydra.sweep.dir)
        if folder not in RememberSweep.folders:
            RememberSweep.folders.append(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the keys."""
        given = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        overrides = OverridesParser.create().parse_overrides([*given, *as_typed(config.hydra.overrides.task)])
        RememberSweep.swept_keys = tuple(
            dict.fromkeys(
                override.get_key_element().lstrip("+") for override in overrides if override.is_sweep_override()
            )
        )

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the folder, where this process carries the jobs out itself."""
        if config.hydra.mode == RunMode.MULTIRUN:
            self.remember(config)
