"""How a sample meets the model: media become frames, the chat becomes tokens, alike in training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sparrow.core.errors import DataError, MediaError
from sparrow.core.files import inside_root
from sparrow.core.samples import Image, LongText, Part, Sample, Text, Video
from sparrow.media.cache import FrameCache
from sparrow.media.frames import FramePolicy, planned_frames, probe_video, read_frames
from sparrow.media.images import read_image
from sparrow.media.pages import count_pages, missing_characters, render_text
from sparrow.media.style import TextStyle
from sparrow.models.backbone import Backbone, Size, TokenizedChat
from sparrow.models.frames import Frames

PresentAs = Literal["video", "pages", "text"]
IGNORED = -100


@dataclass(frozen=True)
class Presentation:
    """How the samples of a component are shown: which frames of videos, and what becomes of long texts.

    `frame_cache` is a folder where decoded frames are kept; it changes nothing of what is shown.
    """

    frames: FramePolicy = field(default_factory=FramePolicy)
    style: TextStyle = field(default_factory=TextStyle)
    present_as: PresentAs = "video"
    frame_cache: Path | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class EncodedSample:
    """A sample as tensors.

    Args:
        input_ids: int64 [n].
        labels: int64 [n], -100 where nothing is learnt.
        frames: Prepared frames.
        num_visual_tokens: Tokens of the n that stand for frames.
    """

    input_ids: Tensor
    labels: Tensor
    frames: Frames
    num_visual_tokens: int


def load_frames(sample: Sample, media_root: Path, how: Presentation) -> list[np.ndarray]:
    """The frames that the sample shows, in order: uint8 [h, w, 3], pages uint8 [h, w].

    Raises:
        MediaError: If a file cannot be decoded or a text cannot be drawn.
    """
    return [frame for part in sample.parts() for frame in _part_frames(part, media_root, how)]


def tokenize(
    sample: Sample,
    backbone: Backbone,
    sizes: Sequence[Size],
    frames_per_part: Sequence[int],
    how: Presentation,
    *,
    add_generation_prompt: bool = False,
) -> TokenizedChat:
    """Tokens of the sample's chat, given the sizes of its frames and how many each media part shows."""
    counts = iter(frames_per_part)
    messages: list[dict[str, Any]] = []
    for message in sample.messages:
        content: list[dict[str, str]] = []
        for part in message.parts:
            if isinstance(part, Text):
                content.append({"type": "text", "text": part.text})
            elif isinstance(part, LongText) and how.present_as == "text":
                content.append({"type": "text", "text": part.text + "\n"})
            else:
                content += [{"type": "image"}] * next(counts)
        messages.append({"role": message.role, "content": content})
    return backbone.tokenize_chat(messages, sizes, add_generation_prompt=add_generation_prompt)


def missing_in_pages(sample: Sample, how: Presentation) -> int:
    """Characters of the sample's pages that no font has and that are drawn as boxes."""
    if how.present_as != "pages":
        return 0
    texts = [part.text for part in sample.parts() if isinstance(part, LongText)]
    return sum(sum(missing_characters(text, how.style).values()) for text in texts)


def measure(sample: Sample, media_root: Path, backbone: Backbone, how: Presentation) -> tuple[TokenizedChat, int]:
    """Tokens and number of frames of a sample without decoding anything.

    Raises:
        DataError: If nothing would be learnt from the sample, or its media cannot be opened.
    """
    per_part = [_part_sizes(part, media_root, how) for part in _media_parts(sample, how)]
    sizes = [size for part_sizes in per_part for size in part_sizes]
    chat = tokenize(sample, backbone, sizes, [len(s) for s in per_part], how)
    if not chat.supervised.any():
        raise DataError("no token is supervised", remedy="a training sample needs an assistant turn")
    return chat, len(sizes)


def encode(
    sample: Sample,
    media_root: Path,
    backbone: Backbone,
    how: Presentation,
    *,
    add_generation_prompt: bool = False,
) -> EncodedSample:
    """Everything the model needs of one sample.

    Raises:
        MediaError: If a file cannot be decoded or a text cannot be drawn.
        DataError: If a text holds one of the model's control tokens.
    """
    per_part = [_part_frames(part, media_root, how) for part in _media_parts(sample, how)]
    frames = [frame for part_frames in per_part for frame in part_frames]
    sizes = [(int(frame.shape[0]), int(frame.shape[1])) for frame in frames]
    chat = tokenize(
        sample, backbone, sizes, [len(f) for f in per_part], how, add_generation_prompt=add_generation_prompt
    )
    return EncodedSample(
        input_ids=torch.from_numpy(chat.input_ids),
        labels=torch.from_numpy(np.where(chat.supervised, chat.input_ids, IGNORED)),
        frames=backbone.prepare_frames(frames),
        num_visual_tokens=chat.num_visual_tokens,
    )


def media_files(sample: Sample, media_root: Path) -> list[Path]:
    """Paths of the files that the sample shows.

    Raises:
        MediaError: If a path leads out of the media root.
    """
    return [inside_root(media_root, part.path) for part in sample.parts() if isinstance(part, (Image, Video))]


def _media_parts(sample: Sample, how: Presentation) -> list[Part]:
    texts: tuple[type, ...] = (Text, LongText) if how.present_as == "text" else (Text,)
    return [part for part in sample.parts() if not isinstance(part, texts)]


def _part_sizes(part: Part, media_root: Path, how: Presentation) -> list[Size]:
    match part:
        case Video():
            info = probe_video(inside_root(media_root, part.path), fps=part.fps)
            indices = planned_frames(info, how.frames, part.start_s, part.end_s)
            return [(info.height_px, info.width_px)] * len(indices)
        case Image():
            # Decoded, not only its header: a truncated picture must be found while planning.
            height, width, _ = read_image(inside_root(media_root, part.path)).shape
            return [(height, width)]
        case LongText() if how.present_as == "pages":
            return [(how.style.page_height_px, how.style.page_width_px)] * count_pages(part.text, how.style)
        case LongText() if how.present_as == "video":
            raise _long_text_as_video()
    return []


def _part_frames(part: Part, media_root: Path, how: Presentation) -> list[np.ndarray]:
    match part:
        case Video():
            path = inside_root(media_root, part.path)
            read = FrameCache(how.frame_cache).read_frames if how.frame_cache else read_frames
            return list(read(path, how.frames, part.start_s, part.end_s, fps=part.fps)[0])
        case Image():
            return [read_image(inside_root(media_root, part.path))]
        case LongText() if how.present_as == "pages":
            return list(render_text(part.text, how.style))
        case LongText() if how.present_as == "video":
            raise _long_text_as_video()
    return []


def _long_text_as_video() -> MediaError:
    return MediaError(
        "the sample holds a long text but its component has present_as=video",
        remedy="set the component's present_as to pages or text",
    )
