"""A run's model as a Hugging Face folder that stands alone: weights, processor, generation settings, model card."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers.utils import logging as transformers_logging

from sparrow.commands.model_card import model_card
from sparrow.core.errors import RunError
from sparrow.core.files import drafted, write_atomically
from sparrow.core.hashing import content_hash
from sparrow.core.settings import validated
from sparrow.models.adapters import merge_adapters
from sparrow.models.backbone import Backbone
from sparrow.models.loading import load_backbone
from sparrow.models.precision import weights_dtype
from sparrow.models.tuning import apply_tuning
from sparrow.planning.run_inputs import resolve_checkpoint
from sparrow.runs.record import RunRecord
from sparrow.runs.status import CHECKPOINT_FOLDER, MODEL_FOLDER
from sparrow.settings import ExperimentConfig
from sparrow.training.checkpoints import checkpoint_path, checkpoints_in, damage
from sparrow.training.sharded_checkpoints import read_model
from sparrow.training.trained_model import load_model
from sparrow.training.validation import BEST_CHECKPOINT

log = logging.getLogger(__name__)


def export(run: Path, out: Path, *, name: str, from_checkpoint: str | None = None) -> None:
    """Write the model of a training run to a new folder, all of it or nothing.

    `from_checkpoint` takes the `newest` or the `best` checkpoint (of the least validation loss) of a run, or that of a
    step, finished or not, put together if it is sharded; None the model that the run ended with.

    Raises:
        RunError: If the run has no model, or the folder is there already.
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


def exported_step(run: Path, path: Path) -> Path:
    """A saved step of a run as a model folder, made in the run's cache where it is not there yet.

    Raises:
        RunError: If the file is missing or damaged, or not of this run.
    """
    if not path.exists():
        kept = ", ".join(found.name for found in checkpoints_in(path.parent)) or "none"
        raise RunError(f"{path}: there is no such checkpoint; kept are {kept}")
    record = RunRecord.load(run)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    key = content_hash([record.run_id, [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]])
    out = Path(record.config["paths"]["cache_root"]) / "steps" / f"{record.run_id}-{path.stem}-{key}"
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{out}.lock"):
        if not out.is_dir():
            _write(_of_checkpoint(run, record, path.name), record, out, path.stem)
    return out


def _of_checkpoint(run: Path, record: RunRecord, which: str) -> Backbone:
    """The model as a run's newest whole checkpoint has it, its best one, or that of a step or file."""
    folder = run / CHECKPOINT_FOLDER
    best = folder / BEST_CHECKPOINT
    if which == "best" and not best.exists():
        raise RunError(f"{run} kept no best checkpoint; set validation.num_samples and checkpointing.keep_best=true")
    candidates = checkpoints_in(folder)
    if which != "newest":
        named = {"best": best}.get(which, checkpoint_path(folder, int(which)) if which.isdigit() else folder / which)
        if not named.exists():
            kept = ", ".join(path.name for path in candidates) or "none"
            raise RunError(f"{named}: there is no such checkpoint; kept are {kept}")
        candidates = [named]
    whole = next((path for path in candidates if damage(path) is None), None)
    if whole is None:
        raise RunError(
            f"{run} has no whole checkpoint in {folder.name}, so there is nothing to export; "
            "give a run that saved one (checkpointing.every_n_steps)"
        )
    if record.parent is not None:
        raise RunError(f"{run} started from another run's model; finish it, then export it")
    config = validated(ExperimentConfig, record.config)
    if isinstance(config, list):
        raise RunError(
            f"{run}: its settings are not of this version of Sparrow: {config[0]}; export it with the one that wrote it"
        )
    # Whole weights in full precision, whatever they were trained in, on whatever machine.
    config = replace(
        config,
        backbone=replace(config.backbone, attn_implementation="sdpa"),
        tuning=replace(config.tuning, quantization=None),
        trainer=replace(config.trainer, precision="32-true"),
    )
    backbone = load_model(config, resolve_checkpoint(config))
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
