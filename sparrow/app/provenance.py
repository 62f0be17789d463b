"""Where a setting was written: on the command line, in an experiment file, or in a group's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from sparrow.app.help import CONF_FOLDER
from sparrow.app.renamed import RENAMED

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


def without_package(key: str) -> Path | None:
    """A user's file of named items, as benchmarks are, that lacks its package and so sets a key of the group itself."""
    group = key.partition(".")[0]
    folders = config_folders()[1:] if group in ITEM_GROUPS else []
    files = (path for folder in folders for path in sorted((folder / group).rglob("*.yaml")))
    # A file with a package of its own sets what belongs to it.
    stray = (path for path in files if not path.read_text(encoding="utf-8").startswith(f"# @package {group}."))
    return next((path for path in stray if _sets(path, group, key)), None)


def quoted(path: Path) -> str:
    """A path as the value of an override."""
    return "'" + str(path).replace("'", "\\'") + "'"


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
