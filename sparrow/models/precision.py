"""Lightning's names of precisions, and what they say of weights and of computation."""

from __future__ import annotations

import torch


def weights_dtype(precision: str) -> torch.dtype:
    """The type that a run's weights have."""
    return torch.bfloat16 if precision == "bf16-true" else torch.float32


def computes_in_16_bits(precision: str) -> bool:
    """Whether a precision has matrix products in 16 bits."""
    return "16" in precision
