"""Prepared frames of any sizes in one buffer, which crosses from worker to parent to device in one piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise

import numpy as np
import torch
from torch import Tensor

Size = tuple[int, int]
CHANNELS = 3


@dataclass(frozen=True)
class NativeVideo:
    """Frames of one size that go into the model as a video, not as images.

    Args:
        first: Place of the first one among the frames.
        num_frames: How many they are.
        interval_s: Mean time from one to the next; 0 where there is one only.
    """

    first: int
    num_frames: int
    interval_s: float

    @classmethod
    def at(cls, first: int, times_s: Sequence[float]) -> NativeVideo:
        """The video of frames with these times in s."""
        gaps = len(times_s) - 1
        return cls(first, len(times_s), (times_s[-1] - times_s[0]) / gaps if gaps else 0.0)

    @property
    def places(self) -> range:
        """Places of its frames among all frames."""
        return range(self.first, self.first + self.num_frames)


@dataclass(frozen=True)
class Frames:
    """Frames in reading order; iterating gives uint8 [3, h, w] each.

    Args:
        pixels: uint8 [sum of 3 h w], each frame as [h, w, 3].
        sizes: (height, width) of each frame.
        videos: Which of them are native videos, in reading order; the others are images.
    """

    pixels: Tensor
    sizes: tuple[Size, ...]
    videos: tuple[NativeVideo, ...] = ()

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], videos: Sequence[NativeVideo] = ()) -> Frames:
        """Copy frames, uint8 [h, w, 3] or grey [h, w]."""
        sizes = tuple((int(array.shape[0]), int(array.shape[1])) for array in arrays)
        pixels = np.empty(sum(CHANNELS * h * w for h, w in sizes), dtype=np.uint8)
        begin = 0
        for array, (height, width) in zip(arrays, sizes, strict=True):
            end = begin + CHANNELS * height * width
            pixels[begin:end].reshape(height, width, CHANNELS)[:] = array if array.ndim == 3 else array[..., None]
            begin = end
        return cls(torch.from_numpy(pixels), sizes, tuple(videos))

    @classmethod
    def joined(cls, parts: Sequence[Frames]) -> Frames:
        """The frames of all parts, one after another."""
        if not parts:
            return cls.of(())
        begins = [0, *accumulate(len(part) for part in parts)]
        return cls(
            torch.cat([part.pixels for part in parts]),
            tuple(size for part in parts for size in part.sizes),
            tuple(
                replace(video, first=begin + video.first)
                for part, begin in zip(parts, begins, strict=False)
                for video in part.videos
            ),
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Tensor]:
        for stack in self.stacks():
            yield from stack

    def __getitem__(self, chosen: slice) -> Frames:
        """Some frames that follow each other, as images."""
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

    def images(self) -> Frames:
        """The frames that are not of a native video."""
        if not self.videos:
            return self
        of_videos = {place for video in self.videos for place in video.places}
        return Frames.joined([self[place : place + 1] for place in range(len(self)) if place not in of_videos])

    def video_stacks(self) -> Iterator[Tensor]:
        """The frames of each native video, uint8 [n, 3, h, w]."""
        for video in self.videos:
            (stack,) = self[video.first : video.first + video.num_frames].stacks()
            yield stack

    def units(self) -> Iterator[tuple[Size, NativeVideo | None]]:
        """In reading order what goes into the model as one: an image or a native video, and the size of its frames."""
        begun = {video.first: video for video in self.videos}
        place = 0
        while place < len(self):
            video = begun.get(place)
            yield self.sizes[place], video
            place += video.num_frames if video is not None else 1

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Frames:
        """The same on another device."""
        return replace(self, pixels=self.pixels.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Frames:
        """The same in page-locked memory."""
        return replace(self, pixels=self.pixels.pin_memory())

    def _ends(self) -> list[int]:
        return [0, *accumulate(CHANNELS * h * w for h, w in self.sizes)]


def normalize(stack: Tensor, rescale: float, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 frames [k, 3, h, w] as (x * rescale - mean) / std, float32 and contiguous."""
    means, stds = (torch.tensor(values, dtype=torch.float64).view(1, CHANNELS, 1, 1) for values in (mean, std))
    scale, shift = (rescale / stds).float().to(stack.device), (means / stds).float().to(stack.device)
    # Bytes are put in order before they become floats, of which every later copy would be slower.
    return stack.contiguous().float().mul_(scale).sub_(shift)
