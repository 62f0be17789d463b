"""What a checkpoint is, by its small files: no code of it is run and no weight is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import get_safetensors_metadata
from huggingface_hub.errors import HTTPError, NotASafetensorsRepoError  # type: ignore[attr-defined]
from safetensors import SafetensorError, safe_open

from sparrow.core.errors import BackboneError, SparrowError
from sparrow.models.registry import FACTS, FAMILIES, facts_of, refuse_without_port

WEIGHTS, INDEX, ADAPTERS = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
# Files of a folder, each under one of its names.
PROCESSOR_FILES = (
    ("tokenizer.json", "tokenizer.model", "vocab.json"),
    ("processor_config.json", "preprocessor_config.json"),
)
# What a family's older checkpoints call themselves, and what is loaded in their place.
OTHER_FORMATS = {"internvl_chat": "take the checkpoint of transformers' own format, whose name ends in -hf or -HF"}


class Checkpoint(NamedTuple):
    """A folder or Hub id, and the revision of a Hub id."""

    name: str
    revision: str | None = None

    @property
    def folder(self) -> Path:
        """The folder that it is, or that the local cache has of it.

        Raises:
            OSError: If there is none.
        """
        if Path(self.name).is_dir():
            return Path(self.name)
        from transformers.utils.hub import cached_file  # loads torch

        return Path(str(cached_file(self.name, "config.json", revision=self.revision))).parent

    @property
    def pinned(self) -> Checkpoint:
        """The same wherever and whenever it is read: a folder's whole path, or the commit of a revision today."""
        if Path(self.name).is_dir():
            return self._replace(name=str(Path(self.name).absolute()))
        return self._replace(revision=self.folder.name)

    def settings(self, name: str) -> dict[str, Any]:
        """What a JSON file of it says; nothing where it has no such file."""
        path = self.folder / name
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return settings


def is_hub_id(checkpoint: str) -> bool:
    """Whether a checkpoint is named as on the Hub, not as a folder."""
    beside = Path(checkpoint).parent
    return not checkpoint.startswith((".", "/", "~")) and checkpoint.count("/") == 1 and not beside.is_dir()


def base_of_adapters(checkpoint: str) -> Checkpoint | None:
    """The checkpoint that a folder of adapters belongs to; None for any other checkpoint."""
    path = Path(checkpoint) / "adapter_config.json"
    if not path.is_file():
        return None
    settings = json.loads(path.read_text())
    return Checkpoint(settings["base_model_name_or_path"], settings.get("revision"))


def family_of(checkpoint: Checkpoint, expected: str | None = None) -> str:
    """The family of a checkpoint, which those that its adapters belong to must share.

    Raises:
        BackboneError: If it is not there, lacks files, or is of another family.
    """
    name = checkpoint.name
    refuse_without_port(name)
    if Path(name).is_file():
        raise BackboneError(f"checkpoint {name!r} is a file; give the folder that it lies in")
    if not is_hub_id(name) and not (name and Path(name).is_dir()):
        raise BackboneError(f"checkpoint folder {name!r} does not exist; give a Hugging Face folder or a Hub id")
    models = sorted(path.parent for path in Path(name).glob("*/config.json"))
    if models and not (Path(name) / "config.json").is_file():
        raise BackboneError(f"checkpoint folder {name!r} is no model, but there is one in it: give {str(models[0])!r}")
    with explained(checkpoint):
        _require(checkpoint, [("config.json",)])
        model_type = checkpoint.settings("config.json").get("model_type")
    if model_type is None:
        raise BackboneError(
            f"checkpoint {name!r}: its config.json names no model_type, so that its family is not known; "
            "give a folder that transformers or Sparrow saved"
        )
    family = next((name for name, facts in FACTS.items() if facts.model_type == model_type), None)
    if expected is not None and facts_of(expected).model_type == model_type:
        family = expected
    if family is None or expected not in (None, family):
        remedy = OTHER_FORMATS.get(model_type, "set backbone.family or backbone.checkpoint")
        raise BackboneError(
            f"checkpoint {name!r} is of family '{family or model_type}', "
            f"expected '{expected or ', '.join(sorted(FAMILIES))}'; {remedy}"
        )
    base = base_of_adapters(name)
    if base is not None:
        try:
            family_of(base, family)
        except BackboneError as error:
            raise BackboneError(
                f"the adapters in {name!r} belong to a checkpoint that cannot be opened with them: {error}; "
                "put it back where it was, or correct base_model_name_or_path in adapter_config.json"
            ) from error
    return family


