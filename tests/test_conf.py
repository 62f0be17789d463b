"""The files of `conf/`: they say only what differs from the defaults."""

from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml

import sparrow.conf
from sparrow.commands.checkpoint_settings import ALIKE
from sparrow.core.settings import REQUIRED, defaults, kind_of
from sparrow.settings import SCHEMAS, ExperimentConfig

FOLDER = Path(sparrow.conf.__file__).parent
# Files of all groups set values over those of other files.
OF_ALL_GROUPS = "# @package _global_"
FILES = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.relative_to(FOLDER).parts[0] not in ("hydra", "paths")]


def package_of(path):
    first = path.read_text().partition("\n")[0]
    if first.startswith("# @package "):
        return first.removeprefix("# @package ").split(".")
    return list(path.relative_to(FOLDER).parts[:-1])


def leaves(value, key):
    if isinstance(value, dict) and value:
        for name, item in value.items():
            if name not in ("defaults", "hydra"):
                yield from leaves(item, [*key, name])
    else:
        yield key, value


def default_of(schema, key):
    values = defaults(schema)
    for name in key:
        kind = kind_of(schema, [name])
        if get_origin(schema) is dict:
            values = defaults(get_args(schema)[1])
        elif isinstance(values, dict) and name in values:
            values = values[name]
        else:
            return REQUIRED
        schema = kind
    return values


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_file_repeats_no_default(path):
    text = path.read_text()
    content = yaml.safe_load(text) or {}
    inherits = any(
        isinstance(entry, str) and not entry.startswith("/") and entry != "_self_"
        for entry in content.get("defaults", [])
    )
    if text.startswith(OF_ALL_GROUPS) or inherits:
        pytest.skip("it sets values over those of other files")
    schema = SCHEMAS.get(path.stem, ExperimentConfig) if path.parent == FOLDER else ExperimentConfig
    repeated = [
        ".".join(key)
        for key, value in leaves(content, package_of(path))
        # `sparrow evaluate` takes these from the run that it evaluates, so that a file has to say them.
        if not any(f"{'.'.join(key)}.".startswith(f"{alike}.") for alike in ALIKE) and value == default_of(schema, key)
    ]
    assert repeated == []
