"""The work of one Hydra job: settings checked, the parent run made, the run carried out."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from transformers.utils import logging as transformers_logging

from sparrow.app.current_job import factors_of, is_sweep, one_message, run_folder
from sparrow.app.parent import compose_parent, parent_folder
from sparrow.app.provenance import is_typed, origin_of
from sparrow.app.schema import checked
from sparrow.commands.diversity.figures import write_pictures
from sparrow.commands.diversity.measure import diversity_text, measure_diversity, write_diversity
from sparrow.commands.diversity.projection import project
from sparrow.commands.diversity.scatter_page import write_page
from sparrow.commands.evaluate import evaluate
from sparrow.commands.prepare import memory_text
from sparrow.commands.preview import write_preview
from sparrow.commands.train import new_record, train
from sparrow.core.config import DiversityConfig, EvaluateConfig, ExperimentConfig, PrepareConfig, PreviewConfig
from sparrow.core.errors import ConfigError
from sparrow.core.files import write_atomically
from sparrow.data.rejecting import UnusableSamples, missing_media, missing_text
from sparrow.data.trainer_export import export_mixture
from sparrow.planning.contamination import overlap_of, overlap_text, write_overlap
from sparrow.planning.manifest import manifest_table
from sparrow.planning.run_inputs import Prepared, prepare
from sparrow.report import print_table, read_studies
from sparrow.runs.folder import open_run
from sparrow.runs.record import FILE_NAME, RunRecord
from sparrow.runs.status import MODEL_FOLDER, Interrupted, is_main_process
from sparrow.training.strategies import cluster_environment

log = logging.getLogger(__name__)
PARENT_INTERVAL_S = 2.0
QUIET = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists.*",
    ".*smaller than the logging interval.*",
    ".*your dataloader is not resumable.*",
    ".*assuming the intent is to .* in a single process.*",
    ".*LeafSpec.* is deprecated.*",
    ".*ModelCheckpoint with manual optimization.*",
    ".*`srun` command is available.*",
)


def train_job(config: DictConfig) -> float | None:
    """Carry out a training run; returns the value of `study.metric`.

    Raises:
        KeyboardInterrupt: If the run was interrupted, so that a sweep does not go on to the next job.
    """
    quiet_libraries()

    def work() -> RunRecord:
        settings = checked(config, ExperimentConfig)
        _refuse_nested_launch(settings)
        cluster_environment(settings.trainer)  # refuses, before anything is done, ranks that nothing would start
        _refuse_folders_apart(settings)
        _refuse_unused_checkpoint(settings)
        parent = ensure_parent(settings)
        name = run_folder().name if is_sweep() else settings.study.name
        return train(settings, run_folder(), name=name, factors=factors_of(config), parent=parent)

    try:
        record = one_message(work)
    except Exception as error:
        if isinstance(error.__cause__, Interrupted):
            # The job's folder, also where it was the run that it starts from.
            there = "" if is_sweep() else f" with hydra.run.dir={run_folder()}"
            log.warning("%s; run the same command again%s to go on", error.__cause__, there)
            raise KeyboardInterrupt(error.__cause__.by) from error
        raise
    if not is_main_process():
        return None
    if not is_sweep():
        print_table(read_studies([run_folder()]))
    log.info("finished: %s", run_folder())
    return metric_of(record)


def ensure_parent(config: ExperimentConfig) -> Path | None:
    """Folder of the finished run that `start_from` names, carried out first where it is not there yet."""
    if config.start_from.experiment is None:
        return None
    parent = compose_parent(config)
    folder = parent_folder(parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not is_main_process():
        _wait_for(folder)
        return folder
    with FileLock(f"{folder}.lock"):
        log.info("starting from experiment=%s: %s", config.start_from.experiment, folder)
        train(parent, folder, name=config.start_from.experiment)
    return folder


def _wait_for(parent: Path) -> None:
    """Leave the parent run to rank 0; where that fails, the launcher ends the other ranks."""
    while not (parent / FILE_NAME).is_file() or RunRecord.load(parent).status != "finished":
        time.sleep(PARENT_INTERVAL_S)


def finished_run(config: DictConfig, folder: Path) -> RunRecord | None:
    """The record of a training run that is finished already; None if there is something to do.

    Raises:
        RunError: If the folder holds a run with other settings.
    """
    settings = checked(config, ExperimentConfig)
    parent = parent_folder(compose_parent(settings)) if settings.start_from.experiment is not None else None
    if parent is not None and not (parent / FILE_NAME).is_file():
        return None
    return open_run(folder, new_record(settings, parent), settings)


def prepare_job(config: DictConfig) -> None:
    """Plan, look for overlap, write manifest, ledger and what another trainer needs, print the table.

    Media files that are missing are listed in `missing_files.txt`, whether samples without them are an error or not.
    """
    quiet_libraries()

    def work() -> None:
        settings = checked(config, PrepareConfig)
        try:
            prepared = _prepare(settings)
        except UnusableSamples as error:
            _list_missing(error.missing)
            raise
        prepared.plan.write(run_folder())
        print(manifest_table(prepared.plan.manifest()))
        missing = missing_media(prepared.plan.ledger, prepared.sources)
        print(missing_text(missing), end="\n" if missing else "")
        _list_missing(missing)
        print(f"\n{memory_text(settings, prepared)}\n")
        overlap = overlap_of(settings, prepared)
        write_overlap(overlap, run_folder())
        print(overlap_text(overlap))
        if settings.export is not None:
            print(_export(settings, prepared, settings.export))
        print(f"\nmanifest, ledger and overlap: {run_folder()}")

    one_message(work)


def _list_missing(files: list[Path]) -> None:
    """Write the paths of files to fetch, a line each; nothing where none is missing."""
    if files:
        path = run_folder() / "missing_files.txt"
        write_atomically(path, "".join(f"{file}\n" for file in files))
        log.info("all missing files: %s", path)


def _export(config: PrepareConfig, prepared: Prepared, trainer: str) -> str:
    folder = run_folder() / trainer
    export = export_mixture(
        prepared.plan,
        prepared.sources,
        prepared.presentations,
        trainer,
        folder,
        on_bad_sample=config.on_bad_sample,
        max_bad_fraction=config.max_bad_fraction,
        num_workers=config.batching.num_workers,
    )
    left_out = [f"  {len(ids):,} left out: {reason}: {ids[0]}" for reason, ids in export.left_out.items()]
    counts = f"{export.num_samples:,} samples, {export.num_images:,} pictures, {export.num_videos:,} videos"
    return "\n".join([f"\nExport for {trainer}: {counts}: {folder}", *left_out])


def preview_job(config: DictConfig) -> None:
    """Write the preview page."""
    quiet_libraries()

    def work() -> None:
        settings = checked(config, PreviewConfig)
        page = write_preview(_prepare(settings), run_folder() / "preview.html", settings.num_samples, settings)
        print(f"open {page}")

    one_message(work)


def evaluate_job(config: DictConfig) -> float | None:
    """Evaluate a checkpoint; returns the value of `study.metric`."""
    quiet_libraries()

    def work() -> RunRecord:
        return evaluate(checked(config, EvaluateConfig), run_folder(), factors=factors_of(config))

    record = one_message(work)
    log.info("finished: %s", run_folder())
    return metric_of(record)


def metric_of(record: RunRecord) -> float | None:
    """The value of `study.metric`, written `BENCHMARK` or `BENCHMARK.PHASE`: the benchmark's own score, as a fraction.

    Raises:
        ConfigError: If the run has no such score, or it is not a number.
    """
    if record.study.metric is None:
        return None
    benchmark, _, phase = record.study.metric.partition(".")
    scores = record.scores.get(benchmark, {})
    found = scores.get(phase or "after")  # type: ignore[call-overload]
    if found is None:
        raise ConfigError(
            f"study.metric: '{record.study.metric}' was not measured; measured: {', '.join(record.scores)}"
        )
    if found.official is None:
        raise ConfigError(
            f"study.metric: '{record.study.metric}' has no {found.metric}, which is the benchmark's score; ask it the "
            f"questions that this is of, or set benchmark.{benchmark}.metric"
        )
    return found.official


def quiet_libraries() -> None:
    """Leave the terminal to Sparrow's own messages."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    for message in QUIET:
        warnings.filterwarnings("ignore", message)


