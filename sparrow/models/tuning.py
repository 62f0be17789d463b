"""Which parts of a backbone learn."""

from __future__ import annotations

from torch import nn

from sparrow.core.config import Tuning
from sparrow.core.errors import ConfigError
from sparrow.models.backbone import Backbone


def apply_tuning(backbone: Backbone, settings: Tuning) -> None:
    """Freeze what is not to be trained and switch activation checkpointing on or off.

    Raises:
        ConfigError: If a part is unknown or nothing is left to train.
    """
    parts = backbone.parts()
    unknown = sorted(set(settings.trainable_parts) - set(parts))
    if unknown or not settings.trainable_parts:
        raise ConfigError(
            f"tuning.trainable_parts={settings.trainable_parts}: "
            + (f"unknown part '{unknown[0]}'" if unknown else "nothing would be trained")
            + f"; choose from {', '.join(parts)}"
        )
    for name, part in parts.items():
        part.requires_grad_(name in settings.trainable_parts)
    model: nn.Module = backbone.model
    if settings.activation_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    else:
        model.activation_checkpointing_disable()  # type: ignore[operator]
    model.train()
