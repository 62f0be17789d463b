"""Where figures go: TensorBoard, one CSV file that survives a resume, and Weights & Biases where it is asked for."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from sparrow.core.files import write_atomically
from sparrow.runs.record import METRICS
from sparrow.training.settings import Logger as LoggerSettings

COLUMNS = ("step", "metric", "value", "run_id")


class TidyCsv(Logger):
    """One row per figure, `step,metric,value,run_id`, appended as the figures come.

    From the first step that is logged on, what the file held is dropped, as it comes again.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        super().__init__()
        self.path, self.run_id = path, run_id
        self._begun = False

    def _begin(self, first_step: int) -> None:
        rows: list[list[str]] = []
        if self.path.is_file():
            with open(self.path, newline="", encoding="utf-8") as file:
                # A kill may have cut the last line short; files begun by an earlier version have no run_id.
                header, *lines = [*csv.reader(file)] or [list(COLUMNS)]
                mark = [] if "run_id" in header else [self.run_id]
                rows = [row for line in lines if len(row := line + mark) == len(COLUMNS) and row[0].isdigit()]
        kept = [",".join(row) for row in rows if int(row[0]) < first_step]
        write_atomically(self.path, "\n".join([",".join(COLUMNS), *kept, ""]).encode())

    @property
    def name(self) -> str:
        """What Lightning calls it."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one version only."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append the figures of a step."""
        if not self._begun:
            self._begin(step or 0)
            self._begun = True
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                (step, name, value, self.run_id) for name, value in metrics.items() if name != "epoch"
            )

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: settings stand in `run.json`."""


def make_loggers(
    settings: Mapping[str, LoggerSettings], folder: Path, *, run_id: str, name: str, first_step: int
) -> list[Logger]:
    """The loggers that are switched on, of `tensorboard`, `csv` and `wandb`.

    The `run_id` lets a resumed run go on in the same curves of Weights & Biases; figures of an earlier attempt from
    `first_step` on are replaced.
    """
    loggers: list[Logger] = []
    for kind, logger in settings.items():
        if not logger.enabled:
            continue
        if kind == "tensorboard":
            loggers.append(TensorBoardLogger(folder, name="", version=kind, purge_step=first_step))
        elif kind == "csv":
            loggers.append(TidyCsv(folder / METRICS, run_id))
        elif kind == "wandb":
            loggers.append(_wandb(logger, folder, run_id=run_id, name=name))
    return loggers


def _wandb(settings: LoggerSettings, folder: Path, *, run_id: str, name: str) -> Logger:
    from pytorch_lightning.loggers import WandbLogger

    return WandbLogger(
        project=settings.project,
        entity=settings.entity,
        mode=settings.mode,
        id=run_id,
        name=name,
        save_dir=folder,
        resume="allow",
    )
