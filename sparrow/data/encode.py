"""How a sample meets the model: media become frames, the chat becomes tokens, alike in training and evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparrow.core.errors import DataError, MediaError
from sparrow.core.files import Roots, inside_root
from sparrow.core.hashing import content_hash
from sparrow.core.samples import Image, LongText, Part, Sample, Text, Video
from sparrow.core.settings import identity
from sparrow.data.source_media import MediaFacts
from sparrow.media.cache import FrameCache
from sparrow.media.frame_folders import find_video
from sparrow.media.frames import VideoInfo, look_at_header, planned_frames, read_frames, read_with_info, shown_size
from sparrow.media.images import read_image
from sparrow.media.pages import (
    PageNotes,
    count_pages,
    drawn_style,
    layout_state,
    page_notes,
    render_text,
    style_fingerprint,
)
from sparrow.media.settings import FramePolicy, TextStyle
from sparrow.models.backbone import Backbone, Size, TokenizedChat
from sparrow.models.frame_buffer import Frames, NativeVideo

PresentAs = Literal["video", "pages", "text"]
IGNORED = -100


@dataclass(frozen=True)
class Presentation:
    """How the samples of a component are shown: which frames of videos, and what becomes of long texts.

    `frame_cache` is a folder where decoded frames are kept, `changes` are the settings that differ from those of the
    other components, for the record; they change nothing of what is shown.
    """

    frames: FramePolicy = field(default_factory=FramePolicy)
    style: TextStyle = field(default_factory=TextStyle)
    present_as: PresentAs = "video"
    frame_cache: Path | None = field(default=None, compare=False, repr=False)
    changes: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def fingerprint(self) -> str:
        """Hash of all that is shown depends on; the page style, fonts by their content, only where pages are drawn."""
        pages = style_fingerprint(self.style) if self.present_as == "pages" else None
        return content_hash([identity(replace(self.frames, verify="auto")), self.present_as, pages])

    def measured_state(self) -> str:
        """Hash of all that what is measured depends on here, for caches: also this machine's fonts and libraries."""
        layout = layout_state(self.style) if self.present_as == "pages" else None
        return content_hash([self.fingerprint(), self.frames.verify, layout])


@dataclass(frozen=True)
class EncodedSample:
    """A sample as tensors.

    `input_ids` and `labels` are int64 [n], labels -100 where nothing is learnt.
    """

    input_ids: Tensor
    labels: Tensor
    frames: Frames
    num_visual_tokens: int


class VideoReading(NamedTuple):
    """How a planned video is read: from the beginning or by seeks, and decoded while planning or not."""

    is_sequential: int
    is_verified: int
    is_interlaced: int
    is_fallback: int

    @classmethod
    def of(cls, info: VideoInfo, *, is_verified: bool) -> VideoReading:
        """Of a video of which this is known."""
        return cls(not info.is_sought, is_verified, info.is_interlaced, info.is_fallback)


NO_READING = VideoReading(0, 0, 0, 0)


@dataclass(frozen=True)
class Shown:
    """What a media part shows: the size of each frame and, of a video, its time in s, NaN where it is not known."""

    sizes: tuple[Size, ...]
    times_s: tuple[float, ...] | None = None
    reading: VideoReading | None = None


class SampleCost(NamedTuple):
    """What a sample costs: its tokens, its frames, how many of the frames are pages, and how its videos are read."""

    chat: TokenizedChat
    num_frames: int
    num_pages: int
    readings: Sequence[int]


def load_frames(sample: Sample, media_root: Roots, how: Presentation) -> list[np.ndarray]:
    """The frames that the sample shows, in order: uint8 [h, w, 3], pages uint8 [h, w].

    Raises:
        MediaError: If a file cannot be decoded or a text cannot be drawn.
    """
    return [frame for part in sample.parts() for frame in _part_frames(part, media_root, how)[0]]


