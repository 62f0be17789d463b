"""A run's model as a Hugging Face folder that stands alone: weights, processor, generation settings, model card."""

from __future__ import annotations

import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from sparrow.core.errors import RunError
from sparrow.core.files import write_atomically
from sparrow.models.adapters import merge_adapters
from sparrow.models.backbone import Backbone
from sparrow.models.loading import load_backbone
from sparrow.runs.outcome import MODEL_FOLDER
from sparrow.runs.record import RunRecord

SETTINGS_OF_THE_CARD = ("backbone", "tuning", "optimizer", "schedule", "batching", "frames", "text_to_image")


def export(run: Path, out: Path, *, name: str) -> None:
    """Write the model of a finished training run to a new folder, all of it or nothing.

    Raises:
        RunError: If the run has no model, or the folder is there already.
        BackboneError: If the model cannot be loaded.
    """
    record = RunRecord.load(run)
    if record.status != "finished" or not (run / MODEL_FOLDER).is_dir():
        raise RunError(
            f"{run} is a run of `sparrow {record.command}` that is {record.status} and has no model to export; "
            "give the folder of a finished `sparrow train`"
        )
    if out.exists():
        raise RunError(f"{out} is there already; name a folder that is not")
    backbone = load_backbone(str(run / MODEL_FOLDER), dtype="auto")
    merge_adapters(backbone.model)
    _end_replies_with_turns(backbone)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        backbone.save(temporary)
        write_atomically(temporary / "README.md", model_card(record, backbone, name))
        temporary.chmod(0o755)
        temporary.replace(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _end_replies_with_turns(backbone: Backbone) -> None:
    """Let `generate` stop where a turn ends, beside whatever else the checkpoint stops at."""
    settings: Any = backbone.model.generation_config
    ends = settings.eos_token_id
    known = [] if ends is None else ends if isinstance(ends, list) else [ends]
    settings.eos_token_id = sorted({*known, backbone.tokenizer.eos_token_id})
    settings.pad_token_id = backbone.tokenizer.pad_token_id


def model_card(record: RunRecord, backbone: Backbone, name: str) -> str:
    """The model card: what it was made from, on which data, with which settings, and what it scored."""
    template = files("sparrow.runs").joinpath("templates/model_card.md.jinja").read_text(encoding="utf-8")
    settings = {key: record.config[key] for key in SETTINGS_OF_THE_CARD if key in record.config}
    base = record.config.get("backbone", {})
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    return environment.from_string(template).render(
        name=name,
        record=record,
        base=None if base.get("tiny") else base.get("checkpoint"),
        family=backbone.family,
        frame_size_px=backbone.frame_size_px,
        model_class=type(backbone.model).__name__,
        settings=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip(),
    )
