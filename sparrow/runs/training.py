"""One training run from settings to scores, in a folder that says at any time how far it came."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from sparrow.core.config import ExperimentConfig, run_id
from sparrow.core.errors import RunError
from sparrow.core.hashing import content_hash
from sparrow.data.datamodule import PlannedData
from sparrow.models.attention import choose_attention
from sparrow.models.backbone import Backbone
from sparrow.models.compilation import compile_blocks
from sparrow.models.loading import load_backbone
from sparrow.models.tuning import apply_tuning, check_tuning, tuning_table
from sparrow.runs.evaluating import Evaluator
from sparrow.runs.folder import open_run, settings_difference
from sparrow.runs.outcome import MODEL_FOLDER, Interrupted, is_main_process, recorded_outcome, timed
from sparrow.runs.preparation import Prepared, prepare
from sparrow.runs.record import (
    DataCounts,
    Phase,
    RunRecord,
    Tokens,
    git_revision,
    package_versions,
    peak_memory_bytes,
)
from sparrow.runs.watching import watching
from sparrow.training.callbacks import Heartbeat, StopOnSignal, read_failed, read_skipped_steps
from sparrow.training.loggers import make_loggers
from sparrow.training.module import FineTuning
from sparrow.training.throughput import Throughput

log = logging.getLogger(__name__)
CHECKPOINT_FOLDER = "checkpoints"


def train(
    config: ExperimentConfig,
    folder: Path,
    *,
    name: str,
    factors: dict[str, Any] | None = None,
    parent: Path | None = None,
) -> RunRecord:
    """Carry out a run, or what is left of it.

    A finished run is returned as it is; an unfinished one goes on from its last checkpoint.

    Args:
        config: Checked settings.
        folder: The run's own folder.
        name: Readable name of the run.
        factors: Values of the study's factors.
        parent: Folder of the finished run whose model this one starts from.

    Raises:
        RunError: If the folder holds a run with other settings.
        Interrupted: If a signal asked the run to stop; the folder holds a checkpoint.
    """
    parent_id = RunRecord.load(parent).run_id if parent is not None else None
    identifier = content_hash([run_id(config), parent_id], length=12)
    record = RunRecord(
        run_id=identifier,
        name=name,
        command="train",
        config=asdict(config),
        study=config.study,
        factors=factors or {},
        git=git_revision(),
        versions=package_versions(),
        parent=parent_id,
    )
    main = is_main_process()
    if main:
        earlier = open_run(folder, record, config)
        if earlier is not None:
            log.info("%s is finished already; its stored result is kept", folder)
            return earlier
    set_threads(config)
    with recorded_outcome(record, folder, enabled=main):
        _carry_out(config, folder, record, parent, main=main)
    return record


def _carry_out(config: ExperimentConfig, folder: Path, record: RunRecord, parent: Path | None, *, main: bool) -> None:
    pl.seed_everything(config.seed, verbose=False)
    evaluator = make_evaluator(config)
    for benchmark in evaluator.benchmarks:
        evaluator.questions(benchmark)
    with timed(record, "prepare"):
        prepared = prepare(config, str(parent / MODEL_FOLDER) if parent is not None else None)
        _describe_data(record, prepared)
        if main:
            _keep_manifest(prepared, folder)
    check_tuning(prepared.backbone, config.tuning)
    attention = choose_attention(
        config.backbone.attn_implementation, config.trainer.precision, config.trainer.accelerator
    )
    record.attn_implementation = attention
    backbone = load_backbone(
        prepared.checkpoint,
        family=config.backbone.family,
        revision=config.backbone.revision,
        frame_size_px=config.backbone.frame_size_px,
        dtype=torch.bfloat16 if config.trainer.precision == "bf16-true" else torch.float32,
        attn_implementation=attention,
        trust_remote_code=config.backbone.trust_remote_code,
        quantization=config.tuning.quantization,
    )
    if main:
        with timed(record, "evaluate_before"):
            _evaluate_before(config, evaluator, backbone, record, folder)
    apply_tuning(backbone, config.tuning)
    if main:
        log.info("attention: %s", attention)
        log.info("what is learnt:\n%s", tuning_table(backbone, config.tuning, config.optimizer.learning_rate))
    if config.trainer.compile:
        compile_blocks(backbone)
    with timed(record, "train"):
        _fit(config, prepared, backbone, record, folder, main=main)
    if main:
        backbone.model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        backbone.save(folder / MODEL_FOLDER)
        with timed(record, "evaluate"):
            for phase in _phases_after(config):
                _add_scores(record, phase, evaluator.evaluate(backbone, record.run_id, folder, phase))
        record.peak_memory_bytes = peak_memory_bytes()


def make_evaluator(config: ExperimentConfig) -> Evaluator:
    """The evaluator of a run's benchmarks."""
    return Evaluator(
        config.benchmark,
        config.frames,
        config.world,
        config.data_seed,
        Path(config.paths.cache_root),
        precision=config.trainer.precision,
        num_workers=min(1, config.batching.num_workers),
    )


def _phases_after(config: ExperimentConfig) -> list[Phase]:
    wanted: list[tuple[Phase, bool]] = [("after", config.evaluation.after), ("blind", config.evaluation.blind)]
    return [phase for phase, yes in wanted if yes]


def _evaluate_before(
    config: ExperimentConfig, evaluator: Evaluator, backbone: Backbone, record: RunRecord, folder: Path
) -> None:
    if not config.evaluation.before:
        return
    model_id = record.parent or content_hash(
        [config.backbone.checkpoint, config.backbone.revision, config.backbone.tiny, config.seed]
    )
    _add_scores(record, "before", evaluator.evaluate_shared(backbone, model_id, folder, "before"))
    record.save(folder)


