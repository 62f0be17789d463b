"""Where figures go: TensorBoard, one CSV file that survives a resume, and Weights & Biases where it is asked for."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams

from sparrow.core.files import write_atomically
from sparrow.core.hashing import content_hash
from sparrow.runs.record import METRICS, RunRecord
from sparrow.training.settings import Logger as LoggerSettings

COLUMNS = ("step", "metric", "value", "run_id")
MAX_TAG = 64  # characters that Weights & Biases allows


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


class Curves(TensorBoardLogger):
    """Events in the run's own folder, by which TensorBoard names it; its factors are the HPARAMS.

    A run that was begun when events had a folder `tensorboard` of their own goes on there.
    """

    def __init__(self, folder: Path, record: RunRecord, first_step: int) -> None:
        earlier = "tensorboard" if (folder / "tensorboard").is_dir() else ""
        super().__init__(folder, name="", version=earlier, purge_step=first_step)
        self.record = record

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The factors, by which runs can be filtered, with the names of the figures that the runs are compared by."""
        factors = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in self.record.factors.items()}
        asked = [f"score/{benchmark}" for benchmark in self.record.config.get("benchmark", {})]
        if factors:
            for summary in hparams(factors, dict.fromkeys([*asked, "train/loss"])):
                self.experiment._get_file_writer().add_summary(summary)

    def save(self) -> None:
        """Write what is held back, and no `hparams.yaml`, since settings stand in `run.json`."""
        self.experiment.flush()


def make_loggers(
    settings: Mapping[str, LoggerSettings], folder: Path, record: RunRecord, first_step: int
) -> list[Logger]:
    """The loggers that are switched on, of `tensorboard`, `csv` and `wandb`.

    The `run_id` lets a resumed run go on in the same curves of Weights & Biases; figures of an earlier attempt from
    `first_step` on are replaced.
    """
    made: dict[str, Callable[[LoggerSettings], Logger]] = {
        "tensorboard": lambda _: Curves(folder, record, first_step),
        "csv": lambda _: TidyCsv(folder / METRICS, record.run_id),
        "wandb": lambda logger: _wandb(logger, folder, record),
    }
    return [made[kind](logger) for kind, logger in settings.items() if logger.enabled]


@contextmanager
def run_loggers(
    settings: Mapping[str, LoggerSettings], folder: Path, record: RunRecord, first_step: int
) -> Iterator[list[Logger]]:
    """`make_loggers`, told the settings at the beginning and the scores at the end, and ended however the run ends.

    One that was left open would take in the next run of the same process.
    """
    loggers = make_loggers(settings, folder, record, first_step)
    status = "failed"
    try:
        for logger in loggers:
            logger.log_hyperparams(record.config)
        yield loggers
        for logger in loggers:
            if scores := final_scores(record):
                logger.log_metrics(scores, record.num_steps)
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
            finish = getattr(getattr(logger, "experiment", None), "finish", None)
            if finish is not None:
                finish(exit_code=int(status == "failed"))


def final_scores(record: RunRecord) -> dict[str, float]:
    """The benchmarks' own scores, fractions, as `score/NAME` after training and `score/NAME.PHASE` for other phases."""
    return {
        f"score/{benchmark}" + ("" if phase == "after" else f".{phase}"): value
        for benchmark, phases in record.scores.items()
        for phase, score in phases.items()
        if (value := score.official) is not None
    }


def _wandb(settings: LoggerSettings, folder: Path, record: RunRecord) -> Logger:
    from pytorch_lightning.loggers import WandbLogger

    tags = (f"{key}={value}" for key, value in record.factors.items())
    return WandbLogger(
        project=settings.project,
        entity=settings.entity,
        mode=settings.mode,
        id=record.run_id,
        name=record.name,
        group=record.study.name,
        tags=[t if len(t) <= MAX_TAG else f"{t[: MAX_TAG - 9]}-{content_hash(t, length=8)}" for t in tags],
        save_dir=folder,
        resume="allow",
    )
