"""What watches a fit: a clean stop on a signal, a look at the first frames, the heartbeat, what went wrong."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from sparrow.core.bars import Bar
from sparrow.core.errors import DataError, RunError
from sparrow.core.files import write_atomically
from sparrow.core.signals import STOP_SIGNALS, passed_by
from sparrow.core.tables import counted
from sparrow.data.batching import StepBatch
from sparrow.data.plan import Plan
from sparrow.training.module import FineTuning
from sparrow.training.trouble import append, files_of, lines_of, read_failed, text_of

log = logging.getLogger(__name__)
MAX_LOGGED_FRAMES = 16
SIGNALS = (signal.SIGINT, *STOP_SIGNALS)


class StopOnSignal(Callback):
    """Turns SIGINT, SIGTERM and SIGUSR1 into an orderly end after the running step; a second SIGINT stops at once.

    The wish is summed over ranks inside the step, so that all ranks stop after the same one. One that comes too late
    for that counts in the next step; after the last step it is looked for once more. A single rank that waits for its
    next step, which may never be loaded, saves and stops without it; `stopped` is then true.
    """

    def __init__(self, save: Callable[[pl.Trainer], None]) -> None:
        self.save = save
        self.received: signal.Signals | None = None
        self.stopped = False
        self._module: FineTuning | None = None
        self._owner = os.getpid()
        self._previous: dict[signal.Signals, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if passed_by(number, self._owner):
            return
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        assert self._module is not None
        self._module.stop_requested = True
        trainer = self._module.trainer
        if trainer.world_size == 1 and getattr(trainer.train_dataloader, "waits", False):
            if trainer.global_step > 0:
                self.save(trainer)
            self.stopped = True
            raise KeyboardInterrupt
        if trainer.is_global_zero:  # not by `print`, which the signal may have interrupted
            told = "the run saves and stops after its running step; Ctrl-C again ends it at once"
            os.write(2, f"\n{self.received.name}: {told}\n".encode())

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over."""
        assert isinstance(pl_module, FineTuning)
        self._module, self._owner = pl_module, os.getpid()
        self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Save and stop if some rank was asked to."""
        assert isinstance(pl_module, FineTuning)
        if trainer.global_step == pl_module.num_steps:
            self.teardown()  # first, so that no signal comes between the last look and whoever is next to handle it
            pl_module.agree_to_stop()
        if pl_module.stop_agreed:
            self.received = self.received or signal.SIGTERM
            self.save(trainer)
            trainer.should_stop = True

    def teardown(self, *_: Any, **__: Any) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    on_exception = teardown


class RanksAgree(Callback):
    """Ends a run before its first step where other processes are connected than were asked for, where a rank read the
    plan of an earlier start, or where it would draw pages with other fonts.

    Samples would be trained twice or never, and ranks with fewer micro-batches would leave the others waiting.

    Args:
        num_ranks: Devices of all nodes.
        plan: As this rank has read it, with the fonts of its own machine.
    """

    def __init__(self, num_ranks: int, plan: Plan) -> None:
        self.num_ranks, self.plan = num_ranks, plan

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the ranks and compare their plans.

        Raises:
            RunError: On all ranks, if there are more or fewer, or with what each planned.
        """
        if trainer.world_size != self.num_ranks:
            raise RunError(
                f"{trainer.world_size} processes train, but trainer.devices on trainer.num_nodes ask for "
                f"{self.num_ranks}; let hydra/launcher=parallel, hydra/launcher=slurm or torchrun start them "
                "(docs/sweeps.md)"
            )
        if trainer.world_size == 1:
            return
        plans: list[Any] = [None] * trainer.world_size
        own = f"{_described(self.plan)}, held out {_described(self.plan.held_out)}"
        dist.all_gather_object(plans, (own, self.plan.fonts))
        ranks_of: dict[str, list[str]] = {}
        for rank, (planned, _) in enumerate(plans):
            ranks_of.setdefault(planned, []).append(str(rank))
        if len(ranks_of) > 1:
            told = "; ".join(f"rank {', '.join(ranks)}: {planned}" for planned, ranks in ranks_of.items())
            raise RunError(
                f"ranks have different plans ({told}): one of them read what a killed start left; "
                "run the same command again"
            )
        fonts = {name for _, found in plans for name in found if len({other.get(name) for _, other in plans}) > 1}
        if fonts:
            raise RunError(
                f"nodes would draw the same pages with different fonts ({', '.join(sorted(fonts))}); "
                "give them the same ones, or set text_to_image.fonts_root to a folder that all of them see"
            )


