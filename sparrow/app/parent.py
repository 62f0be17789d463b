"""The run that another starts from: its settings, and where it is kept."""

from __future__ import annotations

from pathlib import Path

from hydra import compose

from sparrow.app.settings import checked
from sparrow.core.config import ExperimentConfig, run_id
from sparrow.core.errors import ConfigError


def compose_parent(config: ExperimentConfig) -> ExperimentConfig:
    """Settings of the experiment that `start_from` names, with this run's seeds, paths and accelerator.

    Raises:
        ConfigError: If that experiment has another backbone than the run, whose own checkpoint would not be used.
    """
    assert config.start_from.experiment is not None
    overrides = [
        f"experiment={config.start_from.experiment}",
        f"seed={config.seed}",
        f"data_seed={config.data_seed}",
        *(f"paths.{key}='{value}'" for key, value in vars(config.paths).items()),
        f"trainer.progress_bar={config.trainer.progress_bar}",
        f"trainer.accelerator={config.trainer.accelerator}",
        *config.start_from.overrides,
    ]
    parent = checked(compose("train", overrides=overrides), ExperimentConfig)
    _refuse_other_backbone(config, parent)
    return parent


def _refuse_other_backbone(config: ExperimentConfig, parent: ExperimentConfig) -> None:
    names = ["family", "tiny", "tiny_width", *([] if config.backbone.tiny else ["checkpoint", "revision"])]
    own, there = vars(config.backbone), vars(parent.backbone)
    unlike = [f"backbone.{name}={own[name]} (there {there[name]})" for name in names if own[name] != there[name]]
    if unlike:
        raise ConfigError(
            f"start_from.experiment={config.start_from.experiment} has another backbone than this run, which starts "
            f"from its model: {', '.join(unlike)}; give start_from.overrides the same or set start_from.experiment=null"
        )


def parent_folder(parent: ExperimentConfig) -> Path:
    """Where a run that others start from is kept: by what it is, not by who asked for it."""
    return Path(parent.paths.cache_root) / "runs" / run_id(parent)
