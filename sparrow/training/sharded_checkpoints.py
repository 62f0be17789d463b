"""A checkpoint as a folder that every rank writes its shards into: safetensors, readable on any number of ranks.

`shard-*.safetensors` hold the tensors of model and optimizer, written by PyTorch's distributed checkpointing;
`trainer.pt` all that is no tensor, for weights-only loading; `files.json` the size and checksum of each file.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
)
from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict as set_optimizer
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from sparrow.core.errors import RunError
from sparrow.core.files import TEMPORARY, sync, write_json

TRAINER_FILE = "trainer.pt"
FILES_FILE = "files.json"
CHUNK_BYTES = 1 << 24


def temporary_for(path: Path) -> Path:
    """Where the folder is written before it is renamed to `path`."""
    return path.with_name(f".{path.name}{TEMPORARY}")


def write(checkpoint: dict[str, Any], path: Path) -> None:
    """Write Lightning's checkpoint of this rank's shards; all ranks call it together, `path` appears at the end."""
    temporary = temporary_for(path)
    main = dist.get_rank() == 0
    if main:
        temporary.mkdir(parents=True)
    dist.barrier()
    rest = {key: value for key, value in checkpoint.items() if key not in ("state_dict", "optimizer_states")}
    tensors = {f"state_dict.{name}": value for name, value in checkpoint["state_dict"].items()}
    rest["optimizer_states"] = []
    for number, optimizer in enumerate(checkpoint["optimizer_states"]):
        state, scalars = _split(optimizer["state"])
        tensors |= {f"optimizer_{number}.{name}": value for name, value in state.items()}
        rest["optimizer_states"].append({"state": scalars, "param_groups": optimizer["param_groups"]})
    save(tensors, storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True))
    if main:
        torch.save(rest, temporary / TRAINER_FILE)
    own = [*temporary.glob(f"shard-{dist.get_rank() + 1:05d}-*"), *([temporary / TRAINER_FILE] if main else [])]
    for file in own:
        sync(file)
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, {file.name: _size_and_checksum(file) for file in own})
    if main:
        write_json(temporary / FILES_FILE, {name: found for part in gathered for name, found in part.items()})
        sync(temporary)
        replaced = path.with_name(f".{path.name}.replaced{TEMPORARY}")
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        if replaced.is_dir():
            shutil.rmtree(replaced)
        else:  # none, or the checkpoint of an unsharded part of the run
            replaced.unlink(missing_ok=True)
        sync(path.parent)
    dist.barrier()


def read_into(module: nn.Module, optimizers: list[torch.optim.Optimizer], path: Path) -> dict[str, Any]:
    """Fill a sharded model and its optimizers on this rank; returns the rest of Lightning's checkpoint."""
    rest: dict[str, Any] = torch.load(path / TRAINER_FILE, map_location="cpu", weights_only=True)
    states = rest.pop("optimizer_states")
    learnt = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    own = get_model_state_dict(module)
    _load({f"state_dict.{name}": value for name, value in own.items() if name in learnt}, path)
    for number, (optimizer, stored) in enumerate(zip(optimizers, states, strict=True)):
        current = get_optimizer_state_dict(module, optimizer)
        tensors, _ = _split(current["state"])  # type: ignore[arg-type]
        _load({f"optimizer_{number}.{name}": value for name, value in tensors.items()}, path)
        for name, value in tensors.items():
            parameter, _, key = name.rpartition(".")
            stored["state"].setdefault(parameter, {})[key] = value
        set_optimizer(module, optimizer, optim_state_dict=stored)
    return rest


def read_file_into(module: nn.Module, optimizers: list[torch.optim.Optimizer], path: Path) -> dict[str, Any]:
    """As `read_into`, from the checkpoint of one file that an unsharded run wrote."""
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    whole = StateDictOptions(full_state_dict=True, strict=False)  # it holds what is learnt
    state = checkpoint.pop("state_dict")
    missing = [name for name, p in module.named_parameters() if p.requires_grad and name not in state]
    if missing:
        raise RunError(f"{path} lacks {len(missing)} parameters that are learnt, such as {missing[0]}")
    set_model_state_dict(module, state, options=whole)
    name_of = {parameter: name for name, parameter in module.named_parameters()}
    for optimizer, stored in zip(optimizers, checkpoint.pop("optimizer_states"), strict=True):
        # Saved parameters are numbered in the order of the groups, which the settings fix.
        names = [name_of[parameter] for group in optimizer.param_groups for parameter in group["params"]]
        stored["state"] = {names[number]: state for number, state in stored["state"].items()}
        for group in stored["param_groups"]:
            group["params"] = [names[number] for number in group["params"]]
        set_optimizer(module, optimizer, optim_state_dict=stored, options=whole)
    return checkpoint


def read_whole(path: Path) -> dict[str, Any]:
    """Lightning's checkpoint with whole tensors on the CPU, as one process or DDP takes it."""
    checkpoint: dict[str, Any] = torch.load(path / TRAINER_FILE, map_location="cpu", weights_only=True)
    tensors = _read_tensors(path)
    checkpoint["state_dict"] = _below(tensors, "state_dict.")
    for number, optimizer in enumerate(checkpoint["optimizer_states"]):
        for name, value in _below(tensors, f"optimizer_{number}.").items():
            parameter, _, key = name.rpartition(".")
            optimizer["state"].setdefault(parameter, {})[key] = value
        names = [name for group in optimizer["param_groups"] for name in group["params"]]
        number_of = {name: i for i, name in enumerate(names)}
        optimizer["state"] = {number_of[name]: state for name, state in optimizer["state"].items()}
        for group in optimizer["param_groups"]:
            group["params"] = [number_of[name] for name in group["params"]]
    return checkpoint


def read_model(path: Path) -> dict[str, Tensor]:
    """The whole `state_dict` alone, on the CPU."""
    return _below(_read_tensors(path, "state_dict."), "state_dict.")


def damage(path: Path) -> str | None:
    """What is wrong with a folder, every byte read; None if it is whole."""
    try:
        files = json.loads((path / FILES_FILE).read_text())
    except (OSError, ValueError) as error:
        return f"its {FILES_FILE} cannot be read ({error})"
    for name, expected in files.items():
        if not (path / name).is_file():
            return f"its file {name} is missing"
        if _size_and_checksum(path / name) != expected:
            return f"its file {name} is cut off or does not have the checksum that it was written with"
    return None


def _load(tensors: dict[str, Any], path: Path) -> None:
    load(tensors, storage_reader=HuggingFaceStorageReader(str(path)))


def _read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    metadata = HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(stored.size, dtype=stored.properties.dtype)
        for name, stored in metadata.items()
        if isinstance(stored, TensorStorageMetadata) and name.startswith(prefix)
    }
    load(tensors, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=True)
    return tensors


def _split(state: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """An optimizer's state, by parameter, as tensors under flat names, and scalars as they are."""
    tensors: dict[str, Any] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for parameter, values in state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.ndim > 0:
                tensors[f"{parameter}.{key}"] = value
            else:
                scalars.setdefault(parameter, {})[key] = value
    return tensors, scalars


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _size_and_checksum(file: Path) -> dict[str, int]:
    checksum = 0
    with open(file, "rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return {"bytes": file.stat().st_size, "crc32": checksum}
