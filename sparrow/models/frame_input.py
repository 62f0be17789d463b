"""How a family shows frames to its vision encoder: the limits of their size, resizing, pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor

from sparrow.core.errors import BackboneError, MediaError
from sparrow.models.frame_buffer import CHANNELS, Frames, NativeVideo, Size, normalize
from sparrow.models.registry import FACTS, FAMILIES, FamilyFacts, check_native_video

MOST_FRAME_PX, USUAL_FRAME_PX = 2048, 448
PREPARING = ("do_resize", "do_rescale", "do_normalize")


class WithoutVideo:
    """Put before a family's processor class: no video processor, which needs torchvision, is made, loaded or saved."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts of the processor."""
        parent: Any = super()
        return [name for name in parent.get_attributes() if name != "video_processor"]


class FrameInput(ABC):
    """What a `Backbone` does with frames, which are shown as images, or those of a video as a native video."""

    family: ClassVar[str]  # its name in the registry, or the dotted path of a user's own
    facts: ClassVar[FamilyFacts]
    processor_class: ClassVar[Any] = AutoProcessor
    video_processor_type: ClassVar[str | None] = None
    enlarges_frames: ClassVar[bool] = False

    def __init__(
        self,
        processor: Any,
        config: Any,
        frame_size_px: int,
        *,
        native_video: bool = False,
        min_frame_size_px: int | None = None,
    ) -> None:
        if native_video:
            check_native_video(self.family)
        if min_frame_size_px is not None and not (self.enlarges_frames and min_frame_size_px <= frame_size_px):
            above = f"it is above backbone.frame_size_px={frame_size_px}"
            raise BackboneError(
                f"backbone.min_frame_size_px={min_frame_size_px} does not fit {self.family}: "
                f"{above if self.enlarges_frames else 'it has one size only'}; set it to null"
            )
        self.processor, self.tokenizer, self.config = processor, processor.tokenizer, config
        self.frame_size_px, self.min_frame_size_px = frame_size_px, min_frame_size_px
        self.native_video = native_video
        self.video_settings: dict[str, Any] = {}  # of a checkpoint's video_preprocessor_config.json
        self._check_colours()
        self.configure_processor()

    def __init_subclass__(cls) -> None:
        path = f"{cls.__module__}.{cls.__qualname__}"
        cls.family = next((name for name in FAMILIES if FAMILIES.path(name) == path), path)
        if cls.family in FACTS:
            cls.facts = FACTS[cls.family]

    @abstractmethod
    def configure_processor(self) -> None:
        """Set the processor to one view of `frame_size_px` a frame, so that an exported folder reads frames alike."""

    @staticmethod
    @abstractmethod
    def frame_size_of(processor: Any) -> int:
        """The frame size that a saved processor is set to."""

    def show_usual_frames(self) -> None:
        """Show frames of `USUAL_FRAME_PX` where the checkpoint's own limit is that of single pictures."""
        if self.frame_size_px > MOST_FRAME_PX:
            self.frame_size_px = USUAL_FRAME_PX
            self.configure_processor()

    def frame_limits(self) -> dict[str, Any]:
        """The limits of a frame's size, and where they come from."""
        return {"frame_size_px": self.frame_size_px}

    @abstractmethod
    def prepared_size(self, size: Size) -> Size:
        """(height, width) at which a frame of `size` is shown to the vision encoder."""

    def video_frame_size(self, size: Size, num_frames: int) -> Size:
        """The same for a frame of a native video of `num_frames` frames."""
        return self.prepared_size(size)

    def _shown_size(self, size: Size, num_video_frames: int = 0) -> Size:
        """The same for a frame of a native video where it has some, else of an image.

        Raises:
            MediaError: If the frame's proportions are none that the model can be shown.
        """
        try:
            return self.video_frame_size(size, num_video_frames) if num_video_frames else self.prepared_size(size)
        except ValueError as error:
            raise MediaError(
                f"a frame of {size[1]} x {size[0]} px cannot be shown to {self.family}: {error}",
                remedy="crop it, or skip the sample with on_bad_sample=skip",
            ) from error

    def prepare_frame(self, frame: np.ndarray) -> np.ndarray:
        """Resize a uint8 frame [h, w, 3] or page [h, w] as the family's image processor does; the same layout."""
        return self.resized(frame, self.prepared_size((int(frame.shape[0]), int(frame.shape[1]))))

    def prepare_video_frame(self, frame: np.ndarray, num_frames: int) -> np.ndarray:
        """The same as the family's video processor does for a video of `num_frames` frames."""
        return self.prepare_frame(frame)

    def resized(self, frame: np.ndarray, size: Size) -> np.ndarray:
        """A frame at `size` (height, width) with the image processor's filter; untouched where it has that size."""
        if frame.shape[:2] == size:
            return frame
        resample = Image.Resampling(self.processor.image_processor.resample)
        return np.asarray(Image.fromarray(frame).resize((size[1], size[0]), resample))

    def prepare_frames(self, frames: Sequence[np.ndarray], videos: Sequence[NativeVideo] = ()) -> Frames:
        """Frames at the sizes that the vision encoder sees; `videos` says which of them are native videos."""
        lengths = {place: video.num_frames for video in videos for place in video.places}
        prepared = [
            self.prepare_video_frame(frame, lengths[place]) if place in lengths else self.prepare_frame(frame)
            for place, frame in enumerate(frames)
        ]
        return Frames.of(prepared, videos)

    @abstractmethod
    def pixel_inputs(self, frames: Frames, dtype: torch.dtype) -> dict[str, Any]:
        """Model inputs of prepared frames: rescaled, normalised and laid out where the frames lie."""

    def normalized(self, stack: Tensor, dtype: torch.dtype) -> Tensor:
        """uint8 frames [k, 3, h, w] rescaled and normalised as the image processor does."""
        settings = self.processor.image_processor
        return normalize(stack, settings.rescale_factor, settings.image_mean, settings.image_std).to(dtype)

    def normalized_stack(self, frames: Frames, dtype: torch.dtype) -> Tensor:
        """The same of frames that have one size, [n, 3, H, W]."""
        (stack,) = frames.stacks()
        return self.normalized(stack, dtype)

    def _check_colours(self) -> None:
        """Refuse what the processor's settings say that frames would be shown otherwise than."""
        settings = self.processor.image_processor
        wrong = [f"{name} is false" for name in PREPARING if getattr(settings, name, True) is False]
        for name, least in (("image_mean", 0.0), ("image_std", 1e-6)):
            value = getattr(settings, name)
            if np.shape(value) != (CHANNELS,) or min(value) < least:
                wrong.append(f"{name} is {value}, not {CHANNELS} numbers of at least {least:g}")
        if wrong:
            raise BackboneError(
                f"preprocessor_config.json (or processor_config.json): {wrong[0]}; Sparrow resizes, rescales and "
                "normalises every frame: correct the file, or take another checkpoint"
            )

    def _require_multiple(self, step_px: int) -> None:
        if self.frame_size_px <= 0 or self.frame_size_px % step_px:
            fits = max(step_px, self.frame_size_px // step_px * step_px)
            self._refuse_size(f"{self.family}: it must be a multiple of {step_px}; take {fits}")

    def _require_size(self, size_px: int) -> None:
        if self.frame_size_px != size_px:
            self._refuse_size(f"this {self.family} checkpoint: its vision encoder takes {size_px} only; set it to that")

    def _refuse_size(self, why: str) -> None:
        raise BackboneError(f"backbone.frame_size_px={self.frame_size_px} does not fit {why}")
