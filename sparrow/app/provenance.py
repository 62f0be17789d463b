"""Where a setting was written: on the command line, in an experiment file, or in a group's file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from sparrow.app.help import CONF_FOLDER
from sparrow.app.renamed import RENAMED

# An item of a list or function after the name that it may have there, as in `{root: a=b}` and `glob(exclude=*)`.
_ITEM = re.compile(r"\s*((?:\w+: +|(?:start|stop|step|end|sweep|list|reverse|include|exclude)=)?)(.*?)\s*")
MAX_COMMAS, MAX_PATH_BYTES = 9, 255  # of a path that is typed without quotes
ITEM_GROUPS = ("benchmark", "logger", "source")  # several can be chosen, each at a package of its own


def config_folders() -> list[Path]:
    """Folders that settings are read from: Sparrow's own, then those that the user added."""
    if not HydraConfig.initialized():
        return [CONF_FOLDER]
    sources = HydraConfig.get().runtime.config_sources
    return [CONF_FOLDER, *(Path(source.path.removeprefix("file://")) for source in sources if source.schema == "file")]


def origin_of(key: str) -> str:
    """` (in FILE)` or ` (on the command line)` for the place that set a key; empty where none is found."""
    if not HydraConfig.initialized():
        return ""
    if is_typed(key) or any(name.startswith(f"{key}.") for name in _typed()):
        return " (on the command line)"
    hydra = HydraConfig.get()
    for group, choice in [*hydra.runtime.choices.items(), ("", hydra.job.config_name)]:
        for chosen in choice if isinstance(choice, list) else [choice]:
            option = RENAMED.get(group, {}).get(chosen, chosen)
            name = f"{group.split('@')[0]}/{option}.yaml".lstrip("/")
            files = [folder / name for folder in config_folders() if option and (folder / name).is_file()]
            if files and _sets(path := files[0], group, key):  # Hydra takes the first folder that has it
                shown = Path("conf", path.relative_to(CONF_FOLDER)) if path.is_relative_to(CONF_FOLDER) else path
                return f" (in {shown})"
    return ""


def item_group(key: str) -> str:
    """The group of named items that a key belongs to, also where a mixture chose it; empty where to none."""
    group = key.removeprefix("mixture.").partition(".")[0]
    return group if group in ITEM_GROUPS else ""


def without_package(key: str) -> Path | None:
    """A user's file of named items, as benchmarks are, that lacks its package and so sets a key of the group itself."""
    key = key.removeprefix("mixture.") if item_group(key) else key  # in which a mixture chooses it
    group = key.partition(".")[0]
    folders = config_folders()[1:] if group in ITEM_GROUPS else []
    files = (path for folder in folders for path in sorted((folder / group).rglob("*.yaml")))
    # A file with a package of its own sets what belongs to it.
    stray = (path for path in files if not path.read_text(encoding="utf-8").startswith(f"# @package {group}."))
    return next((path for path in stray if _sets(path, group, key)), None)


def quoted(path: Path) -> str:
    """A path as the value of an override."""
    return "'" + str(path).replace("'", "\\'") + "'"


def quoted_paths(value: str) -> str:
    """A value with quotes around each path in it that holds `=`, or that is there and holds a comma or a bracket."""
    if "${" in value:
        return value
    if set(value) & set("=,[](){}'") and _is_there(value):
        return quoted(Path(value))
    pieces = re.split(r"""('(?:\\.|[^'])*'|"(?:\\.|[^"])*"|[\[\](){}])""", value)
    return "".join(p if place % 2 else ",".join(_quoted_items(p.split(","))) for place, p in enumerate(pieces))


def _quoted_items(items: list[str]) -> Iterator[str]:
    while items:
        counts = range(min(len(items), MAX_COMMAS), 1, -1)
        count = next((count for count in counts if _is_there(",".join(items[:count]))), 1)
        item, items = ",".join(items[:count]), items[count:]
        found = _ITEM.fullmatch(item)
        needs_quotes = found and (count > 1 or re.search(r"(?<!\\)=", found[2]))  # Hydra writes `\\=` itself
        yield f"{found[1]}{quoted(Path(found[2]))}" if found and needs_quotes else item


def _is_there(path: str) -> bool:
    return len(os.fsencode(path)) <= MAX_PATH_BYTES and Path(path).exists()


def is_typed(key: str) -> bool:
    """Whether a key, or what it is part of, was set on the command line; a group that was chosen there sets none."""
    return any(key == name or key.startswith(f"{name}.") for name in _typed())


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Overrides as they were typed: iterating would resolve their `${...}`, which are not of Hydra's own settings."""
    return cast(list[str], OmegaConf.to_container(overrides, resolve=False))


def _typed() -> set[str]:
    hydra = HydraConfig.get()
    names = {override.lstrip("+~").split("=")[0].split("@")[0] for override in as_typed(hydra.overrides.task)}
    return names - set(hydra.runtime.choices)


def _sets(path: Path, group: str, key: str) -> bool:
    text = path.read_text(encoding="utf-8")
    first = text.splitlines()[0] if text else ""
    package = first.removeprefix("# @package ").strip() if first.startswith("# @package") else group.replace("/", ".")
    package = package.removeprefix("_global_").strip(".")
    value: Any = {package: yaml.safe_load(text)} if package and "." not in package else yaml.safe_load(text)
    for part in key.removeprefix(package).strip(".").split(".") if "." in package else key.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True
