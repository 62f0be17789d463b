"""Optimizer and learning-rate schedule, resolved from the plan's number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers.optimization import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from sparrow.models.settings import Tuning
from sparrow.training.settings import Optimizer, Schedule


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


def build_optimizer(parts: Mapping[str, nn.Module], settings: Optimizer, tuning: Tuning) -> torch.optim.Optimizer:
    """The optimizer over what the tuning leaves trainable of a backbone's parts.

    `adamw` is torch's, fused on CUDA (arXiv 1711.05101); `adamw_8bit` that of bitsandbytes, whose moments take a byte
    each (arXiv 2110.02861); `adafactor` torch's (arXiv 1804.04235), which keeps row and column sums of the second
    moment and takes no betas.
    """
    groups = parameter_groups(parts, settings, tuning)
    if settings.name == "adafactor":
        return torch.optim.Adafactor(groups)
    betas = (settings.beta1, settings.beta2)
    if settings.name == "adamw_8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(groups, betas=betas, eps=settings.eps)
    fused = all(p.device.type == "cuda" for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, betas=betas, eps=settings.eps, fused=fused)


def warmup_steps(settings: Schedule, num_steps: int) -> int:
    """Steps of linear warm-up: `warmup_steps`, or the ratio of all steps, rounded up as in transformers."""
    if settings.warmup_steps is not None:
        return settings.warmup_steps
    return math.ceil(settings.warmup_ratio * num_steps)


def decay_steps(settings: Schedule, num_steps: int) -> int:
    """Steps at the end of `wsd` in which the rate falls."""
    return min(math.ceil(settings.decay_ratio * num_steps), max(0, num_steps - warmup_steps(settings, num_steps)))


def build_schedule(optimizer: torch.optim.Optimizer, settings: Schedule, num_steps: int) -> LambdaLR:
    """The schedule, to be stepped once an optimizer step; the forms are transformers' own.

    All warm up linearly from 0. Then `cosine` is half a cosine down to 0, `linear` a line down to 0, `constant` stays,
    and `wsd` (warm-up, stable, decay: arXiv 2404.06395) stays but for its last `decay_ratio` of all steps, in which it
    falls to 0 in the `decay_form`; `1-sqrt`, 1 - sqrt(share of the decay done), is that of arXiv 2405.18392.
    """
    warmup = warmup_steps(settings, num_steps)
    if settings.name == "constant":
        return get_constant_schedule_with_warmup(optimizer, warmup)
    if settings.name == "linear":
        return get_linear_schedule_with_warmup(optimizer, warmup, num_steps)
    if settings.name == "wsd":
        decay = decay_steps(settings, num_steps)
        return get_wsd_schedule(optimizer, warmup, decay, num_steps, decay_type=settings.decay_form)
    return get_cosine_schedule_with_warmup(optimizer, warmup, num_steps)
