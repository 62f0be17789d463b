"""Optimizer and learning-rate schedule, resolved from the plan's number of steps."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from sparrow.core.config import Optimizer, Schedule


def build_optimizer(model: nn.Module, settings: Optimizer) -> AdamW:
    """AdamW over the trainable parameters, without weight decay on norms and biases (vectors and scalars)."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        fused=all(p.device.type == "cuda" for p in trainable),
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
