"""`sparrow evaluate`: one checkpoint on benchmarks, as a run of its own."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from sparrow.commands.checkpoint_settings import as_trained, run_folder, step_of, unlike_training
from sparrow.commands.export import model_of
from sparrow.core.errors import ConfigError
from sparrow.core.files import user_path
from sparrow.core.hashing import content_hash
from sparrow.core.process_memory import peak_memory_bytes, reset_peak_memory
from sparrow.core.settings import run_id
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.evaluation.workers import Answering, answer_all, load_checkpoint, require_devices
from sparrow.models.fingerprint import fingerprint
from sparrow.report.output import print_table
from sparrow.report.study import read_studies
from sparrow.runs.folder import archive, earlier_run, locked, open_run
from sparrow.runs.record import Phase, RunRecord, new_record
from sparrow.runs.status import recorded_outcome, signals_interrupt
from sparrow.settings import EvaluateConfig

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig, folder: Path, *, factors: dict[str, Any] | None = None) -> RunRecord:
    """Evaluate `config.checkpoint`: a run's folder, a step that it saved, a Hugging Face folder or a Hub id.

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
    weights = fingerprint(checkpoint, config.backbone.revision, Path(config.paths.cache_root))
    run = content_hash([run_id(config), weights], length=12)
    record = new_record(config, "evaluate", run_id=run, name=_name_of(config), factors=dict(factors or {}))
    if (step := step_of(config.checkpoint)) is not None:
        record.factors["step"] = step
    evaluator = Evaluator(config)
    # Looked at first where the folder is new, so that nothing is written where there is nothing to ask.
    model_input = None if folder.exists() else _require_answerable(evaluator, config, checkpoint)
    if not config.restart:
        earlier_run(folder, record, config)  # refused before it is waited for
    with locked(folder):
        if config.restart:
            archive(folder)
        earlier = open_run(folder, record, config)
        if earlier is not None:
            log.info("%s is finished already; its stored result is kept", folder)
            return earlier
        record.model_input = model_input or _require_answerable(evaluator, config, checkpoint)
        _carry_out(evaluator, config, checkpoint, weights, folder, record)
    print_table(read_studies([folder]))
    return record


def _require_answerable(evaluator: Evaluator, config: EvaluateConfig, checkpoint: str) -> dict[str, Any]:
    """Refuse what cannot be asked; what the model will be shown."""
    for name in config.benchmark:
        evaluator.questions(name)
    backbone = load_checkpoint(checkpoint, config.backbone, with_model=False)
    evaluator.require_room(backbone)
    for note in backbone.template_choice.notes():
        log.warning("%s", note)
    return backbone.described_input()


def _carry_out(
    evaluator: Evaluator, config: EvaluateConfig, checkpoint: str, weights: str, folder: Path, record: RunRecord
) -> None:
    asked = config.backbone
    chosen = [value for value in (asked.template, asked.thinking, asked.min_frame_size_px) if value is not None]
    model_id = content_hash([weights, asked.frame_size_px, asked.native_video, *chosen, config.trainer.precision])
    phases = ("after", *(phase for phase in ("blind", "one_frame") if getattr(config, phase)))
    work = Answering(config, checkpoint, model_id, folder, dict.fromkeys(config.benchmark, folder), phases)
    reset_peak_memory()
    with recorded_outcome(record, folder, enabled=True), signals_interrupt():
        with record.timed("evaluate"):
            answer_all(work, evaluator)
        for phase in phases:
            for benchmark, result in evaluator.collect(model_id, folder, phase).items():
                record.scores.setdefault(benchmark, {})[cast(Phase, phase)] = result
        record.notes = list(dict.fromkeys([*record.notes, *evaluator.notes]))
        record.peak_memory_bytes = peak_memory_bytes()
        evaluator.require_readable()


def _name_of(config: EvaluateConfig) -> str:
    """That of the run whose model, or whose saved step, is asked; of anything else the study's."""
    folder, path = run_folder(config.checkpoint), Path(user_path(config.checkpoint))
    if folder is None:
        return config.study.name
    name = RunRecord.load(folder).name
    return name if path == folder else f"{name} {path.stem}"


def _check_processes(config: EvaluateConfig) -> None:
    if not config.benchmark:
        raise ConfigError("benchmark: none is chosen; for example benchmark=[world/short,world/long]")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "sparrow evaluate starts its processes itself: run it once, with trainer.devices, not under a launcher"
        )
    require_devices(config.trainer)