def tokenize(
    sample: Sample,
    backbone: Backbone,
    shown: Sequence[Shown],
    how: Presentation,
    *,
    add_generation_prompt: bool = False,
    in_order: bool = False,
) -> TokenizedChat:
    """Tokens of the sample's chat, given what each media part shows; see `Backbone.tokenize_chat`.

    Raises:
        DataError: If a text holds a control token, or a frame has no time that is to be written.
    """
    remaining = iter(shown)
    messages: list[dict[str, Any]] = []
    for message in sample.messages:
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, Text):
                content.append({"type": "text", "text": part.text})
            elif isinstance(part, LongText) and how.present_as == "text":
                content.append({"type": "text", "text": part.text + "\n"})
            else:
                content += _content(next(remaining), backbone, how)
        messages.append({"role": message.role, "supervised": message.supervised, "content": content})
    sizes = [size for part in shown for size in part.sizes]
    return backbone.tokenize_chat(messages, sizes, add_generation_prompt=add_generation_prompt, in_order=in_order)


def prepare(frames: Sequence[np.ndarray], shown: Sequence[Shown], backbone: Backbone) -> Frames:
    """Frames as the vision encoder sees them, those of each video as one native video where the backbone has it so."""
    videos, first = [], 0
    for part in shown:
        if backbone.native_video and part.times_s:
            videos.append(NativeVideo.at(first, part.times_s))
        first += len(part.sizes)
    return backbone.prepare_frames(frames, videos)


def notes_of_pages(sample: Sample, how: Presentation) -> PageNotes:
    """What is noted of the sample's pages, if it is shown as some."""
    texts = [part.text for part in sample.parts() if isinstance(part, LongText) and how.present_as == "pages"]
    return reduce(PageNotes.joined, (page_notes(text, how.style) for text in texts), PageNotes())


def measure(
    sample: Sample, media_root: Roots, backbone: Backbone, how: Presentation, facts: MediaFacts | None = None
) -> SampleCost:
    """Tokens and numbers of frames and pages of a sample; only videos whose header does not prove them are decoded.

    Files that `facts` knows are not opened; what probing says of the others is added to it.

    Raises:
        DataError: If nothing would be learnt from the sample, or its media cannot be opened.
    """
    parts = _media_parts(sample, how)
    shown = [_planned(part, media_root, how, facts or MediaFacts({})) for part in parts]
    chat = tokenize(sample, backbone, shown, how)
    if not chat.supervised.any():
        raise DataError("no token is supervised", remedy="a training sample needs an assistant turn")
    num_frames = [len(part.sizes) for part in shown]
    of_texts = [count for part, count in zip(parts, num_frames, strict=True) if isinstance(part, LongText)]
    readings = [part.reading for part in shown if part.reading is not None]
    return SampleCost(chat, sum(num_frames), sum(of_texts), [*map(sum, zip(NO_READING, *readings, strict=True))])


