"""Memory that this process has used."""

from __future__ import annotations

import resource
import sys

GIBIBYTE = 2**30


def reset_peak_memory() -> None:
    """Let the peak of the GPU begin anew with a run; that of the host stays the process's own."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_bytes() -> dict[str, int]:
    """Highest memory use: `host` of this process so far, `cuda`, where it has used a GPU, since `reset_peak_memory`."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        peak["cuda"] = int(torch.cuda.max_memory_allocated())
    return peak
