"""One question about one video, put to a checkpoint: the reply, the frames that were shown, the options weighed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase

from PIL import Image, ImageDraw, ImageFont, ImageOps
from transformers.utils import logging as transformers_logging

from sparrow.commands.checkpoint_settings import as_trained, model_of, select, settings_of
from sparrow.core.errors import ConfigError, DataError, MediaError
from sparrow.data.encode import Presentation
from sparrow.evaluation.engine import answer
from sparrow.evaluation.formats.protocols import DIRECTLY
from sparrow.evaluation.predictions import Prediction
from sparrow.evaluation.prompts import Protocol, clip_of
from sparrow.evaluation.questions import Question
from sparrow.evaluation.units import Units
from sparrow.evaluation.workers import device_of, open_checkpoint
from sparrow.media.fonts import SHIPPED_FONT
from sparrow.media.frames import Clip
from sparrow.media.settings import FramePolicy
from sparrow.models.backbone import Backbone
from sparrow.models.settings import CheckpointOptions

MAX_SHEET_COLUMNS = 6
THUMBNAIL_PX = 224
CAPTION_PX = 14
GAP_PX = 8


@dataclass(frozen=True)
class VideoQuestion:
    """A question to a model about a video, or about a part of it.

    `max_frames` is as the run was trained where None.
    """

    checkpoint: str
    video: Path
    text: str
    options: Sequence[str] = ()
    max_frames: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    max_new_tokens: int = 256
    accelerator: str = "auto"


@dataclass(frozen=True)
class Answer:
    """A reply, the option it names, the log-probability of each option's letter, and the frames shown."""

    reply: str
    choice: int | None
    rule: str | None
    likelihoods: tuple[float, ...]
    clip: Clip


def ask(asked: VideoQuestion) -> Answer:
    """Ask a run's model, a Hugging Face folder or a Hub id.

    Raises:
        ConfigError: If there is one option only.
        MediaError: If the video cannot be read.
        BackboneError: If the checkpoint cannot be loaded.
    """
    transformers_logging.disable_progress_bar()
    checkpoint, video, options = asked.checkpoint, asked.video, tuple(asked.options)
    if len(options) == 1:
        raise ConfigError("one option is no choice; give two or more, or none")
    question = Question(
        id="question",
        video=video.name,
        question=asked.text,
        options=options,
        gold=None,
        category="",
        instruction=DIRECTLY if options else "",
        start_s=asked.start_s,
        end_s=asked.end_s,
    )
    protocol = Protocol(
        scoring="generate",
        show_options=True,
        max_new_tokens=asked.max_new_tokens,
        max_new_tokens_open_ended=asked.max_new_tokens,
        presentation=Presentation(frames=_policy(checkpoint, asked.max_frames)),
    )
    clip = _read(question, video, protocol)
    device = device_of(asked.accelerator)
    precision = "32-true" if device.type == "cpu" else "bf16-true"
    backbone = open_checkpoint(model_of(checkpoint), as_trained(checkpoint, CheckpointOptions()), device, precision)
    replied = _predict(backbone, question, video.parent, protocol)
    weighed = None
    if options:
        weighed = _predict(backbone, question, video.parent, replace(protocol, scoring="letter_likelihood"))
    return Answer(
        reply=replied.reply or "",
        choice=replied.choice,
        rule=replied.rule,
        likelihoods=(weighed.likelihoods or ()) if weighed else (),
        clip=clip,
    )


def _read(question: Question, video: Path, protocol: Protocol) -> Clip:
    try:
        return clip_of(question, video.parent, protocol)
    except MediaError as error:
        remedy = error.remedy
        if remedy is not None and "record" in remedy:  # of a data set, which there is none of here
            remedy = "check the path of the video, --start and --end"
        raise MediaError(error.what, where=error.where or str(video), remedy=remedy) from error


def _predict(backbone: Backbone, question: Question, media_root: Path, protocol: Protocol) -> Prediction:
    ((prediction,),) = answer(Units([[question]], backbone, media_root, protocol, "ask"), {question.id: ""})
    if prediction.rule is not None and prediction.reply is None and prediction.likelihoods is None:
        raise DataError(prediction.rule)
    return prediction


def _policy(checkpoint: str, max_frames: int | None) -> FramePolicy:
    policy = FramePolicy(**select(settings_of(checkpoint), "frames", {}))
    return policy if max_frames is None else replace(policy, max_frames=max_frames)


def described(answered: Answer, asked: VideoQuestion) -> str:
    """The answer as lines of text."""
    times = ", ".join(f"{time:.1f}" for time in answered.clip.times_s)
    lines = [f"reply:  {answered.reply or '(empty)'}"]
    if asked.options:
        named = ascii_uppercase[answered.choice] if answered.choice is not None else "none"
        lines.append(f"option: {named} (by the rule: {answered.rule})")
        likeliest = max(answered.likelihoods, default=None)
        for letter, option, value in zip(ascii_uppercase, asked.options, answered.likelihoods, strict=False):
            mark = ", the likeliest" if value == likeliest else ""
            lines.append(f"  {letter}. {option}: log-probability {value:.3f}{mark}")
    lines.append(f"frames: {len(answered.clip.frames)} of {asked.video}, at {times} s")
    return "\n".join(lines)


def contact_sheet(clip: Clip) -> Image.Image:
    """The frames in reading order, small ones enlarged, each below its index and time."""
    font = ImageFont.truetype(str(SHIPPED_FONT), CAPTION_PX)
    frames = [ImageOps.contain(Image.fromarray(frame), (THUMBNAIL_PX, THUMBNAIL_PX)) for frame in clip.frames]
    captions = [f"frame {index}, {time:.2f} s" for index, time in zip(clip.indices, clip.times_s, strict=True)]
    columns = min(MAX_SHEET_COLUMNS, math.ceil(math.sqrt(len(frames))))
    caption_height = CAPTION_PX + GAP_PX
    width = GAP_PX + max([math.ceil(font.getlength(text)) for text in captions] + [frame.width for frame in frames])
    height = GAP_PX + max(frame.height for frame in frames) + caption_height
    size = (GAP_PX + columns * width, GAP_PX + math.ceil(len(frames) / columns) * height)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for i, (frame, caption) in enumerate(zip(frames, captions, strict=True)):
        x, y = GAP_PX + i % columns * width, GAP_PX + i // columns * height
        draw.text((x, y), caption, fill="black", font=font)
        sheet.paste(frame, (x, y + caption_height))
    return sheet
