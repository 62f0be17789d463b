"""Which parts of a backbone learn, and how."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from sparrow.core.errors import ConfigError
from sparrow.models.adapters import add_adapters, linear_layers, merge_adapters
from sparrow.models.backbone import Backbone
from sparrow.models.checkpoint_files import base_of_adapters
from sparrow.models.settings import Tuning


def check_tuning(backbone: Backbone, settings: Tuning) -> None:
    """Refuse what the model does not allow; a backbone without its model is enough.

    Raises:
        ConfigError: If a LoRA target is no linear layer of the adapted parts, or adapters would have to be merged into
            weights in four bits.
    """
    origin = backbone.origin
    if settings.quantization is not None and origin is not None and base_of_adapters(origin.name) is not None:
        # Most of what adapters have learnt is below the step of four bits: the run would start from another model.
        raise ConfigError(
            f"tuning.quantization: '{settings.quantization}' cannot start from adapters, which {origin.name!r} holds; "
            "write the whole model with `sparrow export RUN OUT` and start from that, or use tuning=lora"
        )
    with torch.device("meta"):
        skeleton = AutoModelForImageTextToText.from_config(backbone.config)
    parts = backbone.with_model(skeleton).parts()
    adapted = {name: part for name, part in parts.items() if settings.parts[name].mode == "adapted"}
    if adapted:
        linear_layers(skeleton, adapted, settings.lora)


def apply_tuning(backbone: Backbone, settings: Tuning) -> None:
    """Freeze, adapt or train each part, and switch activation checkpointing on or off.

    Adapters that the model was loaded with are merged first: what is learnt next stands beside them.

    Raises:
        ConfigError: If a LoRA target is no linear layer of the adapted parts.
    """
    model: Any = backbone.model
    merge_adapters(model)
    parts = backbone.parts()
    adapted = {name: part for name, part in parts.items() if settings.parts[name].mode == "adapted"}
    model.requires_grad_(False)
    if adapted:
        add_adapters(model, adapted, settings.lora, backbone.origin)
    for name, part in parts.items():
        if settings.parts[name].mode == "trained":
            part.requires_grad_(True)
    for module in backbone.unused():
        module.requires_grad_(False)
    if settings.activation_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    else:
        model.activation_checkpointing_disable()
    model.train()


def tuning_table(backbone: Backbone, settings: Tuning, learning_rate: float) -> str:
    """What is learnt, one line per part: parameters, how many of them are trainable, learning rate."""
    rows = [("part", "mode", "parameters", "trainable", "learning rate")]
    totals = [0, 0]
    for name, part in backbone.parts().items():
        own = settings.parts[name]
        counts = [sum(p.numel() for p in part.parameters() if p.requires_grad or of_all) for of_all in (True, False)]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        rate = f"{learning_rate * own.learning_rate_multiplier:g}" if counts[1] else "-"
        rows.append((name, own.mode, f"{counts[0]:,}", f"{counts[1]:,}", rate))
    rows.append(("together", "", f"{totals[0]:,}", f"{totals[1]:,}", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
