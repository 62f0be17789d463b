"""One question about one video, put to a checkpoint: the reply, the frames that were shown, the options weighed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase

from PIL import Image, ImageDraw

from sparrow.core.config import CheckpointOptions
from sparrow.core.errors import ConfigError, DataError
from sparrow.data.encode import Presentation
from sparrow.evaluation.engine import answer
from sparrow.evaluation.formats.protocols import DIRECTLY
from sparrow.evaluation.predictions import Prediction
from sparrow.evaluation.prompts import Clip, Protocol, read_clip
from sparrow.evaluation.questions import Question
from sparrow.media.frames import FramePolicy
from sparrow.models.backbone import Backbone
from sparrow.runs.evaluation import model_of
from sparrow.runs.ranks import device_of, open_checkpoint
from sparrow.runs.trained import as_trained, select, settings_of

SHEET_COLUMNS = 6
THUMBNAIL_PX = 224
LABEL_PX = 14


@dataclass(frozen=True)
class Answer:
    """A reply, the option it names, the log-probability of each option's letter, and the frames shown."""

    reply: str
    choice: int | None
    rule: str | None
    likelihoods: tuple[float, ...]
    clip: Clip


def ask(
    checkpoint: str,
    video: Path,
    text: str,
    options: tuple[str, ...] = (),
    *,
    max_frames: int | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    max_new_tokens: int = 256,
    accelerator: str = "auto",
) -> Answer:
    """Ask a run's model, a Hugging Face folder or a Hub id.

    Args:
        checkpoint: The model.
        video: A video file, an animation or a folder of frames.
        text: The question.
        options: Texts to choose from, lettered in the prompt.
        max_frames: Most frames; as the run was trained where None.
        start_s: Begin of the part that is shown, in seconds.
        end_s: Its end.
        max_new_tokens: Limit of the reply.
        accelerator: `auto` or `cpu`.

    Raises:
        ConfigError: If there is one option only.
        MediaError: If the video cannot be read.
        BackboneError: If the checkpoint cannot be loaded.
    """
    if len(options) == 1:
        raise ConfigError("one option is no choice; give two or more, or none")
    question = Question(
        id="question",
        video=video.name,
        question=text,
        options=options,
        gold=None,
        category="",
        instruction=DIRECTLY if options else "",
        start_s=start_s,
        end_s=end_s,
    )
    protocol = Protocol(
        scoring="generate",
        show_options=True,
        max_new_tokens=max_new_tokens,
        max_new_tokens_open_ended=max_new_tokens,
        presentation=Presentation(frames=_policy(checkpoint, max_frames)),
    )
    clip = read_clip(question, video.parent, protocol)
    device = device_of(accelerator)
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


def _predict(backbone: Backbone, question: Question, media_root: Path, protocol: Protocol) -> Prediction:
    ((prediction,),) = answer(backbone, [[question]], media_root, protocol, benchmark="ask", model_id="")
    if prediction.rule is not None and prediction.reply is None and prediction.likelihoods is None:
        raise DataError(prediction.rule)
    return prediction


def _policy(checkpoint: str, max_frames: int | None) -> FramePolicy:
    policy = FramePolicy(**select(settings_of(checkpoint), "frames", {}))
    return policy if max_frames is None else replace(policy, max_frames=max_frames)


def described(answered: Answer, video: Path, options: tuple[str, ...]) -> str:
    """The answer as lines of text."""
    times = ", ".join(f"{time:.1f}" for time in answered.clip.times_s)
    lines = [f"reply:  {answered.reply or '(empty)'}"]
    if options:
        named = ascii_uppercase[answered.choice] if answered.choice is not None else "none"
        lines.append(f"option: {named} (by the rule: {answered.rule})")
        for letter, option, value in zip(ascii_uppercase, options, answered.likelihoods, strict=False):
            lines.append(f"  {letter}. {option}: log-probability {value:.3f}")
    lines.append(f"frames: {len(answered.clip.frames)} of {video}, at {times} s")
    return "\n".join(lines)


def contact_sheet(clip: Clip) -> Image.Image:
    """The frames in reading order, each with its index and time."""
    thumbnails = []
    for frame in clip.frames:
        picture = Image.fromarray(frame)
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        thumbnails.append(picture)
    width = max(picture.width for picture in thumbnails)
    height = max(picture.height for picture in thumbnails) + LABEL_PX
    columns = min(SHEET_COLUMNS, len(thumbnails))
    sheet = Image.new("RGB", (columns * width, -(-len(thumbnails) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (picture, index, time) in enumerate(zip(thumbnails, clip.indices, clip.times_s, strict=True)):
        x, y = i % columns * width, i // columns * height
        draw.text((x + 2, y), f"{index}: {time:.1f} s", fill="black")
        sheet.paste(picture, (x, y + LABEL_PX))
    return sheet
