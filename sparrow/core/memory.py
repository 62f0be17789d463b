"""Memory that this process has used."""

from __future__ import annotations

import resource
import sys

GIBIBYTE = 2**30


def peak_memory_bytes() -> dict[str, int]:
    """Highest memory use of this process so far: `host`, and `cuda` where this process has used a GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        peak["cuda"] = int(torch.cuda.max_memory_allocated())
    return peak
