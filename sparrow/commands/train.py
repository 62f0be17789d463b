"""One training run from settings to scores, in a folder that says at any time how far it came."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from sparrow.core.errors import ConfigError, RunError
from sparrow.core.hashing import content_hash
from sparrow.core.process_memory import peak_memory_bytes, reset_peak_memory
from sparrow.core.settings import identity
from sparrow.data.datamodule import PlannedData
from sparrow.data.rejecting import BadSamples
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.evaluation.workers import Answering, answer_all, device_of, require_devices
from sparrow.instructions.diversity_summary import diversity_of
from sparrow.models.backbone import Backbone
from sparrow.models.fingerprint import fingerprint
from sparrow.models.tuning import apply_tuning, tuning_table
from sparrow.planning.run_inputs import Prepared, prepare
from sparrow.planning.shared_plan import without_earlier_plan
from sparrow.runs.folder import archive, earlier_run, locked, open_run, settings_difference, training_record
from sparrow.runs.record import MANIFEST, DataCounts, Phase, RunRecord, Tokens
from sparrow.runs.status import (
    CHECKPOINT_FOLDER,
    MODEL_FOLDER,
    Interrupted,
    is_main_process,
    recorded_outcome,
    signals_interrupt,
    wait_for_scores,
)
from sparrow.settings import ExperimentConfig
from sparrow.training.callbacks import Heartbeat, StopOnSignal
from sparrow.training.checkpoints import Chooser, SaveCheckpoints, checkpoints_in, refuse_other_checkpoints
from sparrow.training.loggers import run_loggers
from sparrow.training.module import FineTuning
from sparrow.training.monitoring import watching
from sparrow.training.optim import decay_steps
from sparrow.training.process_failures import losses_explained
from sparrow.training.rendezvous import ConnectedRanks
from sparrow.training.strategies import Sharding, trainer_options
from sparrow.training.throughput import Throughput
from sparrow.training.trained_model import attention_of, load_model, put_together, sharding_of, tuned_outline
from sparrow.training.trouble import read_failed, read_skipped_steps
from sparrow.training.trunk import Trunk

log = logging.getLogger(__name__)
AFTER: tuple[Phase, ...] = ("after", "blind", "one_frame")


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

    `parent` is the folder of the finished run whose model this one starts from.

    Raises:
        ConfigError: If a GPU is asked for that is not there, or ranks started from outside shall restart a run.
        RunError: If the folder holds another run or its checkpoints, or the parent misses a gate of `start_from`.
        Interrupted: If a signal asked the run to stop; the folder holds a checkpoint.
    """
    if config.restart and int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        raise ConfigError(
            "restart=true: ranks that torchrun or srun started cannot tell whether rank 0 has archived the run yet; "
            f"move {folder} away, or start with hydra/launcher=parallel or slurm"
        )
    record = training_record(config, parent, name=name, factors=factors)
    main = is_main_process()
    if not config.restart:
        earlier_run(folder, record, config)  # refused before it is waited for
    with locked(folder) if main else nullcontext(), without_earlier_plan(folder) if main else nullcontext():
        if config.restart and main:
            archive(folder)
        earlier = open_run(folder, record, config)
        if earlier is not None:
            log.info("%s is finished already; its stored result is kept", folder)
            return earlier
        if not record.continues_earlier:
            refuse_other_checkpoints(folder / CHECKPOINT_FOLDER, record.run_id)
        require_devices(config.trainer)
        set_threads(config)
        reset_peak_memory()
        with recorded_outcome(record, folder, enabled=main), signals_interrupt(), losses_explained(folder):
            if parent is not None:
                require_gates(config.start_from.gates, RunRecord.load(parent), parent)
            _carry_out(config, folder, record, parent, main=main)
    return record


def require_gates(gates: Mapping[str, float], parent: RunRecord, folder: Path) -> None:
    """Refuse to start from a model that did not learn what the study rests on.

    `gates` are accuracies after training, by benchmark of the parent.

    Raises:
        RunError: If it was not asked a benchmark, or stays below a gate; all of them at once.
    """
    faults = []
    for benchmark, least in gates.items():
        score = parent.scores.get(benchmark, {}).get("after")
        if score is None or score.accuracy is None:
            faults.append(f"{benchmark} was not evaluated")
        elif score.accuracy < least:
            faults.append(f"{benchmark} {score.accuracy:.3f} is below {least}")
    if faults:
        raise RunError(
            f"excluded: the model that it starts from misses a gate: {'; '.join(faults)}; train {parent.name} longer "
            f"(start_from.overrides), or leave this seed out: {folder}"
        )


