"""The families that Sparrow knows, by the name that `backbone.family` takes; light, for checking settings."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sparrow.core.errors import BackboneError
from sparrow.core.files import user_path

if TYPE_CHECKING:
    from sparrow.models.backbone import Backbone

# The module of each family, and its adapter there.
FAMILIES = {
    "gemma3": "Gemma3",
    "idefics3": "Idefics3",
    "internvl": "InternVL",
    "llava_onevision": "LlavaOnevision",
    "minicpmv": "MiniCPMV",
    "minicpmv4_7": "MiniCPMV4_7",
    "qwen2_5_vl": "Qwen2_5_VL",
    "qwen3_vl": "Qwen3VL",
    "smolvlm": "SmolVLM",
}

LINEAR_ATTENTION = "the state of its linear attention runs on from one sample of a row into the next"

# Families whose samples cannot share a row, and why; the tests show that the others' can.
WITHOUT_PACKING = {
    "gemma3": "transformers 5 looks an image's tokens up at their place in the sample, not in the packed row",
    "minicpmv": LINEAR_ATTENTION,
    "minicpmv4_7": LINEAR_ATTENTION,
}

# Families that flash attention computes otherwise than they were made, and why.
WITHOUT_FLASH = {
    "gemma3": "its language model reads an image both ways, by a mask that flash attention does not take",
}

# Families whose own way with videos is offered. The others' differs from images in the words around a frame only, or
# they have none.
NATIVE_VIDEO = ("llava_onevision", "qwen2_5_vl", "qwen3_vl")

# Backbones of the paper that people ask for: how their names are written, the nearest family, and a model of it.
WITHOUT_NATIVE_PORT = {
    "MiniCPM-Llama3-V-2.5": (r"minicpm[_-]*llama3[_-]*v[_-]*2[_.-]*5", "minicpmv", "minicpmv"),
    "Mini-InternVL-V1.5": (r"mini[_-]*internvl.*1[_.-]*5", "internvl", "internvl3_5_4b"),
}


def check_family(name: str) -> None:
    """Refuse a name that is no family.

    Raises:
        BackboneError: With near names, or with the reason why the model cannot be used.
    """
    refuse_without_port(name)
    if name not in FAMILIES:
        near = get_close_matches(name, FAMILIES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(FAMILIES)}"
        raise BackboneError(f"unknown backbone.family '{name}'; {hint}")


def find_family(name: str) -> type[Backbone]:
    """The adapter of a family.

    Raises:
        BackboneError: If there is none of that name.
    """
    check_family(name)
    adapter: type[Backbone] = getattr(import_module(f"sparrow.models.{name}"), FAMILIES[name])
    return adapter


def check_flash_attention(name: str) -> None:
    """Refuse flash attention for a family that it would change without a word.

    Raises:
        BackboneError: With the reason.
    """
    if name in WITHOUT_FLASH:
        raise BackboneError(
            f"flash attention cannot stand in for the attention of '{name}': {WITHOUT_FLASH[name]}; set "
            "backbone.attn_implementation to auto, which then takes sdpa"
        )


def check_native_video(name: str) -> None:
    """Refuse native video of a family that it is not offered for.

    Raises:
        BackboneError: With the families that have it.
    """
    if name not in NATIVE_VIDEO:
        raise BackboneError(
            f"backbone.native_video=true is offered for {', '.join(NATIVE_VIDEO)}; '{name}' reads the frames of a "
            "video as images: set it to false, and frames.timestamps=true if each frame shall have its time"
        )


def refuse_without_port(name: str) -> None:
    """Refuse a family or Hub id of a model that transformers has no code of its own for; folders tell by themselves.

    Raises:
        BackboneError: With the reason and the nearest family that can be trained.
    """
    if Path(user_path(name)).is_dir():
        return
    for model, (pattern, family, config) in WITHOUT_NATIVE_PORT.items():
        if re.search(pattern, name.lower()):
            raise BackboneError(
                f"{model} ('{name}') has no native port in transformers 5: its code ships with the checkpoint and was "
                f"written for transformers 4.40; the nearest family is '{family}': set backbone={config}"
            )
