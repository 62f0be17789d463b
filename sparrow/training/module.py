"""The LightningModule: one `StepBatch` is one optimizer step, its loss normalised over the whole global batch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sparrow.core.errors import RunError
from sparrow.data.batching import StepBatch
from sparrow.models.backbone import Backbone
from sparrow.models.settings import Tuning
from sparrow.training.losses import segment_losses, segment_weights
from sparrow.training.optim import build_optimizer, build_schedule
from sparrow.training.settings import Optimizer, Schedule
from sparrow.training.strategies import Sharding, clip_gradients, gradients_stay_apart
from sparrow.training.throughput import StepCounts, StepTimer, is_logging_step


class FineTuning(pl.LightningModule):
    """Fine-tunes a backbone on planned steps.

    The loss of a step is the mean cross-entropy over the supervised tokens of the global batch, whatever the
    micro-batches, accumulation or number of ranks: every micro-batch contributes the sum over its tokens divided
    by that number. `tuning.loss_normalization` takes the mean over samples or micro-batches instead. The losses of the
    components are logged apart. With `sharding`, the model has no weights yet.
    """

    def __init__(
        self,
        backbone: Backbone,
        optimizer: Optimizer,
        schedule: Schedule,
        num_steps: int,
        component_names: Sequence[str],
        tuning: Tuning,
        sharding: Sharding | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone = backbone
        self.model: nn.Module = backbone.model
        self.optimizer_settings = optimizer
        self.schedule_settings = schedule
        self.tuning = tuning
        self.sharding = sharding
        self.num_steps = num_steps
        self.component_names = list(component_names)
        self.stop_requested = False  # of this rank, at any moment
        self.stop_agreed = False  # by all ranks, because some rank was asked
        self.last_loss: float | None = None
        self.step_counts = StepCounts()
        self.step_times_s: dict[str, float] = {}
        self.not_finite: str | None = None
        self.dropout_seed = torch.initial_seed()
        self.strict_loading = False  # checkpoints hold what is learnt; `on_load_checkpoint` checks that they do

    def configure_model(self) -> None:
        """Shard the model if it is to be; called once the ranks are connected."""
        if self.sharding is not None:
            self.sharding.apply(self.backbone, self.trainer.strategy.root_device)

    def configure_optimizers(self) -> Any:
        """The optimizer and the schedule, stepped by `training_step`."""
        optimizer = build_optimizer(self.backbone.parts(), self.optimizer_settings, self.tuning)
        return [optimizer], [build_schedule(optimizer, self.schedule_settings, self.num_steps)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is learnt: the rest is the backbone's, and weights in four bits do not load from a state dict."""
        checkpoint["last_loss"] = self.last_loss
        checkpoint["state_dict"] = {name: checkpoint["state_dict"][name] for name in self._trained_names()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the last loss over, and refuse a checkpoint that lacks what is learnt.

        Raises:
            RunError: With the name of a parameter.
        """
        self.last_loss = checkpoint.get("last_loss")
        if "state_dict" not in checkpoint:
            return  # shards, which the strategy has put into the model already
        missing = [name for name in self._trained_names() if name not in checkpoint["state_dict"]]
        if missing:
            raise RunError(f"the checkpoint lacks {len(missing)} parameters that are learnt, such as {missing[0]}")

    def _trained_names(self) -> list[str]:
        return [name for name, parameter in self.named_parameters() if parameter.requires_grad]

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:
        """One optimizer step of this rank; gradients and figures are those of all ranks together."""
        timer = StepTimer(self.device, exact=is_logging_step(self.trainer, batch.step))
        optimizer = self.optimizers()
        scheduler = self.lr_schedulers()
        assert isinstance(optimizer, pl.core.optimizer.LightningOptimizer)
        optimizer.zero_grad()
        # Dropout is a function of the step, so that a resumed run draws what an undisturbed one does.
        words = np.random.SeedSequence([self.dropout_seed, batch.step, self.global_rank]).generate_state(2)
        torch.manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
        normalization = self.tuning.loss_normalization
        counts = [micro_batch.supervised_tokens() for micro_batch in batch.micro_batches]
        weights = [segment_weights(of_segments, normalization) for of_segments in counts]
        own = [(float(n.sum()), float((n * weight).sum())) for n, weight in zip(counts, weights, strict=True)]
        supervised, units = self.sum_over_ranks(torch.tensor(own).sum(dim=0)).tolist()
        if units == 0:
            raise RunError(
                f"no sample of step {batch.step} could be read ({', '.join(batch.sample_ids)}), nothing would be "
                "learnt; bring their files back and run the same command again"
            )
        # Ranks average their gradients; times the world size, the mean is the sum that the loss is made of.
        scale = self.trainer.world_size / units
        sums = torch.zeros(2 * len(self.component_names) + 2)
        for number, micro_batch in enumerate(batch.micro_batches):
            with timer.phase("transfer"):
                on_device = micro_batch.to(self.device)
            with self._no_gradient_sync(until_last=number < len(batch.micro_batches) - 1):
                with timer.phase("forward"):
                    losses = segment_losses(self.backbone, on_device)
                    weighted = (losses * weights[number].to(losses.device)).sum()
                with timer.phase("backward"):
                    self.manual_backward(weighted * scale)
            sums[:-2] += self.component_sums(losses.detach(), counts[number], micro_batch.components)
            sums[-2] += weighted.detach().cpu()
        sums[-1] = float(self.stop_requested)
        of_step = torch.tensor(StepCounts.of(batch, sum(tokens for tokens, _ in own)))
        sums, of_step = self.sum_over_ranks(torch.cat([sums, of_step])).split([len(sums), len(of_step)])
        self.stop_agreed = bool(sums[-1] > 0)
        loss = float(sums[-2] / units)
        with timer.phase("optimizer"):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            gradient_norm = clip_gradients(parameters, self.optimizer_settings.max_grad_norm or math.inf)
            self._look_at_numbers(batch, loss, gradient_norm)
            if self.not_finite:
                optimizer.zero_grad()  # without gradients, the step below changes nothing, and is counted as planned
            optimizer.step()
        rates = {f"train/learning_rate_{group['name']}": group["lr"] for group in optimizer.param_groups}
        scheduler.step()  # type: ignore[union-attr]
        self.last_loss = loss
        self.step_counts, self.step_times_s = StepCounts(*of_step.tolist()), timer.finish()
        self._log_step(batch.step, loss, gradient_norm, sums, supervised, rates)

    def _look_at_numbers(self, batch: StepBatch, loss: float, gradient_norm: float) -> None:
        """Note what is not finite, alike on all ranks; a RunError if it is to end the run."""
        self.not_finite = None
        for name, value in (("loss", loss), ("gradient norm", gradient_norm)):
            if not math.isfinite(value):
                self.not_finite = f"the {name} of step {batch.step} is {'NaN' if math.isnan(value) else 'infinite'}"
                break
        if self.not_finite and self.optimizer_settings.on_nan_loss == "stop":
            raise RunError(
                f"{self.not_finite}; its samples on this rank: {', '.join(batch.sample_ids)}; lower "
                "optimizer.learning_rate, look at them with `sparrow preview`, or set optimizer.on_nan_loss=skip"
            )

    def component_sums(self, losses: Tensor, counts: Tensor, components: Tensor) -> Tensor:
        """Loss sums a component, then token counts a component, on the CPU."""
        count = len(self.component_names)
        sums = torch.zeros(2 * count, dtype=torch.float64)
        real = components >= 0
        sums[:count].index_add_(0, components[real], losses.double().cpu()[real])
        sums[count:].index_add_(0, components[real], counts.double()[real])
        return sums.float()

    def component_losses(self, sums: Tensor) -> dict[str, float]:
        """The loss of each component that has supervised tokens, from `component_sums` over micro-batches and ranks."""
        names = self.component_names
        totals, counts = sums[: len(names)], sums[len(names) : 2 * len(names)]
        return {n: float(total / count) for n, total, count in zip(names, totals, counts, strict=True) if count > 0}

    def _no_gradient_sync(self, *, until_last: bool) -> contextlib.AbstractContextManager:
        wrapped = self.trainer.strategy.model
        return gradients_stay_apart(wrapped) if until_last and wrapped is not None else contextlib.nullcontext()

    def agree_to_stop(self) -> None:
        """Let all ranks stop where some rank was asked to; to be called on all."""
        self.stop_agreed = self.sum_over_ranks(torch.tensor([float(self.stop_requested)])).item() > 0

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """The sum of a small tensor on the CPU over all ranks, on the CPU."""
        if self.trainer.world_size > 1:
            on_device = values.to(self.device)
            dist.all_reduce(on_device)
            return on_device.cpu()
        return values

    def _log_step(
        self, step: int, loss: float, gradient_norm: float, sums: Tensor, supervised: float, rates: dict[str, float]
    ) -> None:
        self.log("train/loss", loss)
        if not is_logging_step(self.trainer, step):
            return  # nobody would see the others, and each costs time
        self.log_dict(
            {
                "train/gradient_norm": gradient_norm,
                "train/supervised_tokens": supervised,
                **rates,
                **{f"train/loss_{name}": loss for name, loss in self.component_losses(sums).items()},
            }
        )
