"""Model FLOP utilisation: what a model's forward and backward passes take, over what the devices could do."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import yaml

TERA = 1e12


def peak_flops(device_name: str, precision: str) -> float | None:
    """Peak dense FLOP/s of a device at Lightning's name of a precision; None where the table lacks it."""
    for name, bf16, fp32 in yaml.safe_load(Path(__file__).with_name("peak_flops.yaml").read_text(encoding="utf-8")):
        if re.search(rf"\b{name}\b", device_name, re.IGNORECASE):
            peak = bf16 if precision.startswith("bf16") else fp32
            return None if peak is None else peak * TERA
    return None


def device_peak_flops(device: torch.device, precision: str, given: float | None = None) -> float | None:
    """Peak FLOP/s of one device: as given, else from the table; None on a CPU or an unknown GPU."""
    if given is not None or device.type != "cuda":
        return given
    return peak_flops(torch.cuda.get_device_name(device), precision)


def mfu(flops: float, seconds: float, num_devices: int, peak: float | None) -> float | None:
    """Model FLOP utilisation (arXiv 2204.02311, appendix B), or None where FLOPs or peak are not known.

    `flops` are of forward and backward passes over all devices, without what checkpointing repeats; `peak` is of one.
    """
    if not flops or not peak or not seconds:
        return None
    return flops / (seconds * num_devices * peak)
