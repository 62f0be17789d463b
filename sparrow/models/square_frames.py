"""What families share that show every frame as a square of one size."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from typing_extensions import override

from sparrow.models.backbone import Backbone
from sparrow.models.frame_buffer import Frames, Size


class SquareFrames(Backbone):
    """Adapter of a family whose vision encoder sees squares of `frame_size_px`, each with the same tokens."""

    @property
    @abstractmethod
    def square_token_ids(self) -> list[int]:
        """Token ids that stand for a frame, markers included."""

    @override
    def configure_processor(self) -> None:
        self.processor.image_processor.size = {"height": self.frame_size_px, "width": self.frame_size_px}

    @override
    def frame_token_ids(self, size: Size) -> list[int]:
        return self.square_token_ids

    @override
    def prepared_size(self, size: Size) -> Size:
        return self.frame_size_px, self.frame_size_px

    @override
    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        return {"pixel_values": self.normalized_stack(frames, dtype)}

    @staticmethod
    @override
    def frame_size_of(processor: Any) -> int:
        return int(processor.image_processor.size["height"])