def _carry_out(config: ExperimentConfig, folder: Path, record: RunRecord, parent: Path | None, *, main: bool) -> None:
    pl.seed_everything(config.seed, verbose=False)
    evaluator = Evaluator(config)
    for benchmark in evaluator.benchmarks:
        evaluator.questions(benchmark)
    with record.timed("prepare"):
        num_ranks = config.trainer.devices * config.trainer.num_nodes
        checkpoint = str(parent / MODEL_FOLDER) if parent is not None else None
        prepared = prepare(config, checkpoint, run_folder=folder if num_ranks > 1 else None)
        _describe_data(record, prepared)
        if main:
            _warn_of_rejected(record, folder)
            _keep_weights(prepared.checkpoint, config, record, folder)
            _keep_manifest(prepared, folder, record.run_id)
            record.diversity = diversity_of(prepared.plan, prepared.sources, Path(config.paths.cache_root))
    record.attn_implementation = attention_of(config)
    record.model_input = prepared.backbone.described_input()
    sharding = sharding_of(config, prepared.checkpoint)
    whole = load_model(config, prepared.checkpoint) if sharding is None else None
    if main and config.evaluation.before:
        with record.timed("evaluate_before"):
            _evaluate_before(config, evaluator, prepared, whole, record, folder)
    elif config.evaluation.before:
        wait_for_scores(folder, list(evaluator.benchmarks), "before")
    # Loading data draws random numbers, unless it was cached: adapters must not begin elsewhere for that.
    pl.seed_everything(config.seed, verbose=False)
    if whole is not None:
        apply_tuning(whole, config.tuning)
    backbone = whole or tuned_outline(config, prepared.backbone)
    if main:
        log.info("attention: %s", record.attn_implementation)
        log.info("what is learnt:\n%s", tuning_table(backbone, config.tuning, config.optimizer.learning_rate))
    if config.trainer.compile:
        backbone.compile_blocks()
    with run_loggers(config.logger, folder, record, step_of(latest_checkpoint(folder))) as loggers:
        with record.timed("train"):
            trained = _fit(config, prepared, backbone, record, folder, sharding, loggers)
        del whole, backbone
        # The trainer refers to itself: shards and optimizer states would lie beside the model that is asked.
        gc.collect()
        torch.cuda.empty_cache()
        _evaluate_after(config, evaluator, trained, record, folder)


def _evaluate_before(
    config: ExperimentConfig,
    evaluator: Evaluator,
    prepared: Prepared,
    whole: Backbone | None,
    record: RunRecord,
    folder: Path,
) -> None:
    """Ask the model that training starts from; `whole` is it, where it is loaded.

    The ranks need not have been started by now, so that processes are started for it where there are several.
    """
    checkpoint, quantization = prepared.checkpoint, config.tuning.quantization
    model_id = evaluator.shared_id(content_hash([record.weights, quantization]), prepared.backbone)
    settings = config.as_evaluation(checkpoint)
    if quantization is not None:
        settings.trainer = replace(settings.trainer, devices=1)  # its weights have been put on this rank's device
    elif whole is not None and settings.trainer.devices == 1:
        whole.model.to(device_of(config.trainer.accelerator))
    with evaluator.shared(model_id, "before") as folders:
        answer_all(Answering(settings, checkpoint, model_id, folder, folders, ("before",)), evaluator, whole)
        _add_scores(record, "before", evaluator.take_over(folders, model_id, folder, "before"), evaluator)
    record.save(folder)
    evaluator.require_readable()