def _prepare(config: ExperimentConfig) -> Prepared:
    _refuse_unused_checkpoint(config)
    parent = ensure_parent(config) if config.start_from.experiment is not None and not config.backbone.tiny else None
    return prepare(config, str(parent / MODEL_FOLDER) if parent is not None else None)


def _refuse_nested_launch(config: ExperimentConfig) -> None:
    if is_sweep() and config.trainer.devices > 1 and "LOCAL_RANK" not in os.environ:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices} in a multirun: every child process would start the whole sweep "
            "again; use hydra/launcher=parallel, which starts all ranks of a job itself"
        )


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


def _refuse_unused_checkpoint(config: ExperimentConfig) -> None:
    """Refuse a checkpoint that is asked for where the tiny sibling takes its place; files may name one for later."""
    if config.backbone.tiny and is_typed("backbone.checkpoint"):
        raise ConfigError(
            f"backbone.checkpoint={config.backbone.checkpoint} would not be used: backbone.tiny=true"
            f"{origin_of('backbone.tiny')} takes the family's tiny sibling with random weights; "
            "leave the checkpoint out, or set backbone.tiny=false and the frame size that it is made for"
        )


def diversity_job(config: DictConfig) -> None:
    """Measure, write tables and pictures, print the tables."""
    quiet_libraries()
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells every glyph of a PDF

    def work() -> None:
        settings = checked(config, DiversityConfig)
        sampled = measure_diversity(settings)
        folder = run_folder()
        write_diversity(sampled, settings, folder)
        print(diversity_text(sampled))
        if settings.pictures:
            log.info("drawing")
            projections = project(sampled, settings.num_in_pictures, settings.data_seed)
            write_pictures(sampled.comparison, projections, folder)
            print(f"open {write_page(sampled, projections, folder / 'diversity.html', settings)}")
        print(f"tables and pictures: {folder}")

    one_message(work)


JOBS: dict[str, Callable[[DictConfig], float | None]] = {
    "train": train_job,
    "evaluate": evaluate_job,
    "prepare": prepare_job,
    "preview": preview_job,
    "diversity": diversity_job,
}
