"""Prepared frames of any sizes in one buffer, which crosses from worker to parent to device in one piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import numpy as np
import torch
from torch import Tensor

Size = tuple[int, int]
CHANNELS = 3


@dataclass(frozen=True)
class Frames:
    """Frames in reading order; iterating gives uint8 [3, h, w] each.

    Args:
        pixels: uint8 [sum of 3 h w], each frame as [h, w, 3].
        sizes: (height, width) of each frame.
    """

    pixels: Tensor
    sizes: tuple[Size, ...]

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> Frames:
        """Copy frames, uint8 [h, w, 3] or grey [h, w]."""
        sizes = tuple((int(array.shape[0]), int(array.shape[1])) for array in arrays)
        pixels = np.empty(sum(CHANNELS * h * w for h, w in sizes), dtype=np.uint8)
        begin = 0
        for array, (height, width) in zip(arrays, sizes, strict=True):
            end = begin + CHANNELS * height * width
            pixels[begin:end].reshape(height, width, CHANNELS)[:] = array if array.ndim == 3 else array[..., None]
            begin = end
        return cls(torch.from_numpy(pixels), sizes)

    @classmethod
    def joined(cls, parts: Sequence[Frames]) -> Frames:
        """The frames of all parts, one after another."""
        if not parts:
            return cls.of(())
        return cls(torch.cat([part.pixels for part in parts]), tuple(size for part in parts for size in part.sizes))

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Tensor]:
        for stack in self.stacks():
            yield from stack

    def __getitem__(self, chosen: slice) -> Frames:
        ends = self._ends()
        first, stop, step = chosen.indices(len(self))
        assert step == 1, "frames are cut, not thinned"
        return Frames(self.pixels[ends[first] : ends[max(first, stop)]], self.sizes[chosen])

    def stacks(self) -> Iterator[Tensor]:
        """Runs of frames of equal size, uint8 [k, 3, h, w] each."""
        ends = self._ends()
        places = [0, *accumulate(len(list(group)) for _, group in groupby(self.sizes))]
        for first, stop in pairwise(places):
            height, width = self.sizes[first]
            stack = self.pixels[ends[first] : ends[stop]].view(stop - first, height, width, CHANNELS)
            yield stack.permute(0, 3, 1, 2)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Frames:
        """The same on another device."""
        return Frames(self.pixels.to(device, non_blocking=non_blocking), self.sizes)

    def pin_memory(self) -> Frames:
        """The same in page-locked memory."""
        return Frames(self.pixels.pin_memory(), self.sizes)

    def _ends(self) -> list[int]:
        return [0, *accumulate(CHANNELS * h * w for h, w in self.sizes)]


def normalize(stack: Tensor, rescale: float, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 frames [k, 3, h, w] as (x * rescale - mean) / std, float32, in two operations."""
    means, stds = (torch.tensor(values, dtype=torch.float64).view(1, CHANNELS, 1, 1) for values in (mean, std))
    scale, shift = (rescale / stds).float().to(stack.device), (means / stds).float().to(stack.device)
    return stack.float().mul_(scale).sub_(shift)
