"""Hydra callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

_sweep_folders: list[Path] = []


class RememberSweep(Callback):
    """Remembers the folder of the multirun that this process launches.

    The report is written by the entry point when everything has ended; Hydra's own `on_multirun_end` is not called
    when a job failed.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the folder."""
        _sweep_folders.append(Path(config.hydra.sweep.dir))


def launched_sweep() -> Path | None:
    """Folder of the multirun that this process launched, if it did."""
    return _sweep_folders[-1] if _sweep_folders else None
