"""Which attention `auto` stands for."""

import importlib.util

import pytest
import torch

from sparrow.models.attention import choose_attention


@pytest.mark.parametrize(
    ("asked", "precision", "accelerator", "gpu", "installed", "chosen"),
    [
        ("auto", "bf16-mixed", "auto", True, True, "flash_attention_2"),
        ("auto", "bf16-true", "gpu", True, True, "flash_attention_2"),
        ("auto", "bf16-mixed", "auto", True, False, "sdpa"),
        ("auto", "32-true", "auto", True, True, "sdpa"),
        ("auto", "bf16-mixed", "auto", False, True, "sdpa"),
        ("auto", "bf16-mixed", "cpu", True, True, "sdpa"),
        ("eager", "bf16-mixed", "auto", True, True, "eager"),
    ],
)
def test_flash_attention_is_chosen_where_it_can_run(monkeypatch, asked, precision, accelerator, gpu, installed, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    assert choose_attention(asked, precision, accelerator) == chosen
