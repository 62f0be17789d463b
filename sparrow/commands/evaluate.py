"""`sparrow evaluate`: one checkpoint on benchmarks, as a run of its own."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from sparrow.commands.checkpoint_settings import as_trained, model_of, unlike_training
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
from sparrow.runs.folder import earlier_run, locked, open_run
from sparrow.runs.record import FILE_NAME, Phase, RunRecord, new_record
from sparrow.runs.status import recorded_outcome, signals_interrupt
from sparrow.settings import EvaluateConfig

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
    run = content_hash([run_id(config), weights], length=12)
    record = new_record(config, "evaluate", run_id=run, name=_name_of(config), factors=factors or {})
    evaluator = Evaluator(config)
    if not folder.exists():  # so that nothing is written where there is nothing to ask
        _require_answerable(evaluator, config, checkpoint)
    earlier_run(folder, record, config)  # refused before it is waited for
    with locked(folder):
        earlier = open_run(folder, record, config)
        if earlier is not None:
            log.info("%s is finished already; its stored result is kept", folder)
            return earlier
        _require_answerable(evaluator, config, checkpoint)
        _carry_out(evaluator, config, checkpoint, weights, folder, record)
    print_table(read_studies([folder]))
    return record


def _require_answerable(evaluator: Evaluator, config: EvaluateConfig, checkpoint: str) -> None:
    for name in config.benchmark:
        evaluator.questions(name)
    evaluator.require_room(load_checkpoint(checkpoint, config.backbone, with_model=False))


def _carry_out(
    evaluator: Evaluator, config: EvaluateConfig, checkpoint: str, weights: str, folder: Path, record: RunRecord
) -> None:
    shown = [config.backbone.frame_size_px, config.backbone.native_video]
    model_id = content_hash([weights, *shown, config.trainer.precision])
    phases = ("after", *(phase for phase in ("blind", "one_frame") if getattr(config, phase)))
    work = Answering(config, checkpoint, model_id, folder, dict.fromkeys(config.benchmark, folder), phases)
    reset_peak_memory()
    with recorded_outcome(record, folder, enabled=True), signals_interrupt():
        with record.timed("evaluate"):
            answer_all(work, evaluator)
        for phase in phases:
            for benchmark, result in evaluator.collect(model_id, folder, phase).items():
                record.scores.setdefault(benchmark, {})[cast(Phase, phase)] = result
        record.peak_memory_bytes = peak_memory_bytes()


def _name_of(config: EvaluateConfig) -> str:
    """That of the run whose model is asked; of anything else the study's."""
    folder = Path(user_path(config.checkpoint))
    return RunRecord.load(folder).name if (folder / FILE_NAME).is_file() else config.study.name


def _check_processes(config: EvaluateConfig) -> None:
    if not config.benchmark:
        raise ConfigError("benchmark: none is chosen; for example benchmark=[world/short,world/long]")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "sparrow evaluate starts its processes itself: run it once, with trainer.devices, not under a launcher"
        )
    require_devices(config.trainer)