def _add_scores(record: RunRecord, phase: Phase, scores: dict[str, Any]) -> None:
    for benchmark, result in scores.items():
        record.scores.setdefault(benchmark, {})[phase] = result


def _describe_data(record: RunRecord, prepared: Prepared) -> None:
    manifest = prepared.plan.manifest()
    names = DataCounts.__dataclass_fields__
    held_out = manifest["held_out"]
    record.data = {
        name: DataCounts(
            held_out=held_out.get(name, 0), **{key: value for key, value in counts.items() if key in names}
        )
        for name, counts in manifest["components"].items()
    }
    record.manifest_hash = manifest["content_hash"]
    record.num_steps, record.num_samples = manifest["num_steps"], manifest["num_samples"]
    epochs = record.num_samples // max(1, len({int(p) for step in prepared.plan.steps for p in step}))
    record.tokens = Tokens(
        visual=epochs * sum(counts.visual_tokens for counts in record.data.values()),
        text=epochs * sum(counts.text_tokens for counts in record.data.values()),
        supervised=epochs * sum(counts.supervised_tokens for counts in record.data.values()),
    )


def _keep_manifest(prepared: Prepared, folder: Path) -> None:
    """Write the manifest, or refuse to go on with a run whose data changed under it."""
    path = folder / "manifest.json"
    if path.is_file() and latest_checkpoint(folder) is not None:
        # What is held out changes nothing of the training: validation may be switched on or off on the way.
        difference = [
            line for line in settings_difference(path, prepared.plan.manifest()) if not line.startswith("held_out")
        ]
        if difference:
            raise RunError(
                f"the data of {folder} changed since the run began: {'; '.join(difference)}; "
                "restore the data, or start in a new folder"
            )
    prepared.plan.write(folder)


def _fit(
    config: ExperimentConfig,
    prepared: Prepared,
    backbone: Backbone,
    record: RunRecord,
    folder: Path,
    *,
    main: bool,
) -> None:
    module = FineTuning(
        backbone,
        config.optimizer,
        config.schedule,
        len(prepared.plan.steps),
        list(prepared.presentations),
        config.tuning,
    )
    checkpoints = folder / CHECKPOINT_FOLDER
    throughput = Throughput(config.trainer.precision, config.trainer.peak_flops)
    data = PlannedData(
        prepared.plan,
        prepared.sources,
        prepared.backbone,
        prepared.presentations,
        num_workers=config.batching.num_workers,
        sample_timeout_s=config.batching.sample_timeout_s,
        skip_failed=config.on_bad_sample == "skip",
    )
    checkpoint = latest_checkpoint(folder)
    stop = StopOnSignal(lambda trainer: trainer.save_checkpoint(checkpoints / f"step={trainer.global_step:07d}.ckpt"))
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        num_nodes=config.trainer.num_nodes,
        strategy="auto" if config.strategy.name == "single" else config.strategy.name,
        precision=config.trainer.precision,  # type: ignore[arg-type]  # checked with the configuration
        max_epochs=1,
        use_distributed_sampler=False,
        log_every_n_steps=config.trainer.log_every_n_steps,
        enable_model_summary=False,
        enable_progress_bar=config.trainer.progress_bar,
        default_root_dir=folder,
        logger=make_loggers(
            config.logger, folder, run_id=record.run_id, name=record.name, first_step=step_of(checkpoint)
        ),
        callbacks=[
            ModelCheckpoint(
                checkpoints,
                filename="{step:07d}",
                monitor="step",
                mode="max",
                save_top_k=config.checkpointing.keep_last,
                every_n_train_steps=config.checkpointing.every_n_steps,
            ),
            throughput,
            Heartbeat(lambda step: record.beat(folder)),
            *watching(config, data, folder, checkpoints),
            stop,  # after those whose state its checkpoint holds
        ],
    )
    if checkpoint is not None:
        log.info("resuming %s from %s", folder, checkpoint.name)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if stop.received is not None:
        raise Interrupted(
            f"stopped by {stop.received.name} after step {trainer.global_step} of {len(prepared.plan.steps)}; "
            f"a checkpoint is kept in {checkpoints}: run the same command with hydra.run.dir={folder} to go on"
        )
    if main:
        record.throughput = throughput.summary(trainer) or record.throughput
        record.skipped_steps = read_skipped_steps(folder)
        _count_failed(record, prepared, folder)
    record.final_loss = module.step_losses[-1] if module.step_losses else record.final_loss


def _count_failed(record: RunRecord, prepared: Prepared, folder: Path) -> None:
    """Let record and ledger say which planned samples could not be read during training."""
    failed = {line["position"]: line["reason"] for line in reversed(read_failed(folder))}
    if failed:
        carried_out = replace(prepared, plan=prepared.plan.without(failed))
        planned_hash = record.manifest_hash
        _describe_data(record, carried_out)
        record.manifest_hash = planned_hash
        carried_out.plan.write_ledger(folder)


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step, or None."""
    found = sorted((folder / CHECKPOINT_FOLDER).glob("step=*.ckpt"))
    return found[-1] if found else None


def step_of(checkpoint: Path | None) -> int:
    """Steps done when a checkpoint was written; 0 without one."""
    return int(checkpoint.stem.removeprefix("step=")) if checkpoint is not None else 0


def set_threads(config: ExperimentConfig) -> None:
    """Give each rank its share of the cores, or `trainer.num_threads`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.trainer.num_threads or max(1, cores // config.trainer.devices))
