"""The families that Sparrow knows, by the name that `backbone.family` takes; light, for checking settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparrow.core.entries import Registry
from sparrow.core.errors import BackboneError
from sparrow.core.files import user_path

LINEAR_ATTENTION = "the state of its linear attention runs on from one sample of a row into the next"


@dataclass(frozen=True)
class FamilyFacts:
    """What is known of a family before its adapter is imported.

    Args:
        model_type: transformers' name.
        without_packing: Why its samples cannot share a row; the tests show that the others' can.
        without_flash: Why flash attention would compute something else than the family was made with.
        native_video: Whether its own way with videos is offered. The others' differs from images in the words around
            a frame only, or they have none.
    """

    model_type: str
    without_packing: str | None = None
    without_flash: str | None = None
    native_video: bool = False


FAMILIES: Registry[Any] = Registry(
    "backbone family",
    {
        "gemma3": "sparrow.models.gemma3.Gemma3",
        "idefics3": "sparrow.models.idefics3.Idefics3",
        "internvl": "sparrow.models.internvl.InternVL",
        "llava_onevision": "sparrow.models.llava_onevision.LlavaOnevision",
        "minicpmv": "sparrow.models.minicpmv.MiniCPMV",
        "minicpmv4_7": "sparrow.models.minicpmv4_7.MiniCPMV4_7",
        "qwen2_5_vl": "sparrow.models.qwen2_5_vl.Qwen2_5_VL",
        "qwen3_vl": "sparrow.models.qwen3_vl.Qwen3VL",
        "smolvlm": "sparrow.models.smolvlm.SmolVLM",
    },
    "sparrow.models.backbone.Backbone",
)
FACTS = {name: FamilyFacts(name) for name in FAMILIES} | {
    "gemma3": FamilyFacts(
        "gemma3",
        without_packing="transformers 5 looks an image's tokens up at their place in the sample, not in the packed row",
        without_flash="its language model reads an image both ways, by a mask that flash attention does not take",
    ),
    "llava_onevision": FamilyFacts("llava_onevision", native_video=True),
    "minicpmv": FamilyFacts("minicpmv4_6", without_packing=LINEAR_ATTENTION),
    "minicpmv4_7": FamilyFacts("minicpmv4_7", without_packing=LINEAR_ATTENTION),
    "qwen2_5_vl": FamilyFacts("qwen2_5_vl", native_video=True),
    "qwen3_vl": FamilyFacts("qwen3_vl", native_video=True),
}
WITHOUT_PACKING = {name: facts.without_packing for name, facts in FACTS.items() if facts.without_packing}
NATIVE_VIDEO = tuple(name for name, facts in FACTS.items() if facts.native_video)

# Backbones of the paper that people ask for: how their names are written, the nearest family, and a model of it.
WITHOUT_NATIVE_PORT = {
    "MiniCPM-Llama3-V-2.5": (r"minicpm[_-]*llama3[_-]*v[_-]*2[_.-]*5", "minicpmv", "minicpmv"),
    "Mini-InternVL-V1.5": (r"mini[_-]*internvl.*1[_.-]*5", "internvl", "internvl3_5_4b"),
}


def facts_of(family: str) -> FamilyFacts:
    """What is known of a family; of a user's own its class says it.

    Raises:
        ConfigError: If there is none of that name.
    """
    return FACTS[family] if family in FACTS else FAMILIES[family].facts


def check_family(name: str) -> str:
    """The name of a family or the dotted path of a user's own; refuses any other.

    Raises:
        ConfigError: With near names.
        BackboneError: With the reason why the model cannot be used.
    """
    refuse_without_port(name)
    FAMILIES.check(name)
    return name


check_family.choices = (*FAMILIES, "your own dotted path")  # type: ignore[attr-defined]


def check_flash_attention(name: str) -> None:
    """Refuse flash attention for a family that it would change without a word.

    Raises:
        BackboneError: With the reason.
    """
    if reason := facts_of(name).without_flash:
        raise BackboneError(
            f"flash attention cannot stand in for the attention of '{name}': {reason}; set "
            "backbone.attn_implementation to auto, which then takes sdpa"
        )


def check_native_video(name: str) -> None:
    """Refuse native video of a family that it is not offered for.

    Raises:
        BackboneError: With the families that have it.
    """
    if not facts_of(name).native_video:
        raise BackboneError(
            f"backbone.native_video=true is offered for {', '.join(NATIVE_VIDEO)}; '{name}' reads the frames of a "
            "video as images: set it to false, and frames.timestamps=true if each frame shall have its time"
        )


def refuse_without_port(name: str) -> str:
    """The name of a model; refuses one that transformers has no code of its own for. Folders tell by themselves.

    Raises:
        BackboneError: With the reason and the nearest family that can be trained.
    """
    if Path(user_path(name)).is_dir():
        return name
    for model, (pattern, family, config) in WITHOUT_NATIVE_PORT.items():
        if re.search(pattern, name.lower()):
            raise BackboneError(
                f"{model} ('{name}') has no native port in transformers 5: its code ships with the checkpoint and was "
                f"written for transformers 4.40; the nearest family is '{family}': set backbone={config}"
            )
    return name
