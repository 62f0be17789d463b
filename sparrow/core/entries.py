"""Registries: entries by name, imported when they are used; a user's own entry is named by its dotted path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Generic, TypeVar

from sparrow.core.errors import ConfigError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Entries of one kind.

    Args:
        kind: What an entry is, for messages.
        paths: The dotted path of each entry by its name.
    """

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
        module, _, attribute = self.path(name).rpartition(".")
        try:
            entry: T = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"the {self.kind} '{name}' cannot be imported: {error}") from error
        return entry

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
        module, _, attribute = name.rpartition(".")
        if module and attribute.isidentifier():
            try:
                if find_spec(module) is not None:
                    return
            except (ImportError, ValueError):
                pass
            raise ConfigError(
                f"'{name}' is no {self.kind}: there is no module '{module}'; install it or set PYTHONPATH"
            )
        known = [*further, *self._paths]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"'{name}' is not one of {', '.join(known)}; {hint}your own is named by its dotted path")
