"""`sparrow evaluate`: one checkpoint on benchmarks, as a run of its own."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sparrow.core.config import EvaluateConfig, run_id
from sparrow.core.errors import ConfigError
from sparrow.core.hashing import content_hash, file_hash
from sparrow.models.loading import load_backbone
from sparrow.runs.evaluating import Evaluator
from sparrow.runs.folder import open_run
from sparrow.runs.record import FILE_NAME, RunRecord, git_revision, package_versions, peak_memory_bytes
from sparrow.runs.training import MODEL_FOLDER, recorded_outcome, timed

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig, folder: Path, *, factors: dict[str, Any] | None = None) -> RunRecord:
    """Evaluate `config.checkpoint`: a run's folder, a Hugging Face folder or a Hub id.

    Raises:
        ConfigError: If no benchmark is chosen.
        BackboneError: If the checkpoint cannot be loaded.
    """
    if not config.benchmark:
        raise ConfigError("benchmark: none is chosen; for example benchmark=[world_short,world_long]")
    checkpoint = model_of(config.checkpoint)
    model_id = fingerprint(checkpoint, config.backbone.revision)
    record = RunRecord(
        run_id=content_hash([run_id(config), model_id], length=12),
        name=config.study.name,
        command="evaluate",
        config=asdict(config),
        study=config.study,
        factors=factors or {},
        git=git_revision(),
        versions=package_versions(),
    )
    earlier = open_run(folder, record, config)
    if earlier is not None:
        return earlier
    with recorded_outcome(record, folder, enabled=True):
        backbone = load_backbone(
            checkpoint,
            family=config.backbone.family,
            revision=config.backbone.revision,
            frame_size_px=config.backbone.frame_size_px,
            dtype=torch.bfloat16 if config.trainer.precision == "bf16-true" else torch.float32,
            attn_implementation=config.backbone.attn_implementation,
            trust_remote_code=config.backbone.trust_remote_code,
        )
        use_gpu = torch.cuda.is_available() and config.trainer.accelerator != "cpu"
        backbone.model.to(torch.device("cuda" if use_gpu else "cpu"))
        evaluator = Evaluator(
            config.benchmark,
            config.frames,
            config.world,
            config.data_seed,
            Path(config.paths.cache_root),
            precision=config.trainer.precision,
            num_workers=1,
        )
        for phase in ("after", *(["blind"] if config.blind else [])):
            with timed(record, "evaluate"):
                scores = evaluator.evaluate(backbone, model_id, folder, phase)
            for benchmark, result in scores.items():
                record.scores.setdefault(benchmark, {})[phase] = result  # type: ignore[index]
        record.peak_memory_bytes = peak_memory_bytes()
    return record


def model_of(checkpoint: str) -> str:
    """The model folder of a run's folder; anything else as it is."""
    folder = Path(checkpoint)
    return str(folder / MODEL_FOLDER) if (folder / FILE_NAME).is_file() else checkpoint


def fingerprint(checkpoint: str, revision: str | None) -> str:
    """What identifies the weights of a checkpoint: the content of a folder's files, or a Hub id and revision."""
    folder = Path(checkpoint)
    if folder.is_dir():
        return content_hash([(path.name, file_hash(path)) for path in sorted(folder.glob("*.safetensors"))])
    return content_hash([checkpoint, revision])
