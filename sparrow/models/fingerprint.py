"""What identifies a model: the content of a checkpoint's files that decide its answers, or a Hub id and its commit."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from sparrow.core.files import write_atomically
from sparrow.core.hashing import content_hash, file_hash
from sparrow.models.checkpoint_files import Checkpoint, base_of_adapters, explained

# Files of a checkpoint's folder that decide its answers.
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
SETTINGS = (
    "config.json",
    "adapter_config.json",
    "chat_template.jinja",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer.model",
)
# Who saved it, where it came from, and how the tokenizer was called last.
NOT_OF_THE_MODEL = (
    "transformers_version",
    "peft_version",
    "_name_or_path",
    "base_model_name_or_path",
    "truncation",
    "padding",
)


def fingerprint(checkpoint: str, revision: str | None, cache_root: Path | None = None) -> str:
    """What identifies a model and how it is evaluated: the content of a folder's files, or a Hub id and its commit.

    A Hub id whose commit is not known here is identified by its revision. Digests of weights are kept below
    `cache_root`, so that an unchanged file is read once.

    Raises:
        BackboneError: If a file of a folder is damaged.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        named = Checkpoint(checkpoint, revision)
        with suppress(OSError, ValueError):
            named = named.pinned
        return content_hash(named)
    with explained(Checkpoint(checkpoint)):
        paths = sorted(path for pattern in (*WEIGHTS, *SETTINGS) for path in folder.glob(pattern))
        files = [
            (path.name, _settings_hash(path) if path.suffix == ".json" else _kept_hash(path, cache_root))
            for path in paths
        ]
        base = base_of_adapters(checkpoint)
    return content_hash([files, fingerprint(*base, cache_root) if base is not None else None])


def _kept_hash(path: Path, cache_root: Path | None) -> str:
    """Digest of a file, read again only when its path, size or times change."""
    if cache_root is None:
        return file_hash(path)
    state = path.stat()
    key = content_hash([str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns])
    kept = cache_root / "weights" / key
    if not kept.is_file():
        write_atomically(kept, file_hash(path).encode())
    return kept.read_text()


def _settings_hash(path: Path) -> str:
    """Digest of a JSON file without what differs between two saves of one model."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in NOT_OF_THE_MODEL}
    if isinstance(kept.get("target_modules"), list):  # PEFT writes a set
        kept["target_modules"] = sorted(kept["target_modules"])
    return content_hash(kept)
