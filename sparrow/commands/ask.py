"""Questions about a video or pictures, put to a checkpoint: replies, the frames shown, the options weighed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from transformers.utils import logging as transformers_logging

from sparrow.commands.checkpoint_settings import as_trained, select, settings_of
from sparrow.commands.export import model_of
from sparrow.core.errors import ConfigError, DataError, MediaError
from sparrow.data.encode import Presentation
from sparrow.evaluation.engine import answer
from sparrow.evaluation.formats.protocols import DIRECTLY
from sparrow.evaluation.predictions import Prediction
from sparrow.evaluation.prompts import Protocol, clip_of
from sparrow.evaluation.questions import Question
from sparrow.evaluation.units import Units
from sparrow.evaluation.workers import device_of, open_checkpoint
from sparrow.media.animations import is_animation
from sparrow.media.fonts import SHIPPED_FONT
from sparrow.media.frames import Clip
from sparrow.media.settings import FramePolicy
from sparrow.models.backbone import Backbone
from sparrow.models.settings import CheckpointOptions

ROOT = Path(Path.cwd().anchor)  # media are given by their whole paths
MAX_SHEET_COLUMNS = 6
THUMBNAIL_PX = 224
CAPTION_PX = 14
GAP_PX = 8


@dataclass(frozen=True)
class Request:
    """Questions to a model about a video or a part of it, about pictures, or about nothing that is shown.

    `max_frames` and `frame_size_px` are as the run was trained where None; a checkpoint whose own limit is that of
    single pictures shows frames of the usual size.
    """

    checkpoint: str
    media: Sequence[Path]
    questions: Sequence[str]
    options: Sequence[str] = ()
    max_frames: int | None = None
    frame_size_px: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    max_new_tokens: int = 256
    accelerator: str = "auto"


@dataclass(frozen=True)
class Answer:
    """A reply, the option it names, and the log-probability of each option's letter."""

    reply: str
    choice: int | None
    rule: str | None
    likelihoods: tuple[float, ...]


@dataclass(frozen=True)
class Answers:
    """One for each question, the frames shown, and the tokens that they took."""

    answers: tuple[Answer, ...]
    clip: Clip
    num_visual_tokens: int


def ask(request: Request) -> Answers:
    """Ask a run's model, a Hugging Face folder or a Hub id.

    Raises:
        ConfigError: If there is one option only, what is shown is neither one video nor pictures, or frames of a video
            are chosen where there is none.
        MediaError: If a file cannot be read.
        BackboneError: If the checkpoint cannot be loaded.
    """
    transformers_logging.disable_progress_bar()
    checkpoint, options = request.checkpoint, tuple(request.options)
    if len(options) == 1:
        raise ConfigError("one option is no choice; give two or more, or none")
    video, pictures = _media(request.media)
    if video is None and (request.start_s, request.end_s, request.max_frames) != (None, None, None):
        raise ConfigError("--start, --end and --frames are about a video, and none is given; leave them out")
    questions = [
        Question(
            id=str(number),
            video=video,
            pictures=pictures,
            question=text,
            options=options,
            gold=None,
            category="",
            instruction=DIRECTLY if options else "",
            start_s=request.start_s,
            end_s=request.end_s,
        )
        for number, text in enumerate(request.questions)
    ]
    policy = FramePolicy(**select(settings_of(checkpoint), "frames", {}))
    if request.max_frames is not None:
        policy = replace(policy, max_frames=request.max_frames)
    protocol = Protocol(
        scoring="generate",
        show_options=True,
        max_new_tokens=request.max_new_tokens,
        max_new_tokens_open_ended=request.max_new_tokens,
        presentation=Presentation(frames=policy),
    )
    clip = _read(questions[0], protocol)
    device = device_of(request.accelerator)
    precision = "32-true" if device.type == "cpu" else "bf16-true"
    opened = as_trained(checkpoint, CheckpointOptions(frame_size_px=request.frame_size_px))
    backbone = open_checkpoint(model_of(checkpoint), opened, device, precision)
    if request.frame_size_px is None:
        backbone.show_usual_frames()
    replied = _predict(backbone, questions, protocol)
    weighed: list[Prediction | None] = [None] * len(questions)
    if options:
        weighed = [*_predict(backbone, questions, replace(protocol, scoring="letter_likelihood"))]
    answers = tuple(
        Answer(
            reply=reply.reply or "",
            choice=reply.choice,
            rule=reply.rule,
            likelihoods=(weight.likelihoods or ()) if weight else (),
        )
        for reply, weight in zip(replied, weighed, strict=True)
    )
    counted = [backbone.visual_tokens((frame.shape[0], frame.shape[1]), 1) for frame in clip.frames]
    if video is not None and backbone.native_video:
        counted = [backbone.visual_tokens(clip.frames[0].shape[:2], len(clip.frames))]
    return Answers(answers, clip, sum(counted))


