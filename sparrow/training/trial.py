"""The longest planned micro-batch, tried once before the first step, so that what does not fit fails at once."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.seed import isolate_rng

from sparrow.core.errors import RunError
from sparrow.core.process_memory import GIBIBYTE
from sparrow.data.batching import StepDataset
from sparrow.data.micro_batches import MicroBatch
from sparrow.models.memory_estimate import MemoryEstimate, estimate_memory
from sparrow.training.losses import segment_losses
from sparrow.training.module import FineTuning
from sparrow.training.strategies import Sharding, gradients_stay_apart

log = logging.getLogger(__name__)


class TryLongest(Callback):
    """Runs forward and backward on every rank's longest micro-batch, without a step, and forgets it again.

    Parameters, gradients and random numbers are as before afterwards.
    """

    def __init__(self, dataset: Callable[[], StepDataset], precision: str) -> None:
        self.dataset, self.precision = dataset, precision

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Try; a RunError with advice if a rank runs out of memory."""
        assert isinstance(pl_module, FineTuning)
        started, sharding = time.perf_counter(), pl_module.sharding
        with isolate_rng():
            dataset = self.dataset()
            micro_batch = dataset.micro_batch(dataset.plan.longest_micro_batch(dataset.world_size, [dataset.rank]))
            rows, tokens = micro_batch.input_ids.shape
            estimate = estimate_memory(
                pl_module.backbone,
                pl_module.optimizer_settings.name,
                rows * tokens,
                checkpointing=pl_module.tuning.activation_checkpointing,
                precision=self.precision,
                num_shards=1 if sharding is None else sharding.num_shards(trainer.world_size),
            )
            size = f"the longest micro-batch, {rows} x {tokens} tokens with {len(micro_batch.frames)} frames"
            if trainer.is_global_zero:
                log.info("trying %s; estimated memory %s", size, estimate)
            # A copy must not wait in its backward pass for one that ran out of memory.
            with gradients_stay_apart(trainer.strategy.model or pl_module):
                problem = _try(trainer, pl_module, micro_batch)
        # With shards, the others wait for this rank within the model: they end when it does, a sum would never come.
        lost = problem is not None
        if not (lost and sharding is not None):
            lost = pl_module.sum_over_ranks(torch.tensor([float(lost)])).item() > 0
        if lost:
            where = "on this rank" if problem else "on another rank"
            raise RunError(
                f"out of memory {where}: {size}; estimated memory {estimate}; "
                f"{_advice(sharding)}{f' ({problem})' if problem else ''}"
            )
        if trainer.is_global_zero:
            seconds = time.perf_counter() - started
            log.info("%s", _outcome(trainer.strategy.root_device, estimate, seconds, _advice(sharding)))


def _try(trainer: pl.Trainer, module: FineTuning, micro_batch: MicroBatch) -> str | None:
    """Forward and backward; the first line of the error where memory runs out."""
    problem = None
    try:
        with trainer.precision_plugin.train_step_context():
            losses = segment_losses(module.backbone, micro_batch.to(module.device))
        module.manual_backward(losses.sum())
    except torch.OutOfMemoryError as error:
        problem = str(error).splitlines()[0]
    module.zero_grad(set_to_none=True)
    if problem is not None:
        gc.collect()
        torch.cuda.empty_cache()
    return problem


def _advice(sharding: Sharding | None) -> str:
    smaller = "tuning=lora or optimizer=adafactor" if sharding is None else "tuning=lora"
    return (
        "lower batching.micro_batch_size_samples (the losses stay the same), frames.max_frames or "
        "batching.max_seq_len_tokens; set tuning.activation_checkpointing=true or trainer.precision=bf16-mixed; "
        f"choose {smaller}; or use more or larger GPUs"
    )


def _outcome(device: torch.device, estimate: MemoryEstimate, seconds: float, advice: str) -> str:
    if device.type != "cuda":
        return f"it fits ({seconds:.1f} s)"
    peak, available = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    expected = peak + estimate.optimizer
    told = (
        f"it fits ({seconds:.1f} s): {peak / GIBIBYTE:.2f} GiB, with optimizer states about "
        f"{expected / GIBIBYTE:.2f} of {available / GIBIBYTE:.2f} GiB"
    )
    return told if expected < available else f"{told}, which is too much: {advice}"
