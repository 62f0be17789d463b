"""Loading a backbone from a Hugging Face folder or Hub id; a tiny sibling is made first, then loaded alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from sparrow.core.errors import BackboneError
from sparrow.core.hashing import content_hash
from sparrow.models.backbone import Backbone
from sparrow.models.registry import FAMILIES, find_family


def load_backbone(
    checkpoint: str,
    *,
    frame_size_px: int | None = None,
    family: str | None = None,
    revision: str | None = None,
    with_model: bool = True,
    dtype: torch.dtype = torch.float32,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
) -> Backbone:
    """Load processor and, if asked, model.

    Args:
        checkpoint: A Hugging Face folder, or a Hub id (taken from the local cache when `HF_HUB_OFFLINE=1`).
        frame_size_px: Side of the square at which a frame is shown; as the checkpoint's processor has it where None.
        family: The expected family; read from the checkpoint where None.
        revision: Revision of a Hub id.
        with_model: False loads the processor and configuration only, enough to count tokens.
        dtype: Type of the weights.
        attn_implementation: As in transformers.
        trust_remote_code: Whether code that ships with the checkpoint may run.

    Raises:
        BackboneError: If the checkpoint is missing, of another family, or has code of its own.
    """
    _refuse_missing_folder(checkpoint)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(checkpoint, **options)
        adapter = FAMILIES.get(config.model_type)
        if adapter is None or (family is not None and config.model_type != family):
            raise BackboneError(
                f"checkpoint {checkpoint!r} is of family '{config.model_type}', "
                f"expected '{family or ', '.join(sorted(FAMILIES))}'; set backbone.family or backbone.checkpoint"
            )
        processor = AutoProcessor.from_pretrained(checkpoint, **options)
        model = None
        if with_model:
            model = AutoModelForImageTextToText.from_pretrained(
                checkpoint, dtype=dtype, attn_implementation=attn_implementation, **options
            )
    except OSError as error:
        raise BackboneError(
            f"checkpoint {checkpoint!r} could not be loaded: {str(error).splitlines()[0]}; "
            f"give a folder, or download it first with `hf download {checkpoint}`"
        ) from error
    return adapter(processor, config, frame_size_px or adapter.frame_size_of(processor), model)


def _refuse_missing_folder(checkpoint: str) -> None:
    looks_like_path = checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") != 1
    if looks_like_path and not Path(checkpoint).expanduser().is_dir():
        raise BackboneError(
            f"checkpoint folder {checkpoint!r} does not exist; give a Hugging Face folder, a run's folder or a Hub id"
        )


def ensure_tiny(cache_root: Path, family: str, texts: Sequence[str], *, frame_size_px: int, seed: int) -> Path:
    """Folder of a family's tiny checkpoint, made where it is not there yet; a pure function of the arguments."""
    adapter = find_family(family)
    key = content_hash([family, list(texts), frame_size_px, seed, adapter.__module__])
    folder = cache_root / "tiny" / f"{family}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            try:
                adapter.make_tiny(temporary, texts, frame_size_px=frame_size_px, seed=seed)
                temporary.chmod(0o755)
                temporary.replace(folder)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    return folder