def _media(paths: Sequence[Path]) -> tuple[str | None, tuple[str, ...]]:
    """The one video, or the pictures, that a question is about, by their whole paths."""
    names = [str(path.resolve().relative_to(ROOT)) for path in paths]
    pictures = [_is_picture(path) for path in paths]
    if all(pictures):
        return None, tuple(names)
    if len(paths) > 1:
        raise ConfigError(
            f"{paths[pictures.index(False)]} is no picture; a question is about one video, or about pictures"
        )
    return names[0], ()


def _is_picture(path: Path) -> bool:
    try:
        return path.is_file() and not is_animation(path) and bool(Image.open(path).format)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return False


def _read(question: Question, protocol: Protocol) -> Clip:
    try:
        return clip_of(question, ROOT, protocol)
    except MediaError as error:
        remedy = error.remedy
        if remedy is not None and "record" in remedy:  # of a data set, which there is none of here
            remedy = "check the path, --start and --end"
        raise MediaError(error.what, where=error.where or str(question.video), remedy=remedy) from error


def _predict(backbone: Backbone, questions: list[Question], protocol: Protocol) -> list[Prediction]:
    hashes = {question.id: "" for question in questions}
    (predictions,) = answer(Units([questions], backbone, ROOT, protocol, "ask"), hashes)
    for prediction in predictions:
        if prediction.rule is not None and prediction.reply is None and prediction.likelihoods is None:
            raise DataError(prediction.rule)
    return predictions


def described(answered: Answers, request: Request) -> str:
    """The answers as lines of text."""
    lines = []
    for text, reply in zip(request.questions, answered.answers, strict=True):
        lines += [f"asked:  {text}"] if len(request.questions) > 1 else []
        lines.append(f"reply:  {reply.reply or '(empty)'}")
        if request.options:
            named = ascii_uppercase[reply.choice] if reply.choice is not None else "none"
            lines.append(f"option: {named} (by the rule: {reply.rule})")
            likeliest = max(reply.likelihoods, default=None)
            for letter, option, value in zip(ascii_uppercase, request.options, reply.likelihoods, strict=False):
                mark = ", the likeliest" if value == likeliest else ""
                lines.append(f"  {letter}. {option}: log-probability {value:.3f}{mark}")
    clip, tokens = answered.clip, f"{answered.num_visual_tokens:,} tokens"
    if clip.times_s:
        times = ", ".join(f"{time:.1f}" for time in clip.times_s)
        lines.append(f"frames: {len(clip.frames)} of {request.media[0]}, at {times} s; {tokens}")
    elif len(clip.frames):
        lines.append(f"pictures: {len(clip.frames)}; {tokens}")
    return "\n".join(lines)


def contact_sheet(clip: Clip) -> Image.Image:
    """The frames in reading order, small ones enlarged, each below its index and time."""
    font = ImageFont.truetype(str(SHIPPED_FONT), CAPTION_PX)
    frames = [ImageOps.contain(Image.fromarray(frame), (THUMBNAIL_PX, THUMBNAIL_PX)) for frame in clip.frames]
    times = [f", {time:.2f} s" for time in clip.times_s] or [""] * len(clip.indices)
    captions = [f"frame {index}{time}" for index, time in zip(clip.indices, times, strict=True)]
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
