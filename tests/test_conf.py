"""The files of `conf/`: they say only what differs from the defaults."""

import json
from functools import cache
from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import sparrow.conf
from sparrow.app.entry import set_up
from sparrow.commands.checkpoint_settings import ALIKE
from sparrow.core.settings import REQUIRED, defaults, kind_of
from sparrow.settings import SCHEMAS, ExperimentConfig

FOLDER = Path(sparrow.conf.__file__).parent
# Files of all groups set values over those of other files.
OF_ALL_GROUPS = "# @package _global_"
FILES = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.relative_to(FOLDER).parts[0] not in ("hydra", "paths")]
OVER_OTHERS = [path for path in FILES if path.read_text().startswith(OF_ALL_GROUPS)]
# What was released stands whole in its files, whatever the defaults are.
DELIBERATE = {"paper/released_hyperparameters/sparrow": ("optimizer.weight_decay", "optimizer.beta2")}


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


@pytest.fixture(scope="module")
def built_on(tmp_path_factory):
    """What holds on some defaults alone, of an experiment or a scale; many files have the same."""
    set_up()

    @cache
    def build(command, group, defaults, *overrides):
        folder = tmp_path_factory.mktemp("conf")
        (folder / group).mkdir()
        (folder / group / "below.yaml").write_text(f"{OF_ALL_GROUPS}\ndefaults: {defaults}\n")
        with initialize_config_module("sparrow.conf", version_base="1.3"):
            return compose(command, [f"hydra.searchpath=[file://{folder}]", f"{group}=below", *overrides])

    return build


@pytest.mark.parametrize("path", OVER_OTHERS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_file_repeats_nothing_that_the_files_it_builds_on_say(path, built_on):
    group, *names = path.relative_to(FOLDER).with_suffix("").parts
    text, deliberate = path.read_text(), DELIBERATE.get("/".join(names), ())
    content = yaml.safe_load(text) or {}
    defaults = json.dumps(content.pop("defaults", []))
    said = {".".join(key): value for key, value in leaves(content, []) if ".".join(key) not in deliberate}

    def repeated(*overrides):
        below = built_on("evaluate" if "sparrow evaluate" in text else "train", group, defaults, *overrides)
        return {key for key, value in said.items() if OmegaConf.select(below, key, default=REQUIRED) == value}

    found = repeated()
    if found and group != "scale" and "override /scale" not in text:  # what `scale=tiny` sets, a file may set back
        found &= repeated("scale=tiny")
    assert sorted(found) == []
