"""The loss on held-out samples during training, which leaves the training as it would be without."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.seed import isolate_rng

from sparrow.data.batching import StepBatch
from sparrow.training.checkpoints import BEST_CHECKPOINT
from sparrow.training.losses import segment_losses, segment_weights
from sparrow.training.module import FineTuning

log = logging.getLogger(__name__)


class Validation(Callback):
    """Logs `validation/loss` and the loss of every component, after every so many steps and after the last.

    The loss is that of training without dropout and without gradients: a mean over the held-out samples of all ranks.
    Random numbers are as before afterwards. `batches` makes an iterator over this rank's held-out samples, of equally
    many micro-batches on every rank; `best_into` is the folder that keeps the checkpoint of the least loss so far.
    """

    def __init__(
        self,
        batches: Callable[[], Iterable[StepBatch]],
        every_n_steps: int,
        num_steps: int,
        best_into: Path | None = None,
    ) -> None:
        self.batches, self.every_n_steps, self.num_steps, self.best_into = batches, every_n_steps, num_steps, best_into
        self.best_loss, self.best_step = math.inf, -1

    def state_dict(self) -> dict[str, Any]:
        """The best so far, for the checkpoint."""
        return {"best_loss": self.best_loss, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best_loss, self.best_step = state_dict["best_loss"], state_dict["best_step"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Validate where it is the turn."""
        assert isinstance(pl_module, FineTuning)
        done = batch.step + 1
        if done % self.every_n_steps and done != self.num_steps:
            return
        losses = self.losses(trainer, pl_module)
        if trainer.is_global_zero:
            log.info("validation after step %d: loss %.4f", done, losses["validation/loss"])
        for logger in trainer.loggers:
            logger.log_metrics(losses, step=batch.step)
        if losses["validation/loss"] < self.best_loss:
            self.best_loss, self.best_step = losses["validation/loss"], batch.step
            if self.best_into is not None:
                trainer.save_checkpoint(self.best_into / BEST_CHECKPOINT)

    def losses(self, trainer: pl.Trainer, module: FineTuning) -> dict[str, float]:
        """Losses on the held-out samples by the name that they are logged under, equal on all ranks."""
        sums = torch.zeros(2 * len(module.component_names) + 2)
        training = [part for part in module.modules() if part.training]
        module.eval()
        try:
            with isolate_rng(), torch.no_grad(), trainer.precision_plugin.val_step_context():
                for batch in self.batches():
                    for micro_batch in batch.micro_batches:
                        counts = micro_batch.supervised_tokens()
                        weights = segment_weights(counts, module.tuning.loss_normalization)
                        losses = segment_losses(module.backbone, micro_batch.to(module.device)).cpu()
                        sums[:-2] += module.component_sums(losses, counts, micro_batch.components)
                        sums[-2:] += torch.stack([(losses * weights).sum(), (counts * weights).sum()])
        finally:
            for part in training:
                part.training = True
        sums = module.sum_over_ranks(sums)
        of_components = {f"validation/loss_{name}": loss for name, loss in module.component_losses(sums).items()}
        return {"validation/loss": float(sums[-2] / sums[-1]), **of_components}