def require_processor(checkpoint: Checkpoint) -> None:
    """Refuse a folder that lacks a file of its tokenizer or processor.

    Raises:
        BackboneError: With the file that is missing.
    """
    _require(checkpoint, PROCESSOR_FILES)


def require_weights(checkpoint: Checkpoint) -> None:
    """Refuse a folder whose files of weights are not all there.

    Raises:
        BackboneError: With the file that is missing.
    """
    base = base_of_adapters(checkpoint.name)
    if base is not None:
        _require(checkpoint, [(ADAPTERS,)])
        require_weights(base)
    elif (Path(checkpoint.name) / INDEX).is_file():
        with explained(checkpoint):
            shards = sorted(set(_weight_map(Path(checkpoint.name)).values()))
        _require(checkpoint, [(shard,) for shard in shards])
    else:
        _require(checkpoint, [(WEIGHTS, "pytorch_model.bin", "pytorch_model.bin.index.json")])


def stores_output_head(checkpoint: Checkpoint) -> bool | None:
    """Whether the layer from hidden states to logits has weights of its own; None where its safetensors do not tell.

    Their names alone are read, of a Hub id that is not in the cache over the network.
    """
    base = base_of_adapters(checkpoint.name)
    if base is not None:
        return stores_output_head(base)
    folder, names = checkpoint.folder, None
    if (folder / INDEX).is_file():
        names = _weight_map(folder)
    elif (folder / WEIGHTS).is_file():
        with safe_open(folder / WEIGHTS, "pt") as file:
            names = file.keys()
    elif not Path(checkpoint.name).is_dir():
        with suppress(HTTPError, NotASafetensorsRepoError, OSError):
            names = get_safetensors_metadata(checkpoint.name, revision=checkpoint.revision).weight_map
    return None if names is None else any(f".{name}".endswith(".lm_head.weight") for name in names)


def _weight_map(folder: Path) -> dict[str, str]:
    """By tensor the file that holds it."""
    found = json.loads((folder / INDEX).read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{folder / INDEX} has no weight_map")
    return found


@contextmanager
def explained(checkpoint: Checkpoint, file: str | None = None) -> Iterator[None]:
    """Say what is wrong with a checkpoint, and how to fix it, where reading it, or one `file` of it, fails.

    Raises:
        BackboneError: In place of the libraries' errors.
    """
    try:
        yield
    except SparrowError:
        raise
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        name, revision = checkpoint
        if "trust_remote_code" in str(error):
            raise BackboneError(
                f"checkpoint {name!r} needs code of its own, which is not run; choose a checkpoint of "
                f"{', '.join(sorted(FAMILIES))}, or set backbone.trust_remote_code=true if you trust it"
            ) from error
        what = _damaged(checkpoint)
        again = f"`hf download {name}{f' --revision {revision}' if revision else ''}`"
        remedy = "copy the folder anew from where it was made" if Path(name).is_dir() else f"get it with {again}"
        if what is None:
            what = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            if file is not None:
                what, remedy = f"{file}: {what}", "correct that file"
        raise BackboneError(f"checkpoint {name!r} could not be loaded: {what}; {remedy}") from error


def _require(checkpoint: Checkpoint, files: Iterable[Sequence[str]]) -> None:
    """Refuse a local folder that lacks a file under all of its names."""
    folder = Path(checkpoint.name)
    for names in files if folder.is_dir() else ():
        if not any((folder / name).is_file() for name in names):
            raise BackboneError(
                f"checkpoint folder {checkpoint.name!r} lacks {' or '.join(names)}; "
                "copy it there from where the folder was made, or give another folder"
            )


def _damaged(checkpoint: Checkpoint) -> str | None:
    """Which file of a checkpoint cannot be read, and why."""
    try:
        files = sorted(checkpoint.folder.iterdir())
    except OSError:
        return None
    for path in files:
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, "pt"):
                    pass
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SafetensorError) as error:
            return f"{path} is damaged ({error})"
    return None
