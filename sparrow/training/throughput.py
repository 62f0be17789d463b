"""Where a step's time goes and what it got through: rates, the share of waiting for data, and their summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from sparrow.core.process_memory import GIBIBYTE, peak_memory_bytes
from sparrow.data.batching import StepBatch
from sparrow.training.mfu import device_peak_flops, mfu

PHASES = ("transfer", "forward", "backward", "optimizer")


class StepCounts(NamedTuple):
    """What one optimizer step worked on; sums over ranks are those of the global batch.

    `computed_tokens` counts padding too, `flops` the model's forward and backward passes; 0 where they are not known.
    """

    samples: float = 0.0
    tokens: float = 0.0
    visual_tokens: float = 0.0
    supervised_tokens: float = 0.0
    computed_tokens: float = 0.0
    flops: float = 0.0
    wait_s: float = 0.0
    failed: float = 0.0

    @classmethod
    def of(cls, batch: StepBatch, supervised_tokens: float) -> Self:
        """The counts of one rank's batch."""
        return cls(
            samples=len(batch.sample_ids) - len(batch.failed),
            tokens=batch.num_tokens,
            visual_tokens=batch.num_visual_tokens,
            supervised_tokens=supervised_tokens,
            computed_tokens=batch.num_computed_tokens,
            flops=batch.flops,
            wait_s=batch.wait_s,
            failed=len(batch.failed),
        )


class StepTimer:
    """Adds up the seconds of a step's phases.

    On a GPU, work is only queued when a call returns: true times need the device to be waited for, which costs speed.
    So `exact` is asked for in steps that are logged, and only there.
    """

    def __init__(self, device: torch.device, *, exact: bool) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._waits_for = device if exact and device.type == "cuda" else None
        self._began = self._now()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started = self._now()
        yield
        self.seconds[name] += self._now() - started

    def finish(self) -> dict[str, float]:
        """Seconds by phase, and of all `work` since the timer was made."""
        return {**self.seconds, "work": self._now() - self._began}

    def _now(self) -> float:
        if self._waits_for is not None:
            torch.cuda.synchronize(self._waits_for)
        return time.perf_counter()


def is_logging_step(trainer: pl.Trainer, step: int) -> bool:
    """Whether Lightning hands what is logged in this step (0-based) to the loggers."""
    return (step + 1) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]


class Throughput(Callback):
    """Logs rates, times and memory of logging steps, and adds all steps up, also over a stop and a resume.

    A step's time is that of waiting for its data and of working on it; checkpoints, validation and logging are apart.
    """

    def __init__(self, precision: str = "32-true", peak_flops: float | None = None) -> None:
        self.precision, self.given_peak_flops = precision, peak_flops
        self.counts = StepCounts()
        self.step_s = 0.0
        self.fit_s = 0.0
        self._fit_began = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What was added up, for the checkpoint."""
        return {
            "counts": list(self.counts),
            "step_s": self.step_s,
            "fit_s": self.fit_s + time.perf_counter() - self._fit_began,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.counts = StepCounts(*state_dict["counts"])
        self.step_s, self.fit_s = state_dict["step_s"], state_dict["fit_s"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the devices' time."""
        self._fit_began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Add the step up, and log it where it is the turn."""
        counts: StepCounts = pl_module.step_counts
        wait_s = counts.wait_s / trainer.world_size
        step_s = wait_s + pl_module.step_times_s["work"]
        self.counts = StepCounts(*(a + b for a, b in zip(self.counts, counts, strict=True)))
        self.step_s += step_s
        of_step = rates(counts, step_s)
        pl_module.log("throughput/samples_per_s", of_step.pop("samples_per_s"))
        if not is_logging_step(trainer, batch.step):
            return
        figures = {f"throughput/{name}": value for name, value in of_step.items()}
        if (utilisation := self._mfu(trainer, counts, step_s)) is not None:
            figures["throughput/mfu"] = utilisation
        if counts.computed_tokens:
            figures["data/packing_efficiency"] = counts.tokens / counts.computed_tokens
        figures |= {"time/step_s": step_s, "time/data_wait_s": wait_s, "time/data_wait_share": wait_s / step_s}
        figures |= {f"time/{phase}_s": seconds for phase, seconds in pl_module.step_times_s.items()}
        figures |= {f"memory/peak_{kind}_gib": size / GIBIBYTE for kind, size in peak_memory_bytes().items()}
        figures["throughput/gpu_hours"] = self.gpu_hours(trainer)
        pl_module.log_dict(figures)

    def _mfu(self, trainer: pl.Trainer, counts: StepCounts, seconds: float) -> float | None:
        peak = device_peak_flops(trainer.strategy.root_device, self.precision, self.given_peak_flops)
        return mfu(counts.flops, seconds, trainer.world_size, peak)

    def gpu_hours(self, trainer: pl.Trainer) -> float:
        """Hours from the start of the first step, times GPUs; 0 on CPUs."""
        on_gpus = trainer.strategy.root_device.type == "cuda"
        return trainer.world_size * (self.fit_s + time.perf_counter() - self._fit_began) / 3600 if on_gpus else 0.0

    def summary(self, trainer: pl.Trainer) -> dict[str, float | None]:
        """The whole training in figures, for `run.json`; None what is not known, {} before the first step."""
        if not self.step_s:
            return {}
        counts = self.counts
        return {
            **rates(counts, self.step_s),
            "mfu": self._mfu(trainer, counts, self.step_s),
            "data_wait_share": counts.wait_s / trainer.world_size / self.step_s,
            "packing_efficiency": counts.tokens / counts.computed_tokens if counts.computed_tokens else None,
            "gpu_hours": self.gpu_hours(trainer),
        }


def rates(counts: StepCounts, seconds: float) -> dict[str, float]:
    """Samples and tokens a second; supervised tokens are a part of the text tokens, padding is no token."""
    return {
        "samples_per_s": counts.samples / seconds,
        "tokens_per_s": counts.tokens / seconds,
        "visual_tokens_per_s": counts.visual_tokens / seconds,
        "text_tokens_per_s": (counts.tokens - counts.visual_tokens) / seconds,
        "supervised_tokens_per_s": counts.supervised_tokens / seconds,
    }
