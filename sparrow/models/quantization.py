"""Weights in four bits, where bitsandbytes is installed; light until a model is loaded so."""

from __future__ import annotations

import importlib.util
from typing import Any

from sparrow.core.errors import BackboneError


def require_bitsandbytes(what: str = "nf4", instead: str = "tuning=lora") -> None:
    """Refuse `what` where its package is missing.

    Raises:
        BackboneError: With how to fix it.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BackboneError(
            f"{what} needs the package bitsandbytes, which is not installed; `pip install bitsandbytes`, "
            f"or use {instead}"
        )


def nf4() -> Any:
    """Settings of QLoRA (arXiv 2305.14314): four-bit normal floats, their scales quantized too, compute in bf16.

    Raises:
        BackboneError: If bitsandbytes is not installed.
    """
    import torch
    from transformers import BitsAndBytesConfig

    require_bitsandbytes()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head"],
    )
