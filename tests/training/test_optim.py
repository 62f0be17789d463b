"""The learning-rate schedule, and what the loss of a step is a mean over."""

import pytest
import torch

from sparrow.core.config import Optimizer, PartTuning, Schedule, Tuning
from sparrow.training.module import token_weights
from sparrow.training.optim import build_optimizer, build_schedule, learning_rate_factor, warmup_steps

MASK = torch.tensor([[True, True, True, False], [False, True, False, False], [False] * 4])
LOSSES = torch.tensor([[1.0, 2.0, 3.0, 0.0], [0.0, 10.0, 0.0, 0.0], [0.0] * 4])


@pytest.mark.parametrize(
    ("normalization", "units", "mean"),
    [("token", 4.0, 16 / 4), ("sample", 2.0, (2 + 10) / 2), ("micro_batch", 1.0, 16 / 4)],
)
def test_a_micro_batch_counts_its_units(normalization, units, mean):
    weights = token_weights(MASK, normalization)
    assert weights.sum().item() == pytest.approx(units)
    assert ((LOSSES * weights).sum() / weights.sum()).item() == pytest.approx(mean)


def test_means_over_two_micro_batches():
    """Tokens weigh alike, samples weigh alike, or micro-batches do."""
    micro_batches = [(LOSSES[:1], MASK[:1]), (LOSSES[1:], MASK[1:])]
    expected = {"token": 16 / 4, "sample": (2 + 10) / 2, "micro_batch": (2 + 10) / 2}
    for normalization, mean in expected.items():
        weights = [token_weights(mask, normalization) for _, mask in micro_batches]
        total = sum((losses * w).sum() for (losses, _), w in zip(micro_batches, weights, strict=True))
        assert (total / sum(w.sum() for w in weights)).item() == pytest.approx(mean)


def test_a_micro_batch_without_answers_weighs_nothing():
    for normalization in ("token", "sample", "micro_batch"):
        assert token_weights(MASK[2:], normalization).sum() == 0


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
