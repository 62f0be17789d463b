"""Sentence encoders by folder or name, read with transformers alone: tokens pooled to one unit vector a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparrow.core.bars import Bar
from sparrow.core.errors import ConfigError
from sparrow.core.hashing import file_hash
from sparrow.instructions.settings import Embedder

ENCODER_VERSION = 1  # raised whenever the same texts come to have other vectors
POOLINGS = ("mean", "cls")
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


def encode_texts(texts: Sequence[str], embedder: Embedder, progress: bool) -> NDArray[np.float32]:
    """Unit vectors [n, d] of texts by a pretrained encoder; zeros for a blank text.

    Raises:
        ConfigError: If the encoder is not there, or is not built as the code here reads it.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    assert embedder.model is not None, "checked with the configuration"
    where: dict[str, Any] = {"revision": embedder.revision, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(embedder.model, **where)
        model = AutoModel.from_pretrained(embedder.model, use_safetensors=True, **where)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"embedder.model: the encoder '{embedder.model}' cannot be loaded "
            f"({(str(error).strip().splitlines() or [type(error).__name__])[0]}); give the folder or Hub id of an "
            "encoder with safetensors weights, or use embedder=tfidf, which needs none"
        ) from error
    pooling = embedder.pooling or _own_pooling(embedder)
    device = embedder.device if embedder.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    order = sorted((i for i in range(len(texts)) if texts[i].strip()), key=lambda i: -len(texts[i]))
    vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    batches = range(0, len(order), embedder.batch_size)
    limit = min(embedder.max_length_tokens, tokenizer.model_max_length)
    with torch.inference_mode():
        for start in Bar(batches, desc="embedding", unit="batch", shown=progress):
            batch = order[start : start + embedder.batch_size]
            inputs = tokenizer(
                [texts[i] for i in batch], padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(device)
            states = model(**inputs).last_hidden_state.float()
            if pooling == "cls":
                pooled = states[:, 0]
            else:
                mask = inputs["attention_mask"].unsqueeze(-1).float()
                pooled = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            vectors[batch] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
    return vectors


def encoder_identity(embedder: Embedder) -> list[Any]:
    """What tells encoders apart: a folder by the content of its files, a name by its revision."""
    identity = [ENCODER_VERSION, embedder.revision, embedder.pooling, embedder.max_length_tokens]
    folder = Path(str(embedder.model))
    if not folder.is_dir():
        return [*identity, embedder.model]
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".txt", ".model"))
    return [*identity, *((str(path.relative_to(folder)), file_hash(path)) for path in files)]


def _own_pooling(embedder: Embedder) -> str:
    """The pooling that a sentence-transformers folder or repository names; `mean` where it names none."""
    modules = _own_json(embedder, "modules.json") or []
    names = [str(module["type"]).rpartition(".")[2] for module in modules]
    unknown = [name for name in names if name not in KNOWN_MODULES]
    settings = _own_json(embedder, "1_Pooling/config.json") or {}
    wanted = [name.removeprefix("pooling_mode_") for name, on in settings.items() if on is True and "_mode_" in name]
    pooling = {"mean_tokens": "mean", "cls_token": "cls"}.get(wanted[0]) if len(wanted) == 1 else None
    if unknown or (wanted and pooling is None):
        raise ConfigError(
            f"embedder.model: '{embedder.model}' ends in {', '.join(unknown or wanted)}, which is not supported; "
            f"set embedder.pooling to {' or '.join(POOLINGS)} to pool its tokens all the same"
        )
    return pooling or "mean"


def _own_json(embedder: Embedder, name: str) -> Any:
    from transformers.utils.hub import cached_file

    kinds = ("missing_entries", "connection_errors")
    quietly: dict[str, Any] = {f"_raise_exceptions_for_{kind}": False for kind in kinds}
    file = cached_file(str(embedder.model), name, revision=embedder.revision, **quietly)
    return json.loads(Path(file).read_text()) if file is not None else None
