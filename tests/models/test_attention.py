"""Which attention `auto` stands for."""

import importlib.util

import pytest
import torch

from sparrow.core.errors import BackboneError, ConfigError
from sparrow.models.attention import choose_attention
from sparrow.models.loading import load_backbone


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
        ("flash_attention_2", "bf16-mixed", "auto", True, True, "flash_attention_2"),
    ],
)
def test_flash_attention_is_chosen_where_it_can_run(monkeypatch, asked, precision, accelerator, gpu, installed, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    assert choose_attention(asked, precision, accelerator, "idefics3") == chosen


def test_flash_attention_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match=r"needs the package flash_attn, .*; install it, or leave .* at auto"):
        choose_attention("flash_attention_2", "bf16-true", "auto", "idefics3")


def test_flash_attention_is_kept_from_families_that_it_would_change(monkeypatch, settings, tiny_checkpoint):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert choose_attention("auto", "bf16-mixed", "auto", "gemma3") == "sdpa"
    refused = "of 'gemma3': .* both ways, .*; set backbone.attn_implementation to auto"
    with pytest.raises(BackboneError, match=refused):
        choose_attention("flash_attention_2", "bf16-mixed", "auto", "gemma3")
    monkeypatch.undo()
    with pytest.raises(BackboneError, match=refused):
        load_backbone(str(tiny_checkpoint("gemma3")), attn_implementation="flash_attention_2")
    on_gpu = ("batching=padded", "trainer.accelerator=auto", "trainer.precision=bf16-mixed")
    with pytest.raises(ConfigError, match=rf"backbone\.attn_implementation: .*{refused}"):
        settings("backbone=gemma3_4b", *on_gpu, "backbone.attn_implementation=flash_attention_2")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["backbone.attn_implementation=flash"], r"'flash' is not one of auto, sdpa, eager, flash_attention_2"),
        (["trainer=cpu"], r"on a GPU in 16 bits only, not with trainer\.accelerator=cpu .*; set it to auto"),
        (["trainer.accelerator=auto", "trainer.precision=32-true"], r"and trainer\.precision=32-true; set it to auto"),
    ],
)
def test_attention_that_cannot_run_is_refused_with_the_settings(settings, overrides, said):
    with pytest.raises(ConfigError, match=rf"backbone\.attn_implementation: .*{said}"):
        settings("backbone.attn_implementation=flash_attention_2", *overrides)
