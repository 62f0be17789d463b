"""What watches a fit: throughput, a clean stop on a signal, a look at the first frames, the heartbeat."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger

from sparrow.data.batching import StepBatch
from sparrow.models.frames import Frames
from sparrow.training.module import FineTuning

MAX_LOGGED_FRAMES = 16
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Throughput(Callback):
    """Logs samples/s and tokens/s of all ranks, from the end of one step to the end of the next, and adds them up."""

    def __init__(self) -> None:
        self.num_samples = 0
        self.num_tokens = 0
        self.seconds = 0.0
        self._last: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._last = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Log the rates of the step that ended."""
        now = time.perf_counter()
        assert self._last is not None
        seconds, self._last = now - self._last, now
        self.num_samples += len(batch.sample_ids)
        self.num_tokens += batch.num_tokens
        self.seconds += seconds
        ranks = trainer.world_size
        pl_module.log("throughput/samples_per_s", ranks * len(batch.sample_ids) / seconds, prog_bar=True)
        pl_module.log("throughput/tokens_per_s", ranks * batch.num_tokens / seconds)
        pl_module.log("throughput/visual_tokens_per_s", ranks * batch.num_visual_tokens / seconds)


class StopOnSignal(Callback):
    """Turns SIGINT and SIGTERM into an orderly end after the running step; a second SIGINT stops at once.

    The wish is summed over ranks inside the step, so that all ranks stop after the same one.
    """

    def __init__(self, save: Callable[[pl.Trainer], None]) -> None:
        self.save = save
        self.received: signal.Signals | None = None
        self._module: FineTuning | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        assert self._module is not None
        self._module.stop_requested = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over."""
        assert isinstance(pl_module, FineTuning)
        self._module = pl_module
        self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Save and stop if some rank was asked to."""
        if isinstance(pl_module, FineTuning) and pl_module.stop_requested:
            self.received = self.received or signal.SIGTERM
            self.save(trainer)
            trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


class LogFrames(Callback):
    """Writes the frames and pages of the first step to TensorBoard, so that the data can be looked at."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: StepBatch, batch_idx: int
    ) -> None:
        """Log at the very first step only."""
        if trainer.global_step > 0 or not trainer.is_global_zero:
            return
        frames = Frames.joined([m.frames for m in batch.micro_batches])[:MAX_LOGGED_FRAMES]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for number, frame in enumerate(frames):
                    logger.experiment.add_image(f"data/first_frames/{number:02d}", frame, 0)


class Heartbeat(Callback):
    """Calls `beat(steps done)` at most every `interval_s` seconds."""

    def __init__(self, beat: Callable[[int], None], interval_s: float = 30.0) -> None:
        self.beat, self.interval_s = beat, interval_s
        self._last = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Beat if it is time."""
        now = time.monotonic()
        if trainer.is_global_zero and now - self._last >= self.interval_s:
            self._last = now
            self.beat(trainer.global_step)


class Progress(TQDMProgressBar):
    """Lightning's progress bar over optimizer steps, without the logger's version."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Loss and samples/s."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {str(name).split("/")[-1]: value for name, value in metrics.items()}


class RecordFailed(Callback):
    """Appends samples that could not be read during training to `failed-<rank>.jsonl`, as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Note the empty slots of the step."""
        if batch.failed:
            with open(self.folder / f"failed-{trainer.global_rank}.jsonl", "a", encoding="utf-8") as file:
                for sample in batch.failed:
                    file.write(json.dumps({"step": batch.step, **sample._asdict()}) + "\n")


def read_failed(folder: Path) -> list[dict[str, Any]]:
    """What `RecordFailed` noted on all ranks; a step done again after a resume counts once."""
    lines = [
        line for path in sorted(folder.glob("failed-*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return [json.loads(line) for line in dict.fromkeys(lines)]
