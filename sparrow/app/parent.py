"""The run that another starts from: its settings, where it is kept, and carrying it out first."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig

from sparrow.app.arguments import unknown_names
from sparrow.app.provenance import as_typed, config_folders, quoted
from sparrow.app.schema import checked
from sparrow.core.errors import ConfigError
from sparrow.core.settings import run_id
from sparrow.runs.folder import earlier_run, open_run, training_record
from sparrow.runs.record import FILE_NAME, RunRecord
from sparrow.runs.status import is_main_process
from sparrow.settings import DiversityConfig, ExperimentConfig

T = TypeVar("T")
log = logging.getLogger(__name__)
POLL_INTERVAL_S = 2.0


def checked_with_parent(config: DictConfig, schema: type[T]) -> T:
    """As `checked`, with what is wrong with the run that `start_from` names."""
    return checked(config, schema, further=check_parent)


def check_parent(config: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the run that `start_from` names, as (key, what is wrong and how to fix it)."""
    if not isinstance(config, ExperimentConfig) or isinstance(config, DiversityConfig):
        return
    if config.start_from.experiment is None or not GlobalHydra().is_initialized():  # by which alone it is composed
        return
    try:
        parent = compose_parent(config)
    except ConfigError as error:
        yield "start_from", str(error)
        return
    if config.start_from.gates and not parent.evaluation.after:
        there = f"evaluation.after=false in experiment={config.start_from.experiment}"
        yield "start_from.gates", f"are evaluated after training, but {there}; set it true in start_from.overrides"
    for name in config.start_from.gates:
        if name not in parent.benchmark:
            near = get_close_matches(name, parent.benchmark, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "choose it in start_from.overrides, or leave the gate out"
            there = ", ".join(parent.benchmark) or "none"
            wrong = f"is not among the benchmarks of experiment={config.start_from.experiment} ({there})"
            yield f"start_from.gates.{name}", f"{wrong}; {hint}"


def compose_parent(config: ExperimentConfig) -> ExperimentConfig:
    """Settings of the experiment that `start_from` names, with this run's seeds, paths and accelerator.

    Raises:
        ConfigError: If its settings are wrong, it starts from another run itself, or it has another backbone than the
            run, whose own checkpoint would not be used.
    """
    assert config.start_from.experiment is not None
    overrides = [
        *_searched(),
        f"experiment={config.start_from.experiment}",
        f"seed={config.seed}",
        f"data_seed={config.data_seed}",
        *(f"paths.{key}={quoted(Path(value))}" for key, value in vars(config.paths).items()),
        f"trainer.progress_bar={config.trainer.progress_bar}",
        f"trainer.accelerator={config.trainer.accelerator}",
        *config.start_from.overrides,
    ]
    composed = _compose(overrides)
    if composed.start_from.experiment is not None:
        raise ConfigError(
            f"experiment={config.start_from.experiment} itself starts from experiment="
            f"{composed.start_from.experiment}; name one that starts from none, or add "
            "'start_from.experiment=null' to start_from.overrides"
        )
    try:
        parent = checked(composed, ExperimentConfig, origin=lambda key: "")
    except ConfigError as error:
        raise ConfigError(f"experiment={config.start_from.experiment} has {error}") from error
    _refuse_other_backbone(config, parent)
    return parent


def _searched() -> list[str]:
    """The folders that this run was told to look for settings in, as it was told."""
    if not HydraConfig.initialized():
        return []
    typed = as_typed(HydraConfig.get().overrides.hydra)
    return [text for text in typed if text.lstrip("+").startswith("hydra.searchpath=")]


def _compose(overrides: list[str]) -> DictConfig:
    """Compose a training run; what Hydra does not know is told with what is near."""
    try:
        return compose("train", overrides=overrides)
    except HydraException as error:
        unknown = unknown_names(overrides, config_folders(), ExperimentConfig)
        raise ConfigError("; ".join(unknown) or str(error).splitlines()[0]) from error


def _refuse_other_backbone(config: ExperimentConfig, parent: ExperimentConfig) -> None:
    names = ["family", "tiny", "tiny_width", *([] if config.backbone.tiny else ["checkpoint", "revision"])]
    own, there = vars(config.backbone), vars(parent.backbone)
    unlike = [f"backbone.{name}={own[name]} (there {there[name]})" for name in names if own[name] != there[name]]
    if unlike:
        raise ConfigError(
            f"experiment={config.start_from.experiment} has another backbone than this run, which starts "
            f"from its model: {', '.join(unlike)}; give start_from.overrides the same or set start_from.experiment=null"
        )


def parent_folder(parent: ExperimentConfig) -> Path:
    """Where a run that others start from is kept: by what it is, not by who asked for it."""
    return Path(parent.paths.cache_root) / "runs" / run_id(parent)


def ensure_parent(config: ExperimentConfig) -> Path | None:
    """Folder of the finished run that `start_from` names, carried out first where it is not there yet."""
    if config.start_from.experiment is None:
        return None
    from sparrow.commands.train import train

    parent = compose_parent(config)
    folder = parent_folder(parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not is_main_process():
        # Rank 0 carries it out; where that fails, the launcher ends the other ranks.
        while not (folder / FILE_NAME).is_file() or RunRecord.load(folder).status != "finished":
            time.sleep(POLL_INTERVAL_S)
        return folder
    with FileLock(f"{folder}.lock"):
        log.info("starting from experiment=%s: %s", config.start_from.experiment, folder)
        train(parent, folder, name=config.start_from.experiment)
    return folder


def finished_run(config: DictConfig, folder: Path) -> RunRecord | None:
    """The record of a training run that is finished already; None if there is something to do. As `open_run`."""
    settings = checked_with_parent(config, ExperimentConfig)
    record = _known_record(settings)
    return open_run(folder, record, settings) if record is not None else None


def refuse_other_run(config: ExperimentConfig, folder: Path) -> None:
    """As `earlier_run`, before torch is imported and the run's parent is trained."""
    if not config.restart and (record := _known_record(config)) is not None:
        earlier_run(folder, record, config)


def _known_record(config: ExperimentConfig) -> RunRecord | None:
    """The record of a run that is to begin; None while the run that it starts from has none."""
    parent = parent_folder(compose_parent(config)) if config.start_from.experiment is not None else None
    return training_record(config, parent) if parent is None or (parent / FILE_NAME).is_file() else None
