"""Model FLOP utilisation: what a model's forward and backward passes take, over what the devices could do."""

from __future__ import annotations

import re

import torch

TERA = 1e12

# Peak dense FLOP/s (bf16 on tensor cores; fp32 without TF32), by words of the name that CUDA gives the device, the
# more special first. Sources: the vendors' data sheets; where one gives figures "with sparsity", half of them.
PEAK_FLOPS: tuple[tuple[str, float | None, float], ...] = (
    ("GB200", 2500 * TERA, 80 * TERA),
    ("B200", 2250 * TERA, 75 * TERA),
    ("H200 NVL", 835 * TERA, 60 * TERA),
    ("H200", 989 * TERA, 67 * TERA),
    ("H100 NVL", 835 * TERA, 60 * TERA),
    ("H100 PCIe", 756 * TERA, 51 * TERA),
    ("H100", 989 * TERA, 67 * TERA),
    ("H800", 989 * TERA, 67 * TERA),
    ("H20", 148 * TERA, 44 * TERA),
    ("A100", 312 * TERA, 19.5 * TERA),
    ("A800", 312 * TERA, 19.5 * TERA),
    ("RTX A6000", 154.8 * TERA, 38.7 * TERA),
    ("A40", 149.7 * TERA, 37.4 * TERA),
    ("A30", 165 * TERA, 10.3 * TERA),
    ("L40S", 362 * TERA, 91.6 * TERA),
    ("L40", 181 * TERA, 90.5 * TERA),
    ("L4", 121 * TERA, 30.3 * TERA),
    ("RTX 4090", 165.2 * TERA, 82.6 * TERA),
    ("RTX 3090", 71 * TERA, 35.6 * TERA),
    ("V100", None, 15.7 * TERA),
    ("T4", None, 8.1 * TERA),
    ("MI300X", 1307 * TERA, 163.4 * TERA),
)


def peak_flops(device_name: str, precision: str) -> float | None:
    """Peak dense FLOP/s of a device at Lightning's name of a precision; None where the table lacks it."""
    for name, bf16, fp32 in PEAK_FLOPS:
        if re.search(rf"\b{name}\b", device_name, re.IGNORECASE):
            return bf16 if precision.startswith("bf16") else fp32
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
