"""Registries: entries by name, imported when they are used; a user's own entry is named by its dotted path."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from sparrow.core.errors import ConfigError, DataError, SparrowError
from sparrow.core.hashing import file_hash

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Entries of one kind, as it is called in messages, with the dotted path of each by its name.

    `expected` is what a user's own entry has to be: an object of the class at this dotted path, or a class that derives
    from it if it is abstract; or a function with these parameters.
    """

    def __init__(self, kind: str, paths: Mapping[str, str], expected: str | tuple[str, ...]) -> None:
        self.kind, self.expected = kind, expected
        self._paths = dict(paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __getitem__(self, name: str) -> T:
        """The entry of a name or of a dotted path; it raises what `check` does."""
        self.check(name)
        entry: T = _attribute(self.path(name))
        return entry

    def path(self, name: str) -> str:
        """The dotted path of an entry."""
        return self._paths.get(name, name)

    def check(self, name: str, further: Sequence[str] = ()) -> None:
        """Refuse a name that is neither an entry nor the dotted path of an object that can be one.

        Raises:
            ConfigError: With a near name, or all of them; or with what is wrong with the object.
        """
        if name in self._paths:
            return
        known = [*self._paths, *further]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        if "." not in name:
            raise ConfigError(f"'{name}' is not one of {', '.join(known)}; {hint}your own is named by its dotted path")
        try:
            entry = _attribute(name)
        except (Exception, SystemExit) as error:  # a user's module may fail in any way
            raise ConfigError(
                f"the {self.kind} '{name}' cannot be imported ({_told(error, name)}); {hint}correct the path or the "
                f"module, install it, set PYTHONPATH, or choose one of {', '.join(known)}"
            ) from error
        if unfit := self._unfit(entry):
            raise ConfigError(f"the {self.kind} '{name}' {unfit}; docs/extending.md shows one")

    def _unfit(self, entry: Any) -> str | None:
        """What is wrong with a user's own entry."""
        is_class = inspect.isclass(entry)
        name = "class" if is_class else type(entry).__name__
        found = f"is {'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}, expected"
        if not isinstance(self.expected, str):
            try:
                inspect.signature(entry).bind(*self.expected)
            except (TypeError, ValueError):
                is_class = True
            return f"{found} a function with the parameters {', '.join(self.expected)}" if is_class else None
        base = _attribute(self.expected)
        if not inspect.isabstract(base):
            return None if isinstance(entry, base) else f"{found} an object of {self.expected}"
        if not (is_class and issubclass(entry, base)):
            return f"{found} a class that derives from {self.expected}"
        lacks = {
            name for part in base.__mro__ for name in inspect.get_annotations(part) if not hasattr(entry, name)
        } | entry.__abstractmethods__
        return f"lacks {', '.join(sorted(lacks))}" if lacks else None

    def own_code(self, name: str) -> list[str]:
        """What tells versions of a user's own entry apart, for caches: path and hash of its module; else nothing."""
        if name in self._paths:
            return []
        return [name, file_hash(Path(str(import_module(name.rpartition(".")[0]).__file__)))]

    def failure(self, name: str, error: Exception) -> str:
        """That the code of an entry failed, how, and where in it."""
        return f"the {self.kind} '{name}' failed ({_told(error, self.path(name))})"

    @contextmanager
    def named_in_errors(self, name: str, where: str) -> Iterator[None]:
        """Let an error of an entry's code say whose it is and what it was at work on; Sparrow's own stay as they are.

        Raises:
            DataError: In place of any other.
        """
        try:
            yield
        except (SparrowError, MemoryError):
            raise
        except Exception as error:
            raise DataError(
                self.failure(name, error), where=where, remedy="correct its code or what it reads"
            ) from error


def _attribute(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    found = import_module(module)
    if not hasattr(found, attribute):
        near = get_close_matches(attribute, vars(found), n=1)
        raise AttributeError(f"{module} has no '{attribute}'" + (f", but '{near[0]}'" if near else ""))
    return getattr(found, attribute)


def _told(error: BaseException, path: str) -> str:
    """An error's type and words, and the last line of the modules of a path that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(path.rpartition(".")[0]), "__file__", None)
    own = [f for f in frames if f.filename == file or Path(f.filename).stem in path.split(".")]
    told = [*str(error).split(), *getattr(error, "__notes__", ())]
    place = f" in {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
    return f"{type(error).__name__}: {' '.join(told)}{place}"
