"""Processors without their video half: frames are shown as images, and every video processor needs torchvision."""

from __future__ import annotations

from typing import Any


class WithoutVideo:
    """Put before a family's processor class: it is made, loaded and saved without a video processor."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts of the processor."""
        parent: Any = super()
        return [name for name in parent.get_attributes() if name != "video_processor"]
