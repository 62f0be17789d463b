"""`sparrow evaluate`: one checkpoint on benchmarks, as a run of its own."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch

from sparrow.core.config import EvaluateConfig, run_id
from sparrow.core.errors import ConfigError
from sparrow.core.files import user_path
from sparrow.core.hashing import content_hash, file_hash
from sparrow.models.checkpoints import base_of_adapters
from sparrow.runs.evaluating import make_evaluator
from sparrow.runs.folder import open_run
from sparrow.runs.outcome import MODEL_FOLDER, recorded_outcome
from sparrow.runs.ranks import Answering, answer_all, device_of, load_checkpoint
from sparrow.runs.record import FILE_NAME, Phase, RunRecord, git_revision, package_versions, peak_memory_bytes
from sparrow.runs.report import print_table, read_studies
from sparrow.runs.trained import as_trained, unlike_training

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig, folder: Path, *, factors: dict[str, Any] | None = None) -> RunRecord:
    """Evaluate `config.checkpoint`: a run's folder, a Hugging Face folder or a Hub id.

    With `trainer.devices` above 1, as many processes take units of work from one list. An unfinished evaluation
    goes on where it stopped, with any number of processes.

    Raises:
        ConfigError: If no benchmark is chosen, or the processes cannot be started.
        DataError: If a benchmark's files are missing or wrong; nothing is written.
        BackboneError: If the checkpoint cannot be loaded, or a benchmark may show more frames than fit.
        RunError: If a process fails; the answers so far are kept.
    """
    _check_processes(config)
    config = replace(config, backbone=as_trained(config.checkpoint, config.backbone))
    checkpoint = model_of(config.checkpoint)
    if difference := unlike_training(config):
        log.warning("%s", difference)
    weights = fingerprint(checkpoint, config.backbone.revision)
    record = RunRecord(
        run_id=content_hash([run_id(config), weights], length=12),
        name=_name_of(config),
        command="evaluate",
        config=asdict(config),
        study=config.study,
        factors=factors or {},
        git=git_revision(),
        versions=package_versions(),
    )
    earlier = open_run(folder, record, config)
    if earlier is not None:
        log.info("%s is finished already; its stored result is kept", folder)
        return earlier
    shown = [config.backbone.frame_size_px, config.backbone.native_video]
    model_id = content_hash([weights, *shown, config.trainer.precision])
    baselines = {"blind": config.blind, "one_frame": config.one_frame}
    phases = ("after", *(phase for phase, wanted in baselines.items() if wanted))
    work = Answering(config, checkpoint, model_id, folder, dict.fromkeys(config.benchmark, folder), phases)
    evaluator = make_evaluator(config)
    for name in config.benchmark:
        evaluator.questions(name)
    evaluator.require_room(load_checkpoint(checkpoint, config.backbone, with_model=False))
    with recorded_outcome(record, folder, enabled=True):
        with record.timed("evaluate"):
            answer_all(work, evaluator)
        for phase in phases:
            for benchmark, result in evaluator.collect(model_id, folder, phase).items():
                record.scores.setdefault(benchmark, {})[cast(Phase, phase)] = result
        record.peak_memory_bytes = peak_memory_bytes()
    print_table(read_studies([folder]))
    return record


def model_of(checkpoint: str) -> str:
    """The model folder of a run's folder; anything else as it is."""
    folder = Path(user_path(checkpoint))
    return str(folder / MODEL_FOLDER) if (folder / FILE_NAME).is_file() else checkpoint


def _name_of(config: EvaluateConfig) -> str:
    """That of the run whose model is asked; of anything else the study's."""
    folder = Path(user_path(config.checkpoint))
    return RunRecord.load(folder).name if (folder / FILE_NAME).is_file() else config.study.name


def fingerprint(checkpoint: str, revision: str | None) -> str:
    """What identifies the weights of a checkpoint: the content of a folder's files, or a Hub id and revision."""
    folder = Path(checkpoint)
    if folder.is_dir():
        weights = [(path.name, file_hash(path)) for path in sorted(folder.glob("*.safetensors"))]
        base = base_of_adapters(checkpoint)
        if base is None:
            return content_hash([weights, None])
        settings = json.loads((folder / "adapter_config.json").read_text())
        of_adapters = {key: value for key, value in settings.items() if key != "base_model_name_or_path"}
        return content_hash([weights, of_adapters, fingerprint(*base)])
    return content_hash([checkpoint, revision])


def _check_processes(config: EvaluateConfig) -> None:
    if not config.benchmark:
        raise ConfigError("benchmark: none is chosen; for example benchmark=[world_short,world_long]")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "sparrow evaluate starts its processes itself: run it once, with trainer.devices, not under a launcher"
        )
    on_gpu = device_of(config.trainer.accelerator).type == "cuda"
    if on_gpu and config.trainer.devices > torch.cuda.device_count():
        raise ConfigError(f"trainer.devices={config.trainer.devices}, but {torch.cuda.device_count()} GPUs are there")
