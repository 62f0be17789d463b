"""How a run was trained and asked, which an evaluation of it goes by unless it is told otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sparrow.core.files import user_path
from sparrow.core.settings import identity
from sparrow.models.registry import FAMILIES
from sparrow.models.settings import CheckpointOptions
from sparrow.runs.differences import leaves
from sparrow.runs.record import FILE_NAME, RunRecord
from sparrow.runs.status import MODEL_FOLDER
from sparrow.settings import EvaluateConfig

ALIKE = (
    *("data_seed", "world", "frames", "trainer.precision"),
    *("backbone.frame_size_px", "backbone.native_video", "backbone.trust_remote_code"),
)


def settings_of(checkpoint: str) -> dict[str, Any]:
    """The settings of the run that a checkpoint is the folder of; empty for any other checkpoint.

    Raises:
        RunError: If its record cannot be read.
    """
    folder = Path(user_path(checkpoint))
    return RunRecord.load(folder).config if (folder / FILE_NAME).is_file() else {}


def model_of(checkpoint: str) -> str:
    """The model folder of a run's folder; anything else as it is."""
    folder = Path(user_path(checkpoint))
    return str(folder / MODEL_FOLDER) if (folder / FILE_NAME).is_file() else checkpoint


def select(settings: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The setting of a dotted key, or the default where there is none."""
    found: Any = settings
    for name in key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return default
        found = found[name]
    return found


def as_trained(checkpoint: str, options: CheckpointOptions) -> CheckpointOptions:
    """The options with native video and a family of one's own as a run was trained with, where they leave them open."""
    trained = settings_of(checkpoint)
    if options.native_video is None:
        options = replace(options, native_video=bool(select(trained, "backbone.native_video")))
    family = select(trained, "backbone.family")
    own = options.family is None and family is not None and family not in FAMILIES
    return replace(options, family=family) if own else options


def unlike_training(config: EvaluateConfig) -> str | None:
    """How a run is asked otherwise than it was trained and asked itself, in one line; None where it is not."""
    trained = settings_of(config.checkpoint)
    differences = [
        f"{key}={value} (there {there})"
        for key, value in _compared(config)
        if (there := select(trained, key, value)) != value
    ]
    return f"not as in {config.checkpoint}: {', '.join(differences)}" if differences else None


def _compared(config: EvaluateConfig) -> Iterator[tuple[str, Any]]:
    settings = asdict(config)
    for key in ALIKE:
        value = select(settings, key)
        if value is not None or not key.startswith("backbone."):  # which leaves that to the checkpoint
            yield from leaves(value, key)
    for name, benchmark in config.benchmark.items():
        yield from leaves(identity(benchmark), f"benchmark.{name}")
