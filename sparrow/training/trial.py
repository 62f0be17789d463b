"""The longest planned micro-batch, tried once before the first step, so that what does not fit fails at once."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.seed import isolate_rng

from sparrow.core.config import Optimizer
from sparrow.core.errors import RunError
from sparrow.core.memory import GIBIBYTE
from sparrow.data.batching import StepDataset
from sparrow.data.micro_batches import MicroBatch
from sparrow.models.backbone import Backbone
from sparrow.training.losses import segment_losses
from sparrow.training.module import FineTuning

log = logging.getLogger(__name__)
ADVICE = (
    "lower batching.micro_batch_size_samples (the losses stay the same), frames.max_frames or "
    "batching.max_seq_len_tokens; set tuning.activation_checkpointing=true or trainer.precision=bf16-true; "
    "choose tuning=lora or optimizer=adafactor; or use more or larger GPUs"
)
STATES_PER_PARAMETER = {"adamw": 2, "adamw_8bit": 2, "adafactor": 0}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on a device that holds the whole model."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All together."""
        return self.parameters + self.gradients + self.optimizer + self.activations

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / GIBIBYTE:.2f}" for name, size in vars(self).items())
        return f"about {self.total / GIBIBYTE:.2f} GiB ({parts})"


def estimate_memory(
    backbone: Backbone, optimizer: Optimizer, longest_tokens: int, *, checkpointing: bool, precision: str
) -> MemoryEstimate:
    """A rough estimate of a training step's memory.

    Parameters as they are stored; a gradient of the same type for every trainable one; two optimizer states of the
    same type for AdamW, of a byte each for its 8-bit form, none to speak of for Adafactor. Activations are those of
    the language model alone, after arXiv 2205.05198 (equations 2 and 6) without attention scores, which memory-
    efficient attention does not keep: 34 bytes a token, layer and hidden unit in 16 bits, twice that in 32; with
    activation checkpointing two a layer and those of one layer whole. Logits of supervised tokens, the vision encoder
    and the allocator's waste are not counted.

    Args:
        backbone: With its model, tuned.
        optimizer: Its name tells the states.
        longest_tokens: Tokens of the longest micro-batch, padding included.
        checkpointing: Whether activations are computed again in the backward pass.
        precision: Lightning's name.
    """
    parameters = list(backbone.model.parameters())
    trainable = [p for p in parameters if p.requires_grad]
    gradients = sum(p.numel() * p.element_size() for p in trainable)
    state_bytes = sum(p.numel() for p in trainable) if optimizer.name == "adamw_8bit" else gradients
    text = backbone.config.get_text_config()
    width = 1 if "16" in precision else 2
    whole_layer = 34 * width * longest_tokens * text.hidden_size
    layers = text.num_hidden_layers
    kept = (
        2 * width * longest_tokens * text.hidden_size * layers + whole_layer if checkpointing else whole_layer * layers
    )
    return MemoryEstimate(
        parameters=sum(p.numel() * p.element_size() for p in parameters),
        gradients=gradients,
        optimizer=STATES_PER_PARAMETER[optimizer.name] * state_bytes,
        activations=kept,
    )


def longest_micro_batch(dataset: StepDataset) -> MicroBatch:
    """This rank's planned micro-batch of the most tokens, and of several the one with the longest sample."""
    plan, lengths = dataset.plan, dataset.lengths

    def size(positions: np.ndarray) -> tuple[int, int]:
        own = lengths[positions]
        longest = int(own.max(initial=0))
        return int(own.sum()) if plan.grouping.packed else len(own) * longest, longest

    planned = (
        positions
        for step in range(len(dataset))
        for positions in plan.micro_batches(step, dataset.world_size)[dataset.rank]
    )
    return dataset.micro_batch(max(planned, key=size))


class TryLongest(Callback):
    """Runs forward and backward on every rank's longest micro-batch, without a step, and forgets it again.

    Parameters, gradients and random numbers are as before afterwards.

    Args:
        dataset: Makes the steps of this rank.
        precision: Lightning's name, for the estimate.
    """

    def __init__(self, dataset: Callable[[], StepDataset], precision: str) -> None:
        self.dataset, self.precision = dataset, precision

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Try.

        Raises:
            RunError: If a rank runs out of memory, with advice.
        """
        assert isinstance(pl_module, FineTuning)
        started = time.perf_counter()
        with isolate_rng():
            micro_batch = longest_micro_batch(self.dataset())
            rows, tokens = micro_batch.input_ids.shape
            estimate = estimate_memory(
                pl_module.backbone,
                pl_module.optimizer_settings,
                rows * tokens,
                checkpointing=pl_module.tuning.activation_checkpointing,
                precision=self.precision,
            )
            size = f"the longest micro-batch, {rows} x {tokens} tokens with {len(micro_batch.frames)} frames"
            if trainer.is_global_zero:
                log.info("trying %s; estimated memory %s", size, estimate)
            problem = _try(trainer, pl_module, micro_batch)
        failed = pl_module.sum_over_ranks(torch.tensor([float(problem is not None)]))
        if failed.item() > 0:
            where = "on this rank" if problem else "on another rank"
            raise RunError(
                f"out of memory {where}: {size}; estimated memory {estimate}; "
                f"{ADVICE}{f' ({problem})' if problem else ''}"
            )
        if trainer.is_global_zero:
            log.info("%s", _outcome(trainer.strategy.root_device, estimate, time.perf_counter() - started))


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


def _outcome(device: torch.device, estimate: MemoryEstimate, seconds: float) -> str:
    if device.type != "cuda":
        return f"it fits ({seconds:.1f} s)"
    peak, available = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    expected = peak + estimate.optimizer
    told = (
        f"it fits ({seconds:.1f} s): {peak / GIBIBYTE:.2f} GiB, with optimizer states about "
        f"{expected / GIBIBYTE:.2f} of {available / GIBIBYTE:.2f} GiB"
    )
    return told if expected < available else f"{told}, which is too much: {ADVICE}"
