"""Errors that a user can fix: each says where, what and how. All are `ValueError`s; asserts are for invariants."""

from __future__ import annotations

from typing import Self


class SparrowError(ValueError):
    """Base of the errors that a command prints as one message, without a traceback."""


class ConfigError(SparrowError):
    """A setting is unknown, of the wrong type, missing, or at odds with another."""


class DataError(SparrowError):
    """A record, file or sample cannot be used.

    The message reads `source 'NAME', WHERE: WHAT; REMEDY`.
    """

    def __init__(
        self, what: str, *, source: str | None = None, where: str | None = None, remedy: str | None = None
    ) -> None:
        self.what, self.source, self.where, self.remedy = what, source, where, remedy
        place = ", ".join(part for part in (f"source '{source}'" if source else None, where) if part)
        super().__init__((f"{place}: " if place else "") + what + (f"; {remedy}" if remedy else ""))

    def within(self, where: str, source: str | None = None) -> Self:
        """The same error as told from further out: the outer place stands before its own."""
        places = where if self.where is None else f"{where}, {self.where}"
        return type(self)(self.what, source=source or self.source, where=places, remedy=self.remedy)


class MediaError(DataError):
    """An image, video or text cannot be read or drawn."""


class MachineError(SparrowError):
    """The machine failed, not the data: no file handle or memory was left, or a disk did not answer."""


class BackboneError(SparrowError):
    """A model, processor or checkpoint cannot be loaded or does not fit the settings."""


class RunError(SparrowError):
    """A run folder, its record or its checkpoints are not what the command needs."""