def _evaluate_after(
    config: ExperimentConfig, evaluator: Evaluator, trained: Backbone | None, record: RunRecord, folder: Path
) -> None:
    """Save the trained model and ask it, on all ranks; those that do not have it whole read it as it is saved."""
    ranks = ConnectedRanks(folder)
    device = device_of(config.trainer.accelerator, int(os.environ.get("LOCAL_RANK", "0")))
    with record.timed("evaluate"), ranks.failing_together():
        if trained is not None:
            trained.model.to(device)
        if ranks.rank == 0:
            assert trained is not None, "rank 0 has the whole model"
            trained.save(folder / MODEL_FOLDER)
            ranks.tell("saved")
        ranks.wait_for("saved", 1)
        if trained is None:
            trained = load_model(config, str(folder / MODEL_FOLDER))
            trained.model.to(device)
        phases = [phase for phase in AFTER if evaluator.benchmarks and getattr(config.evaluation, phase)]
        # A run that is done again may end in other weights: then answers of the model before do not count.
        model_id = content_hash([record.run_id, fingerprint(str(folder / MODEL_FOLDER), None)]) if phases else ""
        for phase in phases:
            for name in evaluator.benchmarks:
                take = ranks.draw(f"{phase}: {name}", most=len(evaluator.questions(name)[0]))
                evaluator.answer(name, trained, model_id, folder, phase, rank=ranks.rank, take=take)
        ranks.tell("answered")
        if ranks.rank > 0:
            return
        ranks.wait_for("answered", ranks.num_ranks)
        for phase in phases:
            _add_scores(record, phase, evaluator.collect(model_id, folder, phase), evaluator)
        evaluator.require_readable()
    record.peak_memory_bytes = peak_memory_bytes()


def _add_scores(record: RunRecord, phase: Phase, scores: dict[str, Any], evaluator: Evaluator) -> None:
    record.notes = list(dict.fromkeys([*record.notes, *evaluator.notes]))
    for benchmark, result in scores.items():
        record.scores.setdefault(benchmark, {})[phase] = result