def encode(
    sample: Sample,
    media_root: Roots,
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
    read = [_part_frames(part, media_root, how) for part in _media_parts(sample, how)]
    shown = [Shown(sizes_of(frames), times_s) for frames, times_s in read]
    chat = tokenize(sample, backbone, shown, how, add_generation_prompt=add_generation_prompt)
    return EncodedSample(
        input_ids=torch.from_numpy(chat.input_ids),
        labels=torch.from_numpy(np.where(chat.supervised, chat.input_ids, IGNORED)),
        frames=prepare([frame for frames, _ in read for frame in frames], shown, backbone),
        num_visual_tokens=chat.num_visual_tokens,
    )


def sizes_of(frames: Iterable[np.ndarray]) -> tuple[Size, ...]:
    """(height, width) of each frame."""
    return tuple((int(frame.shape[0]), int(frame.shape[1])) for frame in frames)


def _content(shown: Shown, backbone: Backbone, how: Presentation) -> list[dict[str, Any]]:
    """A media part as parts of a chat: images, images with their times, or one native video."""
    if not shown.times_s:
        return [{"type": "image"}] * len(shown.sizes)
    needs_times = backbone.video_needs_times if backbone.native_video else how.frames.timestamps
    if needs_times and np.isnan(shown.times_s).any():
        raise MediaError(
            "the folder's frame rate is not known, so that its frames have no times",
            remedy="give the record its fps, or set frames.timestamps and backbone.native_video to false",
        )
    if backbone.native_video:
        return [{"type": "video", "times_s": shown.times_s}]
    if how.frames.timestamps:
        return [{"type": "image", "time_s": time_s} for time_s in shown.times_s]
    return [{"type": "image"}] * len(shown.sizes)


def _media_parts(sample: Sample, how: Presentation) -> list[Part]:
    texts: tuple[type, ...] = (Text, LongText) if how.present_as == "text" else (Text,)
    return [part for part in sample.parts() if not isinstance(part, texts)]


def _planned(part: Part, media_root: Roots, how: Presentation, facts: MediaFacts) -> Shown:
    """What a part will show; a video is decoded only where its header does not prove it."""
    match part:
        case Video():
            return _planned_video(part, media_root, how.frames, facts)
        case Image():
            # Decoded, not only its header: a truncated picture must be found while planning.
            if (size := facts.get(part)) is None:
                (size,) = sizes_of([read_image(inside_root(media_root, part.path))])
                facts.put(part, size)
            return Shown((tuple(size),))
        case LongText() if how.present_as == "pages":
            count, style = count_pages(part.text, how.style), drawn_style(part.text, how.style)
            return Shown(((style.page_height_px, style.page_width_px),) * count, _page_times(count, style))
        case LongText() if how.present_as == "video":
            raise _long_text_as_video()
    return Shown(())


def _planned_video(part: Video, media_root: Roots, policy: FramePolicy, facts: MediaFacts) -> Shown:
    known = facts.get(part)
    info = None if known is None else VideoInfo(**known)
    if info is None or not info.suffices(policy):
        path = find_video(media_root, part.path)
        if policy.verify != "frames" and isinstance(path, Path) and path.is_file():
            info = look_at_header(path, policy)
            facts.put(part, vars(info))
        if info is None or not info.suffices(policy):
            clip, info = read_with_info(path, policy, part.start_s, part.end_s, fps=part.fps)
            return Shown(sizes_of(clip.frames), clip.times_s, VideoReading.of(info, is_verified=True))
    indices = planned_frames(info, policy, part.start_s, part.end_s)
    times_s = tuple(map(info.start_of, indices))
    size = shown_size((info.height_px, info.width_px), len(indices), policy)
    return Shown((size,) * len(indices), times_s, VideoReading.of(info, is_verified=False))


def _part_frames(part: Part, media_root: Roots, how: Presentation) -> tuple[list[np.ndarray], tuple[float, ...] | None]:
    """The frames of a part and, of a video, their times in s."""
    match part:
        case Video():
            path = find_video(media_root, part.path)
            read = FrameCache(how.frame_cache).read_frames if how.frame_cache else read_frames
            frames, times_s = read(path, how.frames, part.start_s, part.end_s, fps=part.fps)
            return list(frames), tuple(times_s.tolist())
        case Image():
            return [read_image(inside_root(media_root, part.path))], None
        case LongText() if how.present_as == "pages":
            pages = render_text(part.text, how.style)
            return pages, _page_times(len(pages), how.style)
        case LongText() if how.present_as == "video":
            raise _long_text_as_video()
    return [], None


def _page_times(count: int, style: TextStyle) -> tuple[float, ...] | None:
    """Times in s of pages that are one native video."""
    return tuple(float(i) for i in range(count)) if style.as_video else None


def _long_text_as_video() -> MediaError:
    return MediaError(
        "the sample holds a long text but its component has present_as=video",
        remedy="set the component's present_as to pages or text",
    )
