"""Which attention a model runs with; light, so that it can be chosen before a model is loaded."""

from __future__ import annotations

import importlib.util

import torch


def choose_attention(asked: str, precision: str, accelerator: str) -> str:
    """The implementation that `auto` stands for: flash attention where it can run, else torch's own (`sdpa`).

    Args:
        asked: As in transformers, or `auto`.
        precision: Lightning's name; flash attention computes in 16 bits only.
        accelerator: Lightning's name; flash attention needs a GPU.
    """
    if asked != "auto":
        return asked
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    installed = importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if on_gpu and installed and "16" in precision else "sdpa"
