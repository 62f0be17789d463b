"""Where settings were defined before; for this round their names are still found here, with a warning."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

MOVED = {
    "Source": "sparrow.data.settings",
    "Component": "sparrow.data.settings",
    "Mixture": "sparrow.data.settings",
    "Batching": "sparrow.data.settings",
    "Embedder": "sparrow.instructions.settings",
    "Tuning": "sparrow.models.settings",
    "Benchmark": "sparrow.evaluation.settings",
    "ExperimentConfig": "sparrow.settings",
    "EvaluateConfig": "sparrow.settings",
}


def __getattr__(name: str) -> Any:
    """A setting's class from the package that it configures."""
    if name not in MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"sparrow.core.config.{name} is now {MOVED[name]}.{name}", FutureWarning, stacklevel=2)
    return getattr(import_module(MOVED[name]), name)
