"""From planned steps to batches: every rank's share of a step as padded micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sparrow.core.errors import DataError
from sparrow.data.encode import IGNORED, EncodedSample, Presentation, encode
from sparrow.data.plan import Plan
from sparrow.data.sources import SourceData
from sparrow.data.watching import AtWork, watched
from sparrow.models.backbone import Backbone
from sparrow.models.frames import Frames

GREY = 128


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes.

    Args:
        input_ids: int64 [b, L], padded on the right.
        attention_mask: int64 [b, L], zero on padding.
        labels: int64 [b, L], -100 where nothing is learnt.
        frames: Prepared frames of all rows, in reading order.
        components: int64 [b], index of each row's mixture component, -1 for rows that only keep ranks in step.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    frames: Frames
    components: Tensor

    def to(self, device: torch.device) -> MicroBatch:
        """The same on another device."""
        return MicroBatch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))

    def pin_memory(self) -> MicroBatch:
        """The same in page-locked memory."""
        return MicroBatch(*(getattr(self, name).pin_memory() for name in self.__dataclass_fields__))


class FailedSample(NamedTuple):
    """A planned sample that could not be read when its turn came."""

    position: int
    component: str
    sample_id: str
    reason: str


@dataclass(frozen=True)
class StepBatch:
    """One optimizer step of one rank.

    Args:
        step: Number of the step in the plan.
        micro_batches: Equally many on every rank.
        sample_ids: Samples of this rank, as `component/id`.
        num_tokens: Tokens of this rank without padding.
        num_visual_tokens: Tokens of these that stand for frames.
        failed: Samples of this rank whose slots are empty, because they could no longer be read.
    """

    step: int
    micro_batches: list[MicroBatch]
    sample_ids: list[str]
    num_tokens: int
    num_visual_tokens: int
    failed: list[FailedSample] = field(default_factory=list)

    def pin_memory(self) -> StepBatch:
        """The same in page-locked memory."""
        return replace(self, micro_batches=[micro_batch.pin_memory() for micro_batch in self.micro_batches])


def share_of_rank(positions: np.ndarray, lengths: np.ndarray, rank: int, world_size: int) -> np.ndarray:
    """Positions of one rank: shares differ by one sample at most, and their token sums as little as greedily possible.

    Longest first, each to the lightest rank that still has room (Graham's LPT rule).
    """
    room = np.full(world_size, len(positions) // world_size)
    room[: len(positions) % world_size] += 1
    load = np.zeros(world_size, dtype=np.int64)
    mine: list[int] = []
    for position in positions[np.argsort(-lengths[positions], kind="stable")]:
        free = np.flatnonzero(room > 0)
        target = free[np.argmin(load[free])]
        load[target] += lengths[position]
        room[target] -= 1
        if target == rank:
            mine.append(position)
    return np.asarray(mine, dtype=np.int64)


def collate(samples: Sequence[tuple[EncodedSample, int]], backbone: Backbone) -> MicroBatch:
    """Pad encoded samples, each with its component's index, to one micro-batch.

    Where no sample shows a frame, a row of one grey frame without labels is added, so that every parameter has a
    gradient on every rank and in every step.
    """
    rows = [(sample.input_ids, sample.labels, component) for sample, component in samples]
    frames = [sample.frames for sample, _ in samples]
    if not any(len(f) for f in frames):
        side = backbone.frame_size_px
        frame_ids = torch.tensor(backbone.frame_token_ids(backbone.prepared_size((side, side))))
        rows.append((frame_ids, torch.full_like(frame_ids, IGNORED), -1))
        frames.append(backbone.prepare_frames([np.full((side, side), GREY, dtype=np.uint8)]))
    length = max(len(ids) for ids, _, _ in rows)
    input_ids = torch.full((len(rows), length), backbone.tokenizer.pad_token_id)
    labels = torch.full((len(rows), length), IGNORED)
    attention_mask = torch.zeros((len(rows), length), dtype=torch.int64)
    for i, (ids, row_labels, _) in enumerate(rows):
        input_ids[i, : len(ids)] = ids
        labels[i, : len(ids)] = row_labels
        attention_mask[i, : len(ids)] = 1
    components = torch.tensor([component for _, _, component in rows])
    return MicroBatch(input_ids, attention_mask, labels, Frames.joined(frames), components)


class StepDataset(Dataset):
    """Optimizer steps of one rank; item i is step i of the plan, decoded, drawn and encoded when it is asked for.

    With `skip_failed`, a sample that can no longer be read leaves its slot empty and is named in the batch; another
    never takes its place.
    """

    def __init__(
        self,
        plan: Plan,
        sources: Mapping[str, SourceData],
        backbone: Backbone,
        presentations: Mapping[str, Presentation],
        *,
        micro_batch_size_samples: int,
        rank: int = 0,
        world_size: int = 1,
        skip_failed: bool = False,
    ) -> None:
        self.plan, self.sources, self.backbone, self.presentations = plan, sources, backbone, presentations
        self.micro_batch_size_samples = micro_batch_size_samples
        self.rank, self.world_size = rank, world_size
        self.skip_failed = skip_failed
        self.at_work = AtWork()
        self.lengths = plan.lengths()
        self.component_names = list(presentations)
        columns = ("component", "source", "row", "sample_id")
        self.rows: list[tuple[Any, ...]] = list(plan.ledger[list(columns)].itertuples(index=False, name=None))

    def __len__(self) -> int:
        return len(self.plan.steps)

    def __getitem__(self, step: int) -> StepBatch:
        positions = self.plan.steps[step]
        mine = share_of_rank(positions, self.lengths, self.rank, self.world_size)
        encoded: list[tuple[EncodedSample, int]] = []
        failed: list[FailedSample] = []
        for position in mine:
            self.at_work.begin(position)
            try:
                encoded.append((self.encode(position), self._component(position)))
            except DataError as error:
                if not self.skip_failed:
                    raise
                failed.append(FailedSample(int(position), self.rows[position][0], self.rows[position][3], error.what))
        size = self.micro_batch_size_samples
        micro_batches = [
            collate(encoded[begin : begin + size], self.backbone) for begin in range(0, len(encoded), size)
        ]
        largest_share = -(-len(positions) // self.world_size)
        while len(micro_batches) < -(-largest_share // size):
            micro_batches.append(collate([], self.backbone))
        return StepBatch(
            step=step,
            micro_batches=micro_batches,
            sample_ids=[self.name(position) for position in mine],
            num_tokens=sum(len(sample.input_ids) for sample, _ in encoded),
            num_visual_tokens=sum(sample.num_visual_tokens for sample, _ in encoded),
            failed=failed,
        )

    def name(self, position: int) -> str:
        """Component and id of the sample at a ledger position."""
        return f"{self.rows[position][0]}/{self.rows[position][3]}"

    def encode(self, position: int) -> EncodedSample:
        """The sample at a ledger position as tensors.

        Raises:
            DataError: If it is not what was planned, or its media can no longer be read.
        """
        component, source, row, sample_id = self.rows[position]
        data = self.sources[source]
        try:
            sample = encode(data[row], data.media_root, self.backbone, self.presentations[component])
        except DataError as error:
            raise DataError(error.what, source=source, where=f"sample {sample_id!r}") from error
        if len(sample.input_ids) != self.lengths[position]:
            raise DataError(
                f"it has {len(sample.input_ids)} tokens, {self.lengths[position]} were planned",
                source=source,
                where=f"sample {sample_id!r}",
                remedy="a media file changed after planning; run again",
            )
        return sample

    def _component(self, position: int) -> int:
        return self.component_names.index(self.rows[position][0])


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

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[StepBatch]:
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
