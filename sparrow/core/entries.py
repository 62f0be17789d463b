"""Registries: entries by name, imported when they are used; a user's own entry is named by its dotted path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Generic, TypeVar

from sparrow.core.errors import ConfigError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Entries of one kind, as it is called in messages, with the dotted path of each by its name."""

    def __init__(self, kind: str, paths: Mapping[str, str]) -> None:
        self.kind = kind
        self._paths = dict(paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __getitem__(self, name: str) -> T:
        """The entry of a name or of a dotted path.

        Raises:
            ConfigError: If there is none.
        """
        self.check(name)
        return self._imported(self.path(name))

    def path(self, name: str) -> str:
        """The dotted path of an entry."""
        return self._paths.get(name, name)

    def check(self, name: str, further: Sequence[str] = ()) -> None:
        """Refuse a name that is neither an entry nor the dotted path of something in a module that is there.

        Raises:
            ConfigError: With a near name, or all of them.
        """
        if name in self._paths:
            return
        if "." in name:
            self._imported(name)
            return
        known = [*further, *self._paths]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"'{name}' is not one of {', '.join(known)}; {hint}your own is named by its dotted path")

    def _imported(self, path: str) -> T:
        module, _, attribute = path.rpartition(".")
        try:
            entry: T = getattr(import_module(module), attribute)
        except Exception as error:  # a user's module may fail in any way
            raise ConfigError(
                f"the {self.kind} '{path}' cannot be imported ({type(error).__name__}: {error}); install it, set "
                f"PYTHONPATH, or choose one of {', '.join(self._paths)}"
            ) from error
        return entry
