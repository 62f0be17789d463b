"""Hydra callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sparrow.app.provenance import as_typed
from sparrow.app.sweeps import parsed_overrides


def run_files(folder: Path) -> dict[Path, int]:
    """The records below a folder, with the times of their last writing."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("run.json")}


class RememberSweep(Callback):
    """Remembers the folders and the swept keys of the multirun that this process launches, or is one job of.

    A process that carries out one job is given `swept_keys`. The report is written by the entry point when everything
    has ended; Hydra's own `on_multirun_end` is not called when a job failed.
    """

    folders: ClassVar[dict[Path, dict[Path, int]]] = {}  # with their runs as they were when the sweep began
    swept_keys: tuple[str, ...] | None = None

    def __init__(self, swept_keys: list[str] | None = None) -> None:
        if swept_keys is not None:
            RememberSweep.swept_keys = tuple(swept_keys)

    @staticmethod
    def remember(config: DictConfig) -> None:
        """Note the folder that a job's study lies in; a multirun may be over several studies."""
        folder = Path(config.hydra.sweep.dir)
        if folder not in RememberSweep.folders:
            RememberSweep.folders[folder] = run_files(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the keys."""
        overrides = parsed_overrides(config.hydra.sweeper.get("params") or {}, as_typed(config.hydra.overrides.task))
        swept = (override.get_key_element().lstrip("+") for override in overrides if override.is_sweep_override())
        RememberSweep.swept_keys = tuple(dict.fromkeys(swept))
