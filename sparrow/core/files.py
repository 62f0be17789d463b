"""Writing files so that a reader never sees half of one, and paths that stay inside their root."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from sparrow.core.errors import ConfigError, MachineError, MediaError

TEMPORARY = ".tmp"
EMBEDDED = "embedded:"  # begins the path of a file whose bytes stood in a record; such files lie in the last root
Roots = Path | Sequence[Path]
_MACHINE_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE}


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which is at `path` whole or not at all: written beside it, synced, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically; NaN and infinities, which JSON lacks, are refused."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def content_of(path: Path) -> bytes | None:
    """The bytes of a file; None where there is none."""
    return path.read_bytes() if path.is_file() else None


@contextmanager
def drafted(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to write into, which takes its place whole or not at all."""
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield draft
        draft.chmod(0o755)
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def remove_drafts(folder: Path) -> None:
    """Remove what kills have left of earlier drafts of a folder; whoever calls holds its lock."""
    for draft in folder.parent.glob(f".{escape(folder.name)}.*"):
        shutil.rmtree(draft)


def user_path(written: str) -> str:
    """A path as people write it, with a leading `~/` as their home folder; any other text as it is."""
    return str(Path(written).expanduser()) if written.startswith("~/") else written


def name_below(name: Any) -> str:
    """A name that becomes part of a path, as it is.

    Raises:
        ConfigError: If it could lead out of its folder.
    """
    name = str(name)
    parts = {*name.split("/")}
    if not name.isprintable() or name.startswith(("/", "~")) or not parts - {""} or parts & {".", ".."}:
        raise ConfigError(f"{name!r} names a folder or file and would lead elsewhere; write a name, as my_study or a/b")
    return name


def inside_root(roots: Roots, relative: str) -> Path:
    """The path of a media file named by a record, relative to the first root; it may end in any of them.

    Raises:
        MediaError: If the path, or a link, leads out of the roots or cannot be followed.
    """
    root, *others = [roots] if isinstance(roots, Path) else roots
    if "\x00" in relative:
        raise MediaError("the media path holds a NUL character", where=repr(relative), remedy="fix the record")
    if relative.startswith(EMBEDDED):
        root, relative = others[-1] if others else root, relative.removeprefix(EMBEDDED)
    candidate = Path(relative)
    resolved_root = root.resolve()
    resolved = followed(resolved_root / candidate)
    if any(resolved.is_relative_to(each) for each in (resolved_root, *(other.resolve() for other in others))):
        return resolved
    if not candidate.is_absolute() and ".." not in Path(os.path.normpath(candidate)).parts:
        raise MediaError(
            f"the media path is a link that leads out of the media root {str(root)!r}",
            where=f"{relative!r}, a link to {str(resolved)!r}",
            remedy="copy or hard-link the file into the media root, or name the folder that holds it in the source's "
            "media_roots",
        )
    raise MediaError(
        f"the media path leads out of the media root {str(root)!r}",
        where=repr(relative),
        remedy="use a path relative to the source's media_root, or name the folder in its media_roots",
    )


def followed(path: Path) -> Path:
    """A path with its links followed, whether or not something is there.

    Raises:
        MediaError: If a name in it is too long, its links go in a circle, or a folder may not be entered.
        MachineError: If the system failed.
    """
    try:
        resolved = path.resolve()
        resolved.exists()  # only here does the system look at the names
    except (OSError, RuntimeError) as error:
        if is_machine_fault(error):
            raise machine_error(path, error) from error
        what = getattr(error, "strerror", None) or "its links go in a circle"
        remedy = "fix the record's path or the link"
        raise MediaError(f"the media path cannot be followed ({what})", where=repr(path.name), remedy=remedy) from error
    return resolved


def is_machine_fault(error: BaseException) -> bool:
    """Whether the system itself failed, so that the same file may be read well another time."""
    return isinstance(error, OSError) and error.errno in _MACHINE_FAULTS


def machine_error(path: Path, error: BaseException) -> MachineError:
    """What to tell of a machine fault that came up with a file."""
    return MachineError(
        f"{path} cannot be read now: {getattr(error, 'strerror', error)}; free what other programs hold, or "
        "look at the disk, then run again"
    )
