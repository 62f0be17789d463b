"""A run's model as a Hugging Face folder that stands alone: weights, processor, generation settings, model card."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers.utils import logging as transformers_logging

from sparrow.commands.checkpoint_settings import model_folder
from sparrow.commands.model_card import model_card
from sparrow.core.errors import RunError
from sparrow.core.files import drafted, user_path, write_atomically
from sparrow.core.hashing import content_hash
from sparrow.core.settings import validated
from sparrow.models.adapters import merge_adapters
from sparrow.models.backbone import Backbone
from sparrow.models.fingerprint import fingerprint
from sparrow.models.loading import LoadOptions, load_backbone
from sparrow.models.precision import weights_dtype
from sparrow.models.tuning import apply_tuning
from sparrow.planning.run_inputs import resolve_checkpoint
from sparrow.runs.find import find_runs
from sparrow.runs.record import FILE_NAME, RunRecord
from sparrow.runs.status import CHECKPOINT_FOLDER, MODEL_FOLDER
from sparrow.settings import ExperimentConfig

log = logging.getLogger(__name__)


def export(run: Path, out: Path, *, name: str, from_checkpoint: str | None = None) -> None:
    """Write the model of a training run to a new folder, all of it or nothing.

    `from_checkpoint` takes the `newest` or the `best` checkpoint (of the least validation loss) of a run, or that of a
    step, finished or not, put together if it is sharded; None the model that the run ended with.

    Raises:
        RunError: If the run has no model or no such checkpoint, the checkpoint that it began with is gone or has
            changed, or the folder is there already.
        BackboneError: If the model cannot be loaded.
    """
    transformers_logging.disable_progress_bar()
    record = RunRecord.load(run)
    if out.exists():
        raise RunError(f"{out} is there already; name a folder that is not")
    if from_checkpoint is not None:
        _write(_of_checkpoint(run, record, from_checkpoint), record, out, name)
        return
    if record.status != "finished" or not (run / MODEL_FOLDER).is_dir():
        raise RunError(
            f"{run} is a run of `sparrow {record.command}` that is {record.status} and has no model to export; "
            "give the folder of a finished `sparrow train`, or --from-checkpoint to take its newest checkpoint"
        )
    trusted = record.config["backbone"]["trust_remote_code"]
    _write(load_backbone(str(run / MODEL_FOLDER), trust_remote_code=trusted), record, out, name)


def model_of(checkpoint: str) -> str:
    """What is loaded of a checkpoint: the model of a run's folder, a step that a run saved as a folder; else itself.

    Raises:
        RunError: As `export`, of a step.
    """
    return model_folder(checkpoint) or str(_exported_step(Path(user_path(checkpoint))))


def _exported_step(step: Path) -> Path:
    """A saved step of a run as a model folder, made in the run's cache where it is not there yet."""
    run = step.parent.parent
    record = RunRecord.load(run)
    (path,) = _candidates(run, step.name)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    key = content_hash([record.run_id, [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]])
    out = Path(record.config["paths"]["cache_root"]) / "steps" / f"{record.run_id}-{path.stem}-{key}"
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{out}.lock"):
        if not out.is_dir():
            _write(_of_checkpoint(run, record, path.name), record, out, path.stem)
    return out


def _candidates(run: Path, which: str) -> list[Path]:
    """The checkpoints of a run, newest first; or the best one, that of a step, or the one that is so named."""
    from sparrow.training.checkpoints import BEST_CHECKPOINT, checkpoint_path, checkpoints_in  # loads Lightning

    folder = run / CHECKPOINT_FOLDER
    if which == "newest":
        return checkpoints_in(folder)
    named = folder / (BEST_CHECKPOINT if which == "best" else which)
    if which.isdigit():
        named = checkpoint_path(folder, int(which))
    if named.exists():
        return [named]
    if which == "best":
        raise RunError(f"{run} kept no best checkpoint; set validation.num_samples and checkpointing.keep_best=true")
    kept = ", ".join(path.name for path in checkpoints_in(folder)) or "none"
    raise RunError(f"{named}: there is no such checkpoint; kept are {kept}")


