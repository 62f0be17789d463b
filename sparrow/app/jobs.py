"""The work of one Hydra job: settings checked, the parent run made, the run carried out.

A command is imported once nothing is left to refuse: torch, transformers and Lightning take seconds.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from sparrow.app.current_job import factors_of, is_sweep, run_folder
from sparrow.app.parent import checked_with_parent, ensure_parent, refuse_other_run
from sparrow.app.provenance import is_typed, origin_of
from sparrow.app.schema import checked
from sparrow.commands.checkpoint_settings import as_trained, model_folder
from sparrow.core.errors import ConfigError
from sparrow.core.files import user_path
from sparrow.models.checkpoint_files import Checkpoint, family_of, is_hub_id, require_processor, require_weights
from sparrow.runs.status import MODEL_FOLDER, Interrupted, is_main_process
from sparrow.settings import DiversityConfig, EvaluateConfig, ExperimentConfig, PrepareConfig, PreviewConfig

T = TypeVar("T", bound=ExperimentConfig)
log = logging.getLogger(__name__)
QUIET = (
    *(".*does not have many workers.*", ".*Checkpoint directory .* exists.*", ".*smaller than the logging interval.*"),
    *(".*your dataloader is not resumable.*", ".*assuming the intent is to .* in a single process.*"),
    *(".*LeafSpec.* is deprecated.*", ".*ModelCheckpoint with manual optimization.*"),
    ".*`srun` command is available.*",
)


def train_job(config: DictConfig) -> float | None:
    """Carry out a training run; returns the value of `study.metric`."""
    settings = checked_with_parent(config, ExperimentConfig)
    _refuse_folders_apart(settings)
    _refuse_checkpoint(settings, weights=True)
    refuse_other_run(settings, run_folder())
    quiet_libraries()
    from sparrow.commands.train import train
    from sparrow.report.output import print_table
    from sparrow.report.study import read_studies
    from sparrow.training.strategies import cluster_environment

    cluster_environment(settings.trainer)  # refuses, before anything is done, ranks that nothing would start
    name = run_folder().name if is_sweep() else settings.study.name
    try:
        record = train(settings, run_folder(), name=name, factors=factors_of(config), parent=ensure_parent(settings))
    except Interrupted as error:
        # The job's folder, also where it was the run that it starts from.
        there = "" if is_sweep() else f" with hydra.run.dir={run_folder()}"
        log.warning("%s; run the same command again%s to go on", error, there)
        raise KeyboardInterrupt(error.by) from error  # so that a sweep does not go on to the next job
    if not is_main_process():
        return None
    if not is_sweep():
        print_table(read_studies([run_folder()]))
    log.info("finished: %s", run_folder())
    return record.metric()


def prepare_job(config: DictConfig) -> None:
    """Plan a mixture and write what a run would see."""
    settings, model = _planned(config, PrepareConfig)
    from sparrow.commands.prepare import show_plan

    show_plan(settings, run_folder(), model)


def preview_job(config: DictConfig) -> None:
    """Write the preview page."""
    settings, model = _planned(config, PreviewConfig)
    from sparrow.commands.preview import preview

    preview(settings, run_folder(), model)


def evaluate_job(config: DictConfig) -> float | None:
    """Evaluate a checkpoint; returns the value of `study.metric`."""
    settings = checked(config, EvaluateConfig)
    folder = model_folder(settings.checkpoint)
    if folder is not None:  # a saved step becomes one only when it is evaluated
        _refuse_folder(folder, as_trained(settings.checkpoint, settings.backbone).family)
    quiet_libraries()
    from sparrow.commands.evaluate import evaluate

    record = evaluate(settings, run_folder(), factors=factors_of(config))
    log.info("finished: %s", run_folder())
    return record.metric()


def diversity_job(config: DictConfig) -> None:
    """Measure how diverse instructions are."""
    settings = checked(config, DiversityConfig)
    quiet_libraries()
    from sparrow.commands.diversity import diversity

    diversity(settings, run_folder())


def quiet_libraries() -> None:
    """Leave the terminal to Sparrow's own messages; loads transformers."""
    from transformers.utils import logging as transformers_logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers_logging.disable_progress_bar()
    for message in QUIET:
        warnings.filterwarnings("ignore", message)


def _planned(config: DictConfig, schema: type[T]) -> tuple[T, str | None]:
    """The settings of a plan, and the model folder that its tokens are counted with, where it is another run's."""
    settings = checked_with_parent(config, schema)
    _refuse_checkpoint(settings, weights=False)
    quiet_libraries()
    parent = None if settings.backbone.tiny else ensure_parent(settings)
    return settings, str(parent / MODEL_FOLDER) if parent is not None else None


def _refuse_folders_apart(config: ExperimentConfig) -> None:
    """Refuse a folder named after the time where each rank reads the clock by itself."""
    if is_sweep() or config.trainer.devices * config.trainer.num_nodes == 1:
        return
    one_node = config.trainer.num_nodes == 1
    together = one_node and "LOCAL_RANK" not in os.environ and os.environ.get("SLURM_STEP_NUM_TASKS", "1") == "1"
    if not together and "${now:" in OmegaConf.to_yaml(HydraConfig.get().run):
        raise ConfigError(
            f"hydra.run.dir={run_folder()} is named after the time, which each rank would read by itself; give all "
            "ranks the same folder, as in hydra.run.dir=outputs/my_run"
        )


def _refuse_checkpoint(config: ExperimentConfig, *, weights: bool) -> None:
    """Refuse a folder without a checkpoint of the family, and one that is typed where the tiny sibling is taken."""
    backbone = config.backbone
    if backbone.checkpoint is not None and not backbone.tiny and config.start_from.experiment is None:
        _refuse_folder(backbone.checkpoint, backbone.family, weights=weights)
    if backbone.tiny and is_typed("backbone.checkpoint"):
        raise ConfigError(
            f"backbone.checkpoint={backbone.checkpoint} would not be used: backbone.tiny=true"
            f"{origin_of('backbone.tiny')} takes the family's tiny sibling with random weights; "
            "leave the checkpoint out, or set backbone.tiny=false and the frame size that it is made for"
        )


def _refuse_folder(checkpoint: str, family: str | None, *, weights: bool = True) -> None:
    """Refuse a folder that lacks files, those of weights only where they are read."""
    folder = Checkpoint(user_path(checkpoint))
    if not is_hub_id(checkpoint):
        family_of(folder, family)
        require_processor(folder)
        if weights:
            require_weights(folder)


JOBS: dict[str, Callable[[DictConfig], float | None]] = {
    "train": train_job,
    "evaluate": evaluate_job,
    "prepare": prepare_job,
    "preview": preview_job,
    "diversity": diversity_job,
}
