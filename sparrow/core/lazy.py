"""Names that a package offers, imported when they are used: settings are checked without torch and its kin."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def exports(package: str, renamed: Mapping[str, str] | None = None, **modules: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package that offers names, each of the module that stands beside it.

    `renamed` are the new names of those that were called otherwise: a warning names the new one.
    """

    def get(name: str) -> Any:
        if renamed and name in renamed:
            message = f"{package}.{name} goes with the next release; it is now {package}.{renamed[name]}"
            warnings.warn(message, FutureWarning, stacklevel=2)
            name = renamed[name]
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return get