def _described(plan: Plan | None) -> str:
    return "nothing" if plan is None else f"{plan.num_samples} samples, hash {plan.content_hash}"


class LogFrames(Callback):
    """Writes frames and pages of the first step to TensorBoard, spread over its samples, to look at the data.

    They are named so that TensorBoard, which sorts by name, shows them below all figures.
    """

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: StepBatch, batch_idx: int
    ) -> None:
        """Log at the very first step only."""
        if trainer.global_step > 0 or not trainer.is_global_zero:
            return
        frames = [frame for micro_batch in batch.micro_batches for frame in micro_batch.frames]
        num_logged = min(len(frames), MAX_LOGGED_FRAMES)
        frames = [frames[i * len(frames) // num_logged] for i in range(num_logged)]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for number, frame in enumerate(frames):
                    logger.experiment.add_image(f"what_is_shown/{number:02d}", frame, 0)


class Heartbeat(Callback):
    """Calls `beat(steps done)` at most every `interval_s` seconds."""

    def __init__(self, beat: Callable[[int], None], interval_s: float = 30.0) -> None:
        self.beat, self.interval_s = beat, interval_s
        self._last = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Beat if it is time."""
        now = time.monotonic()
        if trainer.is_global_zero and now - self._last >= self.interval_s:
            self._last = now
            self.beat(trainer.global_step)


class Progress(Callback):
    """How far the plan's optimizer steps are, with the loss, told by rank 0.

    A resumed run starts where it stopped and reckons the time left from its own steps only.
    """

    def __init__(self, *, shown: bool) -> None:
        self.shown = shown
        self.bar: Bar | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start at the steps that are done."""
        assert isinstance(pl_module, FineTuning)
        if trainer.is_global_zero:
            look = {"total": pl_module.num_steps, "initial": trainer.global_step, "desc": "training", "unit": "step"}
            self.bar = Bar(shown=self.shown, **look)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Count the step."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {pl_module.last_loss:.4g}", refresh=False)
            self.bar.update()
            if not self.bar.has_told:
                self.bar.tell()

    def teardown(self, *_: Any, **__: Any) -> None:
        """End it, however training ended."""
        if self.bar is not None:
            self.bar.close()

    on_train_end = on_exception = teardown


class RecordTrouble(Callback):
    """Appends what went wrong in a step to files of the rank, as it comes.

    `failed-<rank>.jsonl` names samples that could not be read, `skipped-<rank>.jsonl` steps that taught nothing
    because a number was not finite, with this rank's samples. Both know of each step as it was done last. More than
    `most_failed` samples that could not be read are a `DataError` on all ranks.
    """

    def __init__(self, folder: Path, most_failed: float = math.inf) -> None:
        self.folder, self.most_failed, self._num_failed = folder, most_failed, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop what was noted, by however many ranks, of steps that are done again."""
        self._num_failed = sum(line["step"] < trainer.global_step for line in read_failed(self.folder))
        for path in files_of(self.folder, "failed", "skipped") if trainer.is_global_zero else ():
            write_atomically(path, text_of(line for line in lines_of(path) if line["step"] < trainer.global_step))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Note the empty slots of the step, and a step that was left out."""
        assert isinstance(pl_module, FineTuning)
        rank = trainer.global_rank
        append(self.folder / f"failed-{rank}.jsonl", [{"step": batch.step, **s._asdict()} for s in batch.failed])
        if pl_module.not_finite:
            skipped = {"step": batch.step, "reason": pl_module.not_finite, "samples": batch.sample_ids}
            append(self.folder / f"skipped-{rank}.jsonl", [skipped])
            if trainer.is_global_zero:
                log.warning("%s; the step is left out", pl_module.not_finite)
        self._num_failed += round(pl_module.step_counts.failed)
        if pl_module.step_counts.failed and self._num_failed > self.most_failed:
            what = f"{counted(self._num_failed, 'sample')} could not be read while training; with those that the plan "
            remedy = f"fix what {self.folder}/failed-*.jsonl names and run again, or raise it"
            raise DataError(f"{what}rejected they are more than max_bad_fraction", remedy=remedy)
