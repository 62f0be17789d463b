"""The LightningDataModule: a plan's steps for the rank that asks."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from sparrow.data.batching import StepBatch, StepDataset, StepLoader
from sparrow.data.plan import Plan, PlanInputs
from sparrow.data.rejecting import FAIL, BadSamples
from sparrow.data.settings import Batching


class PlannedData(pl.LightningDataModule):
    """Serves `StepBatch`es of a plan; a resumed run goes on at the trainer's global step."""

    def __init__(self, plan: Plan, inputs: PlanInputs, batching: Batching, bad_samples: BadSamples = FAIL) -> None:
        super().__init__()
        self.plan, self.inputs, self.batching, self.bad_samples = plan, inputs, batching, bad_samples

    def dataset(self, plan: Plan) -> StepDataset:
        """Steps of a plan for this rank."""
        assert self.trainer is not None
        return StepDataset(
            plan,
            self.inputs,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            skip_failed=self.bad_samples.policy == "skip",
        )

    def loader(self, plan: Plan, first_step: int = 0) -> StepLoader:
        """Loads the steps of a plan for this rank."""
        assert self.trainer is not None
        return StepLoader(
            self.dataset(plan),
            self.batching.num_workers,
            first_step=first_step,
            sample_timeout_s=self.batching.sample_timeout_s,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def train_dataloader(self) -> StepLoader:
        """All steps of the plan that are still to be done."""
        assert self.trainer is not None
        return self.loader(self.plan, self.trainer.global_step)

    def transfer_batch_to_device(self, batch: StepBatch, device: torch.device, dataloader_idx: int) -> StepBatch:
        """Left to the training step, which moves one micro-batch at a time: a whole step may not fit the device."""
        return batch