def _describe_data(record: RunRecord, prepared: Prepared) -> None:
    manifest = prepared.plan.manifest()
    names = DataCounts.__dataclass_fields__
    held_out = manifest["held_out"]
    record.data = {
        name: DataCounts(
            held_out=held_out.get(name, {"used": 0})["used"],
            **{key: value for key, value in counts.items() if key in names},
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


def _keep_weights(checkpoint: str, config: ExperimentConfig, record: RunRecord, folder: Path) -> None:
    """Record what the files of the checkpoint hold, or refuse to resume a run where they changed."""
    earlier, cache_root = record.weights, Path(config.paths.cache_root)
    record.weights = fingerprint(checkpoint, config.backbone.revision, cache_root)
    if earlier not in (None, record.weights) and latest_checkpoint(folder) is not None:
        raise RunError(
            f"the files of {checkpoint} changed since the run in {folder} began (fingerprint {earlier} -> "
            f"{record.weights}); restore them, start in a new folder, or start over with restart=true"
        )


def _keep_manifest(prepared: Prepared, folder: Path, run_id: str) -> None:
    """Write the manifest, or refuse to go on with a run whose data changed under it."""
    path = folder / MANIFEST
    if path.is_file() and latest_checkpoint(folder) is not None:
        # The hash alone decides: records that are not drawn, and what is held out, change nothing of the training.
        difference = settings_difference(path, prepared.plan.manifest())
        if any(line.startswith("content_hash") for line in difference):
            raise RunError(
                f"the data of {folder} changed since the run began: {'; '.join(difference)}; "
                "restore the data, or start in a new folder"
            )
    prepared.plan.write(folder, run_id)


def _fit(
    config: ExperimentConfig,
    prepared: Prepared,
    backbone: Backbone,
    record: RunRecord,
    folder: Path,
    sharding: Sharding | None,
    loggers: list[Logger],
) -> Backbone | None:
    """Train; returns the whole model, where it is sharded on rank 0 only."""
    module = FineTuning(
        backbone,
        config.optimizer,
        config.schedule,
        len(prepared.plan.steps),
        list(prepared.presentations),
        config.tuning,
        sharding,
    )
    checkpoints = folder / CHECKPOINT_FOLDER
    trunk = _trunk(config, prepared, record) if config.study.trunk else None
    if trunk is not None:
        record.num_steps_taken_over = trunk.join(folder, checkpoints, is_main=is_main_process())
    throughput = Throughput(config.trainer.precision, config.trainer.peak_flops)
    bad_samples = BadSamples(config.on_bad_sample, config.max_bad_fraction)
    data = PlannedData(prepared.plan, prepared, config.batching, bad_samples)
    checkpoint = latest_checkpoint(folder)
    save = SaveCheckpoints(
        checkpoints, config.checkpointing, record.run_id, accept_unmarked=record.continues_earlier, trunk=trunk
    )
    stop = StopOnSignal(save.save)
    for name in ("pytorch_lightning", "lightning_fabric"):  # whose import turned their tips on
        logging.getLogger(name).setLevel(logging.WARNING)
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        num_nodes=config.trainer.num_nodes,
        max_epochs=1,
        use_distributed_sampler=False,
        log_every_n_steps=min(config.trainer.log_every_n_steps, len(prepared.plan.steps)),
        enable_model_summary=False,
        enable_progress_bar=False,  # it is one of the callbacks
        enable_checkpointing=False,
        default_root_dir=folder,
        logger=loggers,
        callbacks=[
            throughput,
            Heartbeat(lambda step: record.beat(folder, step)),
            *watching(config, data, folder, checkpoints),
            save,  # after those whose state a checkpoint holds
            stop,
        ],
        **trainer_options(config.strategy, config.trainer, Chooser(record.notes.append)),
    )
    # Which checkpoint of the folder is taken, rank 0 decides once the ranks are connected.
    path = checkpoints if checkpoint is not None else None
    try:
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    except SystemExit as ended:  # so Lightning ends at a Ctrl-C that `StopOnSignal` does not hold back
        if not stop.stopped:
            raise KeyboardInterrupt from ended
    if module.stop_agreed or stop.stopped:
        assert stop.received is not None
        kept = f"a checkpoint is kept in {checkpoints}" if trainer.global_step else "nothing was learnt yet"
        raise Interrupted(
            f"stopped by {stop.received.name} after step {trainer.global_step} of {len(prepared.plan.steps)}; {kept}",
            stop.received,
        )
    if is_main_process():
        record.throughput = throughput.summary(trainer) or record.throughput
        record.skipped_steps = read_skipped_steps(folder)
        _count_failed(record, prepared, folder)
    record.num_steps_done, record.final_loss = trainer.global_step, module.last_loss
    return backbone if sharding is None else put_together(config, prepared.backbone, backbone)


def _trunk(config: ExperimentConfig, prepared: Prepared, record: RunRecord) -> Trunk:
    """The steps that this run may share with those of other sizes: equal in all but `mixture.num_samples`."""
    settings = identity(config)
    del settings["mixture"]["num_samples"]
    weights = fingerprint(prepared.checkpoint, config.backbone.revision, Path(config.paths.cache_root))
    key = content_hash([settings, record.parent, weights])  # alike on all ranks
    plan, num_steps = prepared.plan, len(prepared.plan.steps)

    def mark(step: int) -> str:
        shown = plan.ledger.iloc[np.concatenate(plan.steps[:step])]
        names = shown[["component", "sample_id", "num_frames", "visual_tokens", "text_tokens", "supervised_tokens"]]
        digests = [int(prepared.sources[s].digests[row]) for s, row in zip(shown["source"], shown["row"], strict=True)]
        return content_hash([key, [len(s) for s in plan.steps[:step]], names.astype(str).values.tolist(), digests])

    folder = Path(config.paths.cache_root) / "trunks" / key
    return Trunk(folder, num_steps - decay_steps(config.schedule, num_steps), cache(mark))


def _warn_of_rejected(record: RunRecord, folder: Path) -> None:
    unused = sum(counts.rejected + counts.failed for counts in record.data.values())
    if unused:
        requested = sum(counts.requested for counts in record.data.values())
        ledger = folder / "ledger.parquet"
        log.warning("%s of %s requested samples are not learnt; %s says why", unused, requested, ledger)


def _count_failed(record: RunRecord, prepared: Prepared, folder: Path) -> None:
    """Let record and ledger say which planned samples could not be read during training."""
    lines = read_failed(folder)
    failed = {line["position"]: (line["reason"], line.get("detail", "")) for line in reversed(lines)}
    if failed:
        carried_out = replace(prepared, plan=prepared.plan.without(failed))
        planned_hash = record.manifest_hash
        _describe_data(record, carried_out)
        record.manifest_hash = planned_hash
        record.num_samples -= len(lines)
        carried_out.plan.write_ledger(folder)
        _warn_of_rejected(record, folder)


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step, or None."""
    return next(iter(checkpoints_in(folder / CHECKPOINT_FOLDER)), None)


def step_of(checkpoint: Path | None) -> int:
    """Steps done when a checkpoint was written; 0 without one."""
    return int(checkpoint.stem.removeprefix("step=")) if checkpoint is not None else 0


def set_threads(config: ExperimentConfig) -> None:
    """Give each rank its share of the cores, or `trainer.num_threads`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.trainer.num_threads or max(1, cores // config.trainer.devices))
