"""Optimizer and learning-rate schedule, resolved from the plan's number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from sparrow.core.config import Optimizer, Schedule, Tuning


def parameter_groups(parts: Mapping[str, nn.Module], settings: Optimizer, tuning: Tuning) -> list[dict[str, Any]]:
    """Trainable parameters in groups: a part each with its learning rate, matrices apart from norms and biases.

    Weight decay acts on matrices only, not on vectors and scalars.
    """
    groups = []
    for name, part in parts.items():
        own = tuning.parts[name]
        decay = settings.weight_decay if own.weight_decay is None else own.weight_decay
        trainable = [p for p in part.parameters() if p.requires_grad]
        matrices, vectors = [p for p in trainable if p.ndim >= 2], [p for p in trainable if p.ndim < 2]
        for parameters, weight_decay in ((matrices, decay), (vectors, 0.0)):
            if parameters:
                rate = settings.learning_rate * own.learning_rate_multiplier
                groups.append({"name": name, "params": parameters, "lr": rate, "weight_decay": weight_decay})
    return groups


def build_optimizer(parts: Mapping[str, nn.Module], settings: Optimizer, tuning: Tuning) -> AdamW:
    """AdamW over what the tuning leaves trainable of a backbone's parts."""
    groups = parameter_groups(parts, settings, tuning)
    return AdamW(
        groups,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=all(p.device.type == "cuda" for group in groups for p in group["params"]),
    )


def warmup_steps(settings: Schedule, num_steps: int) -> int:
    """Steps of linear warm-up: `warmup_steps`, or the ratio of all steps, rounded up as in transformers."""
    if settings.warmup_steps is not None:
        return settings.warmup_steps
    return math.ceil(settings.warmup_ratio * num_steps)


def learning_rate_factor(settings: Schedule, step: int, num_steps: int) -> float:
    """Factor on the learning rate at a step (0-based): linear warm-up from 0, then half a cosine down to 0.

    The form of `transformers.get_cosine_schedule_with_warmup`.
    """
    warmup = warmup_steps(settings, num_steps)
    if step < warmup:
        return step / max(1, warmup)
    progress = (step - warmup) / max(1, num_steps - warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def build_schedule(optimizer: torch.optim.Optimizer, settings: Schedule, num_steps: int) -> LambdaLR:
    """The schedule, to be stepped once an optimizer step."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(settings, step, num_steps))
