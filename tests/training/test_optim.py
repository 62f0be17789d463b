"""Optimizers and learning-rate schedules."""

import math
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from sparrow.models.settings import PartTuning, Tuning
from sparrow.training.optim import build_optimizer, build_schedule, warmup_steps
from sparrow.training.settings import Optimizer, Schedule


def three_parts():
    return {name: torch.nn.Linear(2, 2) for name in ("vision", "projector", "language_model")}


def half_cosine(progress):
    return 0.5 * (1 + math.cos(math.pi * progress))


# Ten steps, two of warm-up; `wsd` decays over the last four.
FACTORS = {
    "cosine": (Schedule("cosine"), [0, 0.5, *(half_cosine(i / 8) for i in range(8))]),
    "linear": (Schedule("linear"), [0, 0.5, *(1 - i / 8 for i in range(8))]),
    "constant": (Schedule("constant"), [0, 0.5, *[1] * 8]),
    "wsd, 1-sqrt": (Schedule("wsd", decay_ratio=0.4), [0, 0.5, *[1] * 4, *(1 - math.sqrt(i / 4) for i in range(4))]),
    "wsd, linear": (
        Schedule("wsd", decay_ratio=0.4, decay_form="linear"),
        [0, 0.5, *[1] * 4, *(1 - i / 4 for i in range(4))],
    ),
    "wsd, cosine": (
        Schedule("wsd", decay_ratio=0.4, decay_form="cosine"),
        [0, 0.5, *[1] * 4, *(half_cosine(i / 4) for i in range(4))],
    ),
}


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("warmup", [{"warmup_ratio": 0.2}, {"warmup_steps": 2}])
def test_every_part_follows_the_schedule_at_its_own_rate(name, warmup):
    settings, factors = FACTORS[name]
    settings = replace(settings, **warmup)
    tuning = Tuning(vision=PartTuning(learning_rate_multiplier=0.1))
    optimizer = build_optimizer(three_parts(), Optimizer(learning_rate=1e-2), tuning)
    schedule = build_schedule(optimizer, settings, num_steps=10)
    for factor in factors:
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        assert rates == pytest.approx(
            {"vision": 1e-3 * factor, "projector": 1e-2 * factor, "language_model": 1e-2 * factor}
        )
        optimizer.step()
        schedule.step()


def test_a_decay_as_long_as_the_run_begins_after_the_warm_up():
    optimizer = build_optimizer(three_parts(), Optimizer(learning_rate=1.0), Tuning())
    schedule = build_schedule(optimizer, Schedule("wsd", warmup_steps=2, decay_ratio=1.0, decay_form="linear"), 4)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [0, 0.5, 1, 0.5]


class Stub8bit(torch.optim.AdamW):
    """Stands in for bitsandbytes, which needs a GPU: the arguments are what is tested."""

    def __init__(self, params, betas, eps):
        super().__init__(params, betas=betas, eps=eps)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "adamw_8bit"])
def test_optimizers_decay_matrices_only_and_learn(name, monkeypatch):
    stub = ModuleType("bitsandbytes.optim")
    stub.AdamW8bit = Stub8bit
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", stub)
    parts = three_parts()
    optimizer = build_optimizer(parts, Optimizer(name=name, learning_rate=0.1, weight_decay=0.5), Tuning())
    assert [(g["weight_decay"], g["params"][0].ndim) for g in optimizer.param_groups] == [(0.5, 2), (0.0, 1)] * 3
    target, losses = torch.ones(2), []
    for _ in range(20):
        loss = sum(((part(target) - 3) ** 2).sum() for part in parts.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    before = [p.detach().clone() for part in parts.values() for p in part.parameters()]
    optimizer.zero_grad()
    optimizer.step()
    after = [p for part in parts.values() for p in part.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), "a step without gradients does nothing"


def test_what_is_frozen_has_no_group():
    parts = {name: torch.nn.Linear(2, 2) for name in ("vision", "projector", "language_model")}
    parts["vision"].requires_grad_(False)
    groups = build_optimizer(parts, Optimizer(), Tuning()).param_groups
    assert {group["name"] for group in groups} == {"projector", "language_model"}


def test_warm_up_is_rounded_up():
    assert warmup_steps(Schedule(warmup_ratio=0.03), 100) == 3
    assert warmup_steps(Schedule(warmup_ratio=0.03), 101) == 4
    assert warmup_steps(Schedule(warmup_ratio=0.03, warmup_steps=7), 101) == 7
