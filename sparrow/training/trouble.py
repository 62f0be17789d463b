"""Files of a run that name samples which could not be read, and steps that were left out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def append(path: Path, lines: list[dict[str, Any]]) -> None:
    """Add lines to a file, which is made with its first one."""
    if lines:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text_of(lines))


def text_of(lines: Iterable[dict[str, Any]]) -> str:
    """Lines as they stand in a file."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def read_failed(folder: Path) -> list[dict[str, Any]]:
    """The samples that no rank could read."""
    return [line for path in files_of(folder, "failed") for line in lines_of(path)]


def read_skipped_steps(folder: Path) -> list[int]:
    """The steps that were left out, in order."""
    return sorted({line["step"] for path in files_of(folder, "skipped") for line in lines_of(path)})


def files_of(folder: Path, *kinds: str) -> list[Path]:
    """The files of all ranks, of the kinds `failed` and `skipped`."""
    return sorted(path for kind in kinds for path in folder.glob(f"{kind}-*.jsonl"))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; a kill may have cut the last one short."""
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
