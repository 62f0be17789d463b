"""From planned steps to batches: every rank's share of a step as micro-batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from sparrow.core.errors import DataError
from sparrow.data.encode import EncodedSample, encode
from sparrow.data.micro_batches import MicroBatch, pack, pad
from sparrow.data.plan import Plan, PlanInputs
from sparrow.data.supervised_loader import AtWork, watched


class FailedSample(NamedTuple):
    """A planned sample that could not be read when its turn came; `detail` also says where and how to fix it."""

    position: int
    component: str
    sample_id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class StepBatch:
    """One optimizer step of one rank.

    Args:
        micro_batches: Equally many on every rank.
        sample_ids: Samples of this rank, as `component/id`.
        num_tokens: Tokens of this rank without padding.
        num_visual_tokens: Tokens of these that stand for frames.
        num_computed_tokens: Tokens of this rank with padding and with frames that only keep ranks in step.
        flops: Operations of this rank's samples, forwards and backwards, as `sparrow.models.flops` counts them.
        failed: Samples of this rank whose slots are empty, because they could no longer be read.
        wait_s: Seconds that training waited for this batch.
    """

    step: int
    micro_batches: list[MicroBatch]
    sample_ids: list[str]
    num_tokens: int
    num_visual_tokens: int
    num_computed_tokens: int
    flops: float
    failed: list[FailedSample] = field(default_factory=list)
    wait_s: float = 0.0

    def pin_memory(self) -> StepBatch:
        """The same in page-locked memory."""
        return replace(self, micro_batches=[micro_batch.pin_memory() for micro_batch in self.micro_batches])


class StepDataset(Dataset):
    """Optimizer steps of one rank; item i is step i of the plan, decoded, drawn and encoded when it is asked for.

    With `skip_failed`, a sample that can no longer be read leaves its slot empty and is named in the batch; another
    never takes its place.
    """

    def __init__(
        self,
        plan: Plan,
        inputs: PlanInputs,
        *,
        rank: int = 0,
        world_size: int = 1,
        skip_failed: bool = False,
    ) -> None:
        self.plan, self.rank, self.world_size, self.skip_failed = plan, rank, world_size, skip_failed
        self.sources, self.backbone, self.presentations = inputs.sources, inputs.backbone, inputs.presentations
        self.at_work = AtWork()
        self.component_names = list(inputs.presentations)
        # As they are in the ledger: a tuple a sample would take hundreds of MB in every worker of a large plan.
        self._columns = [plan.ledger[name].array for name in ("component", "source", "row", "sample_id")]

    def __len__(self) -> int:
        return len(self.plan.steps)

    def __getitem__(self, step: int) -> StepBatch:
        mine = self.plan.micro_batches(step, self.world_size)[self.rank]
        failed: list[FailedSample] = []
        encoded = [self._encode_all(positions.tolist(), failed) for positions in mine]
        micro_batches = [self._joined(samples) for samples in encoded]
        lost = {sample.position for sample in failed}
        samples = [sample for of_micro_batch in encoded for sample, _ in of_micro_batch]
        return StepBatch(
            step=step,
            micro_batches=micro_batches,
            sample_ids=[self.name(position) for positions in mine for position in positions],
            num_tokens=sum(len(sample.input_ids) for sample in samples),
            num_visual_tokens=sum(sample.num_visual_tokens for sample in samples),
            num_computed_tokens=sum(micro_batch.input_ids.numel() for micro_batch in micro_batches),
            flops=float(sum(self.plan.flops[p] for positions in mine for p in positions.tolist() if p not in lost)),
            failed=failed,
        )

    def micro_batch(self, positions: np.ndarray) -> MicroBatch:
        """The micro-batch of the samples at some ledger positions, without those that cannot be read."""
        return self._joined(self._encode_all(positions.tolist(), []))

    def _joined(self, samples: Sequence[tuple[EncodedSample, int]]) -> MicroBatch:
        join = pack if self.plan.packed else pad
        return join(samples, self.backbone)

    def _encode_all(self, positions: Sequence[int], failed: list[FailedSample]) -> list[tuple[EncodedSample, int]]:
        """Samples at ledger positions with their components; those that cannot be read are added to `failed`."""
        encoded = []
        for position in positions:
            self.at_work.begin(position)
            component, _, _, sample_id = self._row(position)
            try:
                encoded.append((self.encode(position), self.component_names.index(component)))
            except DataError as error:
                if not self.skip_failed:
                    raise
                failed.append(FailedSample(position, component, sample_id, error.what, str(error)))
        return encoded

    def name(self, position: int) -> str:
        """Component and id of the sample at a ledger position."""
        component, _, _, sample_id = self._row(position)
        return f"{component}/{sample_id}"

    def _row(self, position: int) -> tuple[str, str, int, str]:
        component, source, row, sample_id = (column[position] for column in self._columns)
        return component, source, int(row), sample_id

    def encode(self, position: int) -> EncodedSample:
        """The sample at a ledger position as tensors.

        Raises:
            DataError: If it is not what was planned, or its media can no longer be read.
        """
        component, source, row, sample_id = self._row(position)
        data = self.sources[source]
        try:
            sample = encode(data[row], data.media_roots, self.backbone, self.presentations[component])
        except DataError as error:
            raise error.within(f"sample {sample_id!r}", source) from error
        if len(sample.input_ids) != self.plan.lengths[position]:
            raise DataError(
                f"it has {len(sample.input_ids)} tokens, {self.plan.lengths[position]} were planned",
                source=source,
                where=f"sample {sample_id!r}",
                remedy="a media file changed after planning; run again",
            )
        return sample


class StepLoader:
    """Loads the steps of a `StepDataset` in order, from `first_step` on.

    Its length is that of the whole plan, so that a resumed run counts on from where it was.
    """

    def __init__(
        self,
        dataset: StepDataset,
        num_workers: int,
        *,
        first_step: int = 0,
        sample_timeout_s: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.num_workers, self.first_step = dataset, num_workers, first_step
        self.sample_timeout_s, self.pin_memory = sample_timeout_s, pin_memory
        self.waits = False  # for a step that is not loaded yet

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[StepBatch]:
        steps = self._steps()
        while True:
            asked, self.waits = time.perf_counter(), True
            batch = next(steps, None)
            self.waits = False
            if batch is None:
                return
            yield replace(batch, wait_s=time.perf_counter() - asked)

    def _steps(self) -> Iterator[StepBatch]:
        return watched(
            self.dataset,
            self.dataset.at_work,
            self.dataset.name,
            num_workers=self.num_workers,
            timeout_s=self.sample_timeout_s,
            batch_size=None,
            sampler=range(self.first_step, len(self.dataset)),
            pin_memory=self.pin_memory,
        )
