"""Where settings were defined before; `Source`, a public name, is still found here, with a warning."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "Source":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; settings are in <package>/settings.py")
    warnings.warn("sparrow.core.config.Source is now sparrow.data.settings.Source", FutureWarning, stacklevel=2)
    return import_module("sparrow.data.settings").Source
