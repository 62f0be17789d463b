"""A trace of a few steps, to be opened in chrome://tracing or ui.perfetto.dev."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

SKIPPED_STEPS, WARMUP_STEPS, TRACED_STEPS = 1, 1, 3


class Profile(Callback):
    """Traces steps with torch's profiler and writes `trace-<rank>.json`.

    The first step is left out and the second warms the profiler up; a run that ends early writes what it has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._profiler: torch.profiler.profile | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the profiler."""
        path = self.folder / f"trace-{trainer.global_rank}.json"
        self._profiler = torch.profiler.profile(
            schedule=torch.profiler.schedule(wait=SKIPPED_STEPS, warmup=WARMUP_STEPS, active=TRACED_STEPS, repeat=1),
            on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(path)),
        )
        self._profiler.start()

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a step."""
        if self._profiler is not None:
            self._profiler.step()

    def teardown(self, *_: Any, **__: Any) -> None:
        """Write the trace of a run that ended before it was full."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