def _of_checkpoint(run: Path, record: RunRecord, which: str) -> Backbone:
    """The model as the newest whole one of the candidates has it."""
    from sparrow.training.checkpoints import damage
    from sparrow.training.sharded_checkpoints import read_model

    candidates = _candidates(run, which)
    whole = next((path for path in candidates if damage(path) is None), None)
    if whole is None:
        raise RunError(
            f"{run} has no whole checkpoint in {CHECKPOINT_FOLDER}, so there is nothing to export; "
            "give a run that saved one (checkpointing.every_n_steps)"
        )
    config = validated(ExperimentConfig, record.config)
    if isinstance(config, list):
        raise RunError(
            f"{run}: its settings are not of this version of Sparrow: {config[0]}; export it with the one that wrote it"
        )
    # Whole weights in full precision, whatever they were trained in, on whatever machine.
    backbone = load_backbone(_started_from(run, record, config), LoadOptions.of(config.backbone))
    apply_tuning(backbone, config.tuning)
    state = read_model(whole) if whole.is_dir() else torch.load(whole, weights_only=True)["state_dict"]
    state = {key.removeprefix("model."): value for key, value in state.items()}
    learnt = {name for name, parameter in backbone.model.named_parameters() if parameter.requires_grad}
    if learnt != state.keys():
        raise RunError(
            f"{whole} holds other parameters than {run} learns: {sorted(learnt ^ state.keys())[:3]}; "
            "put the run's own checkpoints back, or export the model it ended with, without --from-checkpoint"
        )
    # What is not learnt is the backbone's and stands in no checkpoint.
    backbone.model.load_state_dict(state, strict=False)
    log.info("taken from %s", whole)
    return backbone


def _started_from(run: Path, record: RunRecord, config: ExperimentConfig) -> str:
    """The checkpoint that a run began with, which a saved step holds no frozen weights of."""
    cache_root = Path(config.paths.cache_root)
    if record.parent is None:
        checkpoint = resolve_checkpoint(config)
    else:
        runs = cache_root / "runs"
        known = find_runs([runs]) if any(runs.glob(f"*/{FILE_NAME}")) else []
        models = [each.folder / MODEL_FOLDER for each in known if each.record and each.record.run_id == record.parent]
        there = next((model for model in models if model.is_dir()), None)
        if there is None:
            raise RunError(
                f"{run} started from the model of run {record.parent}, which is not in {runs}; put it back there, or "
                "export the model that the run ended with"
            )
        checkpoint = str(there)
    now = fingerprint(checkpoint, config.backbone.revision, cache_root)
    if record.weights not in (None, now):
        raise RunError(
            f"the files of {checkpoint} changed since {run} began with them (fingerprint {record.weights} -> {now}); "
            "restore them, or export the model that the run ended with"
        )
    return checkpoint


def _write(backbone: Backbone, record: RunRecord, out: Path, name: str) -> None:
    merge_adapters(backbone.model)  # in full precision: what was learnt is small beside the weights
    backbone.model.to(weights_dtype(record.config["trainer"]["precision"]))
    _end_replies_with_turns(backbone)
    out.parent.mkdir(parents=True, exist_ok=True)
    with drafted(out) as draft:
        backbone.save(draft)
        write_atomically(draft / "README.md", model_card(record, backbone, name))


def _end_replies_with_turns(backbone: Backbone) -> None:
    """Let `generate` stop where a turn ends, beside whatever else the checkpoint stops at."""
    settings: Any = backbone.model.generation_config
    ends = settings.eos_token_id
    known = [] if ends is None else ends if isinstance(ends, list) else [ends]
    settings.eos_token_id = sorted({*known, backbone.tokenizer.eos_token_id})
    settings.pad_token_id = backbone.tokenizer.pad_token_id
