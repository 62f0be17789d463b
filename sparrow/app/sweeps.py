"""The jobs of a sweep as Hydra left it on disk, from `multirun.yaml` in the study's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sparrow.app.help import options_by_group
from sparrow.report.progress import ExpectedJob
from sparrow.runs.settings import recorded_choice

FILE_NAME = "multirun.yaml"


WITHOUT_RECORD = ("prepare", "preview", "diversity")  # commands whose jobs leave no run.json


def expected_jobs(folder: Path) -> list[ExpectedJob]:
    """The jobs that the last sweep into each study in or below a folder asked for: the product of its swept values.

    None where no sweep is stored, or its jobs cannot be listed beforehand, as those of a search with Optuna.
    """
    return [job for path in sorted(folder.rglob(FILE_NAME)) for job in _jobs_of(path)]


def _jobs_of(path: Path) -> list[ExpectedJob]:
    try:
        stored = OmegaConf.load(path)
        given = OmegaConf.select(stored, "hydra.sweeper.params", default=None) or {}
        task = OmegaConf.select(stored, "hydra.overrides.task", default=None) or []
        overrides = parsed_overrides(given, list(task))
        # As in Hydra, what is typed later replaces the value of the same key.
        by_key = {override.get_key_element().lstrip("+"): override for override in overrides}
        swept = {key: values_of(override) for key, override in by_key.items() if override.is_sweep_override()}
        swept |= {key: recorded_choice(values) for key, values in swept.items() if key in options_by_group()}
    except (OSError, YAMLError, OmegaConfBaseException, HydraException, AttributeError, TypeError, ValueError):
        return []
    command = OmegaConf.select(stored, "hydra.job.config_name", default=None)
    if not swept or not all(swept.values()) or command in WITHOUT_RECORD:
        return []
    return [ExpectedJob(dict(zip(swept, values, strict=True)), path.parent) for values in product(*swept.values())]


def parsed_overrides(given: Mapping[str, Any], task: Sequence[str]) -> list[Override]:
    """The overrides of a sweep: those of its sweeper's `params`, then those that were typed."""
    lines = [f"{key}={value}" for key, value in given.items()]
    return OverridesParser.create().parse_overrides([*lines, *task])


def values_of(override: Override) -> list[Any]:
    """The values of a sweep; none where it has no list of them, as a pattern of names that Hydra alone looks up."""
    if not override.is_discrete_sweep() or override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return []
    parser, key = OverridesParser.create(), "value"
    return [parser.parse_override(f"{key}={text}").value() for text in override.sweep_string_iterator()]
