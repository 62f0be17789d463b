"""The learning-rate schedule and the optimizer's groups."""

import pytest
import torch

from sparrow.core.config import Optimizer, PartTuning, Schedule, Tuning
from sparrow.training.optim import build_optimizer, build_schedule, learning_rate_factor, warmup_steps


def test_every_part_follows_the_schedule_at_its_own_rate():
    parts = {name: torch.nn.Linear(2, 2) for name in ("vision", "projector", "language_model")}
    tuning = Tuning(vision=PartTuning(learning_rate_multiplier=0.1))
    optimizer = build_optimizer(parts, Optimizer(learning_rate=1e-2), tuning)
    schedule = build_schedule(optimizer, Schedule(warmup_steps=2), num_steps=10)
    for step in range(1, 11):
        optimizer.step()
        schedule.step()
        factor = learning_rate_factor(Schedule(warmup_steps=2), step, 10)
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        assert rates == pytest.approx(
            {"vision": 1e-3 * factor, "projector": 1e-2 * factor, "language_model": 1e-2 * factor}
        )


def test_what_is_frozen_has_no_group():
    parts = {name: torch.nn.Linear(2, 2) for name in ("vision", "projector", "language_model")}
    parts["vision"].requires_grad_(False)
    groups = build_optimizer(parts, Optimizer(), Tuning()).param_groups
    assert {group["name"] for group in groups} == {"projector", "language_model"}


def test_warm_up_is_rounded_up():
    assert warmup_steps(Schedule(warmup_ratio=0.03), 100) == 3
    assert warmup_steps(Schedule(warmup_ratio=0.03), 101) == 4
    assert warmup_steps(Schedule(warmup_ratio=0.03, warmup_steps=7), 101) == 7
    assert learning_rate_factor(Schedule(warmup_steps=4), 2, 10) == 0.5
    assert learning_rate_factor(Schedule(warmup_steps=0), 0, 10) == 1.0
    assert learning_rate_factor(Schedule(warmup_steps=0), 10, 10) == 0.0
