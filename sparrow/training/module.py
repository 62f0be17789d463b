"""The LightningModule: one `StepBatch` is one optimizer step, its loss normalised over the whole global batch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sparrow.core.config import Optimizer, Schedule, Tuning
from sparrow.core.errors import RunError
from sparrow.data.batching import StepBatch
from sparrow.models.backbone import Backbone
from sparrow.training.losses import segment_losses, segment_weights
from sparrow.training.optim import build_optimizer, build_schedule


class FineTuning(pl.LightningModule):
    """Fine-tunes a backbone on planned steps.

    The loss of a step is the mean cross-entropy over the supervised tokens of the global batch, whatever the
    micro-batches, accumulation or number of ranks: every micro-batch contributes the sum over its tokens divided
    by that number. `tuning.loss_normalization` takes the mean over samples or micro-batches instead.

    Args:
        backbone: With its model.
        optimizer: Settings of AdamW.
        schedule: Settings of the learning rate.
        num_steps: Optimizer steps of the plan.
        component_names: Components of the mixture, whose losses are logged apart.
        tuning: How the parts learn, and what the loss is a mean over.
    """

    def __init__(
        self,
        backbone: Backbone,
        optimizer: Optimizer,
        schedule: Schedule,
        num_steps: int,
        component_names: Sequence[str],
        tuning: Tuning,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone = backbone
        self.model: nn.Module = backbone.model
        self.optimizer_settings = optimizer
        self.schedule_settings = schedule
        self.tuning = tuning
        self.num_steps = num_steps
        self.component_names = list(component_names)
        self.stop_requested = False
        self.step_losses: list[float] = []

    def configure_optimizers(self) -> Any:
        """AdamW and the schedule, stepped by `training_step`."""
        optimizer = build_optimizer(self.backbone.parts(), self.optimizer_settings, self.tuning)
        return [optimizer], [build_schedule(optimizer, self.schedule_settings, self.num_steps)]

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:
        """One optimizer step of this rank; gradients and figures are those of all ranks together."""
        started = time.perf_counter()
        optimizer = self.optimizers()
        scheduler = self.lr_schedulers()
        assert isinstance(optimizer, pl.core.optimizer.LightningOptimizer)
        optimizer.zero_grad()
        normalization = self.tuning.loss_normalization
        counts = [micro_batch.supervised_tokens() for micro_batch in batch.micro_batches]
        weights = [segment_weights(of_segments, normalization) for of_segments in counts]
        own = [(float(n.sum()), float((n * weight).sum())) for n, weight in zip(counts, weights, strict=True)]
        supervised, units = self._sum_over_ranks(torch.tensor(own).sum(dim=0)).tolist()
        if units == 0:
            raise RunError(
                f"no sample of step {batch.step} could be read ({', '.join(batch.sample_ids)}); nothing would be learnt"
            )
        # DDP averages gradients over ranks; times the world size, their mean is the sum that the loss is made of.
        scale = self.trainer.world_size / units
        sums = torch.zeros(2 * len(self.component_names) + 2)
        for number, micro_batch in enumerate(batch.micro_batches):
            on_device = micro_batch.to(self.device)
            with self._no_gradient_sync(until_last=number < len(batch.micro_batches) - 1):
                losses = segment_losses(self.backbone, on_device)
                weighted = (losses * weights[number].to(losses.device)).sum()
                self.manual_backward(weighted * scale)
            sums[:-2] += self._component_sums(losses.detach(), counts[number], micro_batch.components)
            sums[-2] += weighted.detach().cpu()
        sums[-1] = float(self.stop_requested)
        sums = self._sum_over_ranks(sums)
        self.stop_requested = bool(sums[-1] > 0)
        loss = float(sums[-2] / units)
        if math.isnan(loss):
            raise RunError(
                f"the loss of step {batch.step} is NaN; its samples on this rank: {', '.join(batch.sample_ids)}; "
                "lower optimizer.learning_rate, or look at them with `sparrow preview`"
            )
        gradient_norm = self._clip(optimizer)
        optimizer.step()
        scheduler.step()  # type: ignore[union-attr]
        self.step_losses.append(loss)
        self._log_step(batch, loss, gradient_norm, sums, supervised, time.perf_counter() - started)

    def _clip(self, optimizer: Any) -> float | None:
        limit = self.optimizer_settings.max_grad_norm
        if limit is None:
            return None
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        return float(nn.utils.clip_grad_norm_(parameters, limit))

    def _component_sums(self, losses: Tensor, counts: Tensor, components: Tensor) -> Tensor:
        """Loss sums a component, then token counts a component, on the CPU."""
        count = len(self.component_names)
        sums = torch.zeros(2 * count, dtype=torch.float64)
        real = components >= 0
        sums[:count].index_add_(0, components[real], losses.double().cpu()[real])
        sums[count:].index_add_(0, components[real], counts.double()[real])
        return sums.float()

    def _no_gradient_sync(self, *, until_last: bool) -> contextlib.AbstractContextManager:
        wrapped = self.trainer.strategy.model
        if until_last and hasattr(wrapped, "no_sync"):
            return wrapped.no_sync()  # type: ignore[union-attr, operator]
        return contextlib.nullcontext()

    def _sum_over_ranks(self, values: Tensor) -> Tensor:
        if self.trainer.world_size > 1:
            on_device = values.to(self.device)
            dist.all_reduce(on_device)
            return on_device.cpu()
        return values

    def _log_step(
        self,
        batch: StepBatch,
        loss: float,
        gradient_norm: float | None,
        sums: Tensor,
        supervised: float,
        seconds: float,
    ) -> None:
        self.log("train/loss", loss, prog_bar=True)
        if gradient_norm is not None:
            self.log("train/gradient_norm", gradient_norm)
        self.log("train/learning_rate", self.lr_schedulers().get_last_lr()[0])  # type: ignore[union-attr]
        self.log("train/supervised_tokens", supervised)
        count = len(self.component_names)
        for name, total, tokens in zip(self.component_names, sums[:count], sums[count : 2 * count], strict=True):
            if tokens > 0:
                self.log(f"train/loss_{name}", float(total / tokens))
        self.log("throughput/step_s", seconds)
