"""A model and its processor as a Hugging Face folder that other programs read."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparrow.core.files import write_json
from sparrow.models.adapters import has_adapters, save_trained_parts
from sparrow.models.checkpoint_files import Checkpoint

# Beside tokenizer.json, which holds the same: some programs read these alone.
TOKENIZER_PARTS = ("vocab.json", "merges.txt", "tokenizer.model")
OF_SAMPLING = ("temperature", "top_p", "top_k", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def save_folder(backbone: Any, folder: Path) -> None:
    """Write the model of a `Backbone` as safetensors, its settings, and its processor with the tokenizer."""
    model = backbone.model
    _without_idle_values(model.generation_config)
    model.save_pretrained(folder, safe_serialization=True)
    model.config.save_pretrained(folder)
    backbone.processor.save_pretrained(folder)
    if backbone.origin is not None:
        _copy_tokenizer_parts(backbone.origin, folder)
    if has_adapters(model):
        save_trained_parts(model, folder)
    if backbone.video_processor_type is not None:
        # Where torchvision is installed, transformers' own processor of the family asks for this file.
        settings = backbone.video_settings | {"video_processor_type": backbone.video_processor_type}
        write_json(folder / "video_preprocessor_config.json", settings)
    for path in folder.glob("*.safetensors"):
        path.chmod((folder / "config.json").stat().st_mode)  # safetensors gives it to its owner alone


def _without_idle_values(settings: Any) -> None:
    """Drop what has no effect on `generate` as the other settings are, which transformers reads but refuses to save."""
    if settings is None:
        return
    idle = [] if settings.do_sample else list(OF_SAMPLING)
    idle += ["early_stopping", "length_penalty"] if settings.num_beams in (None, 1) else []
    idle += ["cache_implementation", "cache_config"] if settings.use_cache is False else []
    idle += [] if settings.return_dict_in_generate else list(settings.extra_output_flags)
    idle += ["pad_token_id"] if (settings.pad_token_id or 0) < 0 else []
    for name in idle:
        setattr(settings, name, None)


def _copy_tokenizer_parts(origin: Checkpoint, folder: Path) -> None:
    """Give a saved folder the files of its tokenizer that the checkpoint which it comes from has beside the others."""
    with suppress(OSError):  # it has been moved since
        there = origin.folder
        for name in TOKENIZER_PARTS:
            if (there / name).is_file() and not (folder / name).exists():
                shutil.copyfile(there / name, folder / name)
