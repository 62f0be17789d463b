"""Which attention a model runs with; light, so that it can be chosen before a model is loaded."""

from __future__ import annotations

import importlib.util

import torch

from sparrow.core.errors import BackboneError
from sparrow.models.precision import computes_in_16_bits
from sparrow.models.registry import check_flash_attention, facts_of
from sparrow.models.settings import FLASH


def choose_attention(asked: str, precision: str, accelerator: str, family: str) -> str:
    """The implementation that `auto` stands for: flash attention where it can run, else torch's own (`sdpa`).

    Flash attention needs a GPU, computes in 16 bits only, and is not for all families.

    Raises:
        BackboneError: If flash attention is asked for and not installed, or not for the family.
    """
    if asked == FLASH:
        check_flash_attention(family)
    installed = importlib.util.find_spec("flash_attn") is not None
    if asked == FLASH and not installed:
        raise BackboneError(
            f"backbone.attn_implementation={FLASH} needs the package flash_attn, which is not installed; install it, "
            "or leave the setting at auto, which then takes sdpa"
        )
    if asked != "auto":
        return asked
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    can_run = on_gpu and installed and computes_in_16_bits(precision) and facts_of(family).without_flash is None
    return FLASH if can_run else "sdpa"
