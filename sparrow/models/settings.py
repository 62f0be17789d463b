"""Settings of backbones: the checkpoint, and which parts of it learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sparrow.core.settings import REQUIRED, AboveZero, AtLeast1, NotNegative, one_of, same_setting, setting, settings
from sparrow.models.registry import FAMILIES, refuse_without_port

FLASH = "flash_attention_2"
Template = Literal["sparrow", "checkpoint"]
Family = Annotated[str, AfterValidator(refuse_without_port), one_of(FAMILIES)]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]


@settings
class BackboneSettings:
    """A family of models and one checkpoint of it."""

    family: Family = setting("see docs/backbones.md", default=REQUIRED)
    checkpoint: Annotated[str, AfterValidator(refuse_without_port)] | None = setting("folder or Hub id", default=None)
    revision: str | None = setting("revision on the Hub", default=None)
    tiny: bool = setting("take the family's tiny sibling with random weights, made offline", default=False)
    tiny_width: AtLeast1 = setting("width multiplier of the tiny sibling", default=1, added=True)
    frame_size_px: AtLeast1 = setting("longest side of a frame", default=364, unit="px")
    native_video: bool = setting("frames of a video go in the family's way for videos, not as images", default=False)
    attn_implementation: Attention = setting("`auto`: flash attention where it can run, else sdpa", default="auto")
    trust_remote_code: bool = setting("run code that comes with a checkpoint", default=False)
    min_frame_size_px: AtLeast1 | None = setting(
        "side of the square with as many pixels as the smallest frame; null: as the checkpoint's processor has it",
        default=None,
        unit="px",
        added=True,
    )
    template: Template | None = setting(
        "whose chat template; null: `sparrow` where both write the same tokens, else `checkpoint`",
        default=None,
        added=True,
    )
    thinking: bool | None = setting(
        "whether replies begin with a thought; null: as the chat template has it by itself", default=None, added=True
    )


@settings
class CheckpointOptions:
    """How `sparrow evaluate` opens its checkpoint; family, frame size and native video are its own where null."""

    family: Family | None = same_setting(BackboneSettings, "family", default=None)
    revision: str | None = same_setting(BackboneSettings, "revision", default=None)
    frame_size_px: AtLeast1 | None = same_setting(BackboneSettings, "frame_size_px", default=None)
    native_video: bool | None = same_setting(BackboneSettings, "native_video", default=None)
    attn_implementation: Attention = same_setting(BackboneSettings, "attn_implementation", default="auto")
    trust_remote_code: bool = same_setting(BackboneSettings, "trust_remote_code", default=False)
    min_frame_size_px: AtLeast1 | None = same_setting(BackboneSettings, "min_frame_size_px", default=None)
    template: Template | None = same_setting(BackboneSettings, "template", default=None)
    thinking: bool | None = same_setting(BackboneSettings, "thinking", default=None)


@settings
class PartTuning:
    """How one part of the backbone learns."""

    mode: Literal["frozen", "adapted", "trained"] = setting("`adapted`: low-rank adapters", default="trained")
    learning_rate_multiplier: AboveZero = setting(
        "of `optimizer.learning_rate`", default=1.0, remedy="set the part's mode to frozen to leave it as it is"
    )
    weight_decay: NotNegative | None = setting("null: the optimizer's", default=None)


@settings
class Lora:
    """Low-rank adapters (arXiv 2106.09685) of the parts that are `adapted`."""

    rank: AtLeast1 = setting("rank of the adapters", default=16)
    alpha: AboveZero = setting("their scale is alpha / rank", default=32.0)
    dropout: Annotated[float, Field(ge=0, lt=1)] = setting("share of their inputs that is dropped", default=0.05)
    targets: list[str] | None = setting("names of linear layers, or ends of names; null: all", default=None)


@settings
class Tuning:
    """How the parts of the backbone learn, and what the loss is a mean over."""

    vision: PartTuning = setting("the vision encoder", default_factory=PartTuning)
    projector: PartTuning = setting("what maps its features to the language model", default_factory=PartTuning)
    language_model: PartTuning = setting("the language model", default_factory=PartTuning)
    lora: Lora = setting("adapters of the parts that are `adapted`", default_factory=Lora)
    quantization: Literal["nf4"] | None = setting("`nf4` keeps the weights in four bits, as in QLoRA", default=None)
    loss_normalization: Literal["token", "sample", "micro_batch"] = setting(
        "the loss is a mean over these", default="token"
    )
    activation_checkpointing: bool = setting("compute activations twice to save memory", default=False)

    @property
    def parts(self) -> dict[str, PartTuning]:
        """The parts by name."""
        return {"vision": self.vision, "projector": self.projector, "language_model": self.language_model}

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Settings that contradict each other."""
        modes = {part.mode for part in self.parts.values()}
        if modes == {"frozen"}:
            yield "", "every part is frozen, nothing would be learnt; set the mode of one to adapted or trained"
        if self.quantization is not None and "trained" in modes:
            yield "quantization", "weights in four bits cannot be trained; set each part's mode to frozen or adapted"
