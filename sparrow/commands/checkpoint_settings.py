"""How a run was trained and asked, which an evaluation of it goes by unless it is told otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sparrow.core.errors import ConfigError, RunError
from sparrow.core.files import user_path
from sparrow.core.settings import identity
from sparrow.models.registry import FAMILIES
from sparrow.models.settings import CheckpointOptions
from sparrow.runs.differences import leaves
from sparrow.runs.record import FILE_NAME, RunRecord
from sparrow.runs.status import CHECKPOINT_FOLDER, MODEL_FOLDER
from sparrow.settings import EvaluateConfig

ALIKE = (
    *("data_seed", "world", "frames", "trainer.precision"),
    *("backbone.frame_size_px", "backbone.native_video", "backbone.min_frame_size_px"),
    *("backbone.template", "backbone.thinking", "backbone.trust_remote_code"),
)


def settings_of(checkpoint: str) -> dict[str, Any]:
    """The settings of the run that a checkpoint is the folder of, or a step of; empty for any other checkpoint.

    Raises:
        RunError: If its record cannot be read.
    """
    folder = run_folder(checkpoint)
    return RunRecord.load(folder).config if folder is not None else {}


def run_folder(checkpoint: str) -> Path | None:
    """The folder of the run that a checkpoint is, or is a saved step of; None for any other checkpoint."""
    path = Path(user_path(checkpoint))
    folder = path.parent.parent if path.suffix == ".ckpt" and path.parent.name == CHECKPOINT_FOLDER else path
    return folder if (folder / FILE_NAME).is_file() else None


def model_folder(checkpoint: str) -> str | None:
    """The model folder of a run's folder; None for a step that a run saved, which has none; anything else itself."""
    folder = run_folder(checkpoint)
    if folder is None:
        return checkpoint
    return str(folder / MODEL_FOLDER) if folder == Path(user_path(checkpoint)) else None


def step_of(checkpoint: str) -> int | None:
    """The step at which a run saved a checkpoint; None for anything else, the best one too."""
    name = Path(checkpoint).stem.removeprefix("step=")
    return int(name) if run_folder(checkpoint) is not None and name.isdigit() else None


def each_checkpoint(arguments: list[str]) -> list[str]:
    """The command line `RUN --checkpoints all ...` as a sweep over the steps that the run has kept.

    Raises:
        ConfigError: If it names no folder of a run, or another choice than `all`.
        RunError: If the run has kept no step.
    """
    if "--checkpoints" not in arguments:
        return arguments
    place = arguments.index("--checkpoints")
    rest, which = [*arguments[:place], *arguments[place + 2 :]], arguments[place + 1 : place + 2]
    runs = [argument for argument in rest if (Path(user_path(argument)) / FILE_NAME).is_file()]
    if which != ["all"] or len(runs) != 1:
        raise ConfigError("--checkpoints: write sparrow evaluate RUN --checkpoints all, with RUN the folder of a run")
    run = Path(user_path(runs[0]))
    steps = sorted((run / CHECKPOINT_FOLDER).glob("step=*.ckpt"))
    if not steps:
        raise RunError(f"{run} has kept no checkpoint; set checkpointing.every_n_steps and checkpointing.keep_last")
    rest.remove(runs[0])
    name = [] if any(argument.startswith("study.name=") for argument in rest) else [f"study.name={run.name}-steps"]
    return ["-m", *name, *rest, "checkpoint=" + ",".join(f"'{path}'" for path in steps)]


def select(settings: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """The setting of a dotted key, or the default where there is none."""
    found: Any = settings
    for name in key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return default
        found = found[name]
    return found


def as_trained(checkpoint: str, options: CheckpointOptions) -> CheckpointOptions:
    """The options with native video, template, thoughts and a family of one's own as a run was trained with, where they
    leave them open."""
    trained = settings_of(checkpoint)
    open_ones = [
        key for key in ("native_video", "min_frame_size_px", "template", "thinking") if getattr(options, key) is None
    ]
    taken = {key: select(trained, f"backbone.{key}") for key in open_ones}
    family = select(trained, "backbone.family")
    if options.family is None and family is not None and family not in FAMILIES:
        taken["family"] = family
    filled = replace(options, **taken)
    return replace(filled, native_video=bool(filled.native_video))


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
        yield from leaves(identity(benchmark, whole=True), f"benchmark.{name}")
