"""The families that Sparrow knows, by the name that `backbone.family` takes; light, for checking settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sparrow.core.errors import BackboneError
from sparrow.core.files import user_path

LINEAR_ATTENTION = "the state of its linear attention runs on from one sample of a row into the next"


@dataclass(frozen=True)
class FamilySpec:
    """What is known of a family before its adapter is imported.

    Args:
        adapter: The class in the family's module, `sparrow/models/<family>.py`.
        model_type: transformers' name, where it is not the family's.
        without_packing: Why its samples cannot share a row; the tests show that the others' can.
        without_flash: Why flash attention would compute something else than the family was made with.
        native_video: Whether its own way with videos is offered. The others' differs from images in the words around
            a frame only, or they have none.
    """

    adapter: str
    model_type: str | None = None
    without_packing: str | None = None
    without_flash: str | None = None
    native_video: bool = False


FAMILIES = {
    "gemma3": FamilySpec(
        "Gemma3",
        without_packing="transformers 5 looks an image's tokens up at their place in the sample, not in the packed row",
        without_flash="its language model reads an image both ways, by a mask that flash attention does not take",
    ),
    "idefics3": FamilySpec("Idefics3"),
    "internvl": FamilySpec("InternVL"),
    "llava_onevision": FamilySpec("LlavaOnevision", native_video=True),
    "minicpmv": FamilySpec("MiniCPMV", model_type="minicpmv4_6", without_packing=LINEAR_ATTENTION),
    "minicpmv4_7": FamilySpec("MiniCPMV4_7", without_packing=LINEAR_ATTENTION),
    "qwen2_5_vl": FamilySpec("Qwen2_5_VL", native_video=True),
    "qwen3_vl": FamilySpec("Qwen3VL", native_video=True),
    "smolvlm": FamilySpec("SmolVLM"),
}
WITHOUT_PACKING = {name: spec.without_packing for name, spec in FAMILIES.items() if spec.without_packing}
WITHOUT_FLASH = {name: spec.without_flash for name, spec in FAMILIES.items() if spec.without_flash}
NATIVE_VIDEO = tuple(name for name, spec in FAMILIES.items() if spec.native_video)

# Backbones of the paper that people ask for: how their names are written, the nearest family, and a model of it.
WITHOUT_NATIVE_PORT = {
    "MiniCPM-Llama3-V-2.5": (r"minicpm[_-]*llama3[_-]*v[_-]*2[_.-]*5", "minicpmv", "minicpmv"),
    "Mini-InternVL-V1.5": (r"mini[_-]*internvl.*1[_.-]*5", "internvl", "internvl3_5_4b"),
}


def family_of_type(model_type: str) -> str | None:
    """The family that transformers calls `model_type`; None if Sparrow has none of it."""
    return next((name for name, spec in FAMILIES.items() if (spec.model_type or name) == model_type), None)


def check_family(name: str) -> str:
    """The name of a family; refuses any other.

    Raises:
        BackboneError: With near names, or with the reason why the model cannot be used.
    """
    refuse_without_port(name)
    if name not in FAMILIES:
        near = get_close_matches(name, FAMILIES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(FAMILIES)}"
        raise BackboneError(f"unknown backbone.family '{name}'; {hint}")
    return name


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
