"""The callbacks that look at a training run without changing it, as the settings ask for them."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.callbacks import Callback

from sparrow.data.datamodule import PlannedData
from sparrow.training.callbacks import LogFrames, Progress, RanksAgree, RecordTrouble
from sparrow.training.profiling import Profile
from sparrow.training.settings import TrainingSettings
from sparrow.training.trial import TryLongest
from sparrow.training.validation import Validation


def watching(config: TrainingSettings, data: PlannedData, folder: Path, checkpoints: Path) -> list[Callback]:
    """Callbacks for logging, validation, the profiler and what is looked at before the first step."""
    plan = data.plan
    num_ranks = config.trainer.devices * config.trainer.num_nodes
    callbacks: list[Callback] = [RanksAgree(num_ranks, plan), LogFrames()]
    callbacks.append(RecordTrouble(folder, plan.failures_allowed(data.bad_samples.max_fraction)))
    if config.trainer.try_longest_micro_batch:
        callbacks.append(TryLongest(lambda: data.dataset(plan), config.trainer.precision))
    held_out = plan.held_out
    if held_out is not None:
        best_into = checkpoints if config.checkpointing.keep_best else None
        every = config.validation.every_n_steps
        callbacks.append(Validation(lambda: data.loader(held_out), every, len(plan.steps), best_into))
    if config.trainer.profiler == "torch":
        callbacks.append(Profile(folder))
    return [*callbacks, Progress(shown=config.trainer.progress_bar)]
