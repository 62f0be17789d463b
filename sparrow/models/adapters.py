"""Low-rank adapters through PEFT: beside the linear layers of named parts, saved alone, merged into the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from sparrow.core.errors import BackboneError, ConfigError
from sparrow.models.checkpoint_files import Checkpoint
from sparrow.models.settings import Lora

TRAINED_FILE = "trained_parts.safetensors"


def linear_layers(model: nn.Module, parts: Mapping[str, nn.Module], lora: Lora) -> list[str]:
    """Names of the linear layers of some parts that `lora.targets` chooses; the output head is left out.

    Raises:
        ConfigError: If a target names no linear layer of these parts, or a part has none that is chosen.
    """
    head: Any = model.lm_head
    linear = {id(m): name for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head}
    layers = {name: [linear[id(m)] for m in part.modules() if id(m) in linear] for name, part in parts.items()}
    together = [layer for of_part in layers.values() for layer in of_part]
    if lora.targets is None:
        chosen = set(together)
    else:
        matching = {target: {n for n in together if f".{n}".endswith(f".{target}")} for target in lora.targets}
        for target, found in matching.items():
            if not found:
                raise ConfigError(
                    f"tuning.lora.targets: '{target}' is no linear layer of {', '.join(parts)}; "
                    f"their layers are {_short_names(together)}"
                )
        chosen = set().union(*matching.values())
    for name, of_part in layers.items():
        if not chosen.intersection(of_part):
            why = "the part has no linear layer"
            if of_part:
                why = f"tuning.lora.targets={lora.targets} names none of its linear layers ({_short_names(of_part)})"
            raise ConfigError(
                f"tuning.{name}.mode=adapted: {why}, so that it would not learn; set it to trained or frozen"
            )
    return [layer for layer in together if layer in chosen]


def _short_names(layers: list[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in layers}))


def add_adapters(model: Any, parts: Mapping[str, nn.Module], lora: Lora, base: Checkpoint | None = None) -> None:
    """Put adapters, which change nothing at first, beside the chosen linear layers; all else is frozen.

    `base` is written beside them when they are saved: the checkpoint that they belong to.
    """
    model.add_adapter(
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=linear_layers(model, parts, lora),
        )
    )
    if base is not None:
        settings = model.peft_config["default"]
        settings.base_model_name_or_path, settings.revision = base
    reset_adapters(model)


@torch.no_grad()
def reset_adapters(model: nn.Module) -> None:
    """Draw the adapters anew as PEFT does, A uniform and B zero, as a function of the seed and the layers alone.

    So they begin alike whatever else has drawn numbers, and on every number of ranks that share a model's shards.
    """
    generator = torch.Generator().manual_seed(torch.initial_seed())
    for name, parameter in model.named_parameters():
        if ".lora_A." in name:
            drawn = torch.empty(parameter.shape, dtype=torch.float32)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            if isinstance(parameter, DTensor):
                drawn = distribute_tensor(
                    drawn.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
                )
            parameter.copy_(drawn)
        elif ".lora_B." in name:
            parameter.zero_()


def has_adapters(model: nn.Module) -> bool:
    """Whether some layer of the model has adapters."""
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def merge_adapters(model: Any) -> None:
    """Add what the adapters learnt to the weights, and take the adapters away."""
    if not has_adapters(model):
        return
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    model._hf_peft_config_loaded = False
    del model.peft_config


def save_trained_parts(model: nn.Module, folder: Path) -> None:
    """Write what was trained beside the adapters, which PEFT's own files do not hold."""
    trained = {
        name: parameter.detach().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and ".lora_" not in name
    }
    if trained:
        save_file(trained, folder / TRAINED_FILE)


def load_adapters(model: Any, folder: Path) -> None:
    """Put the adapters of a folder beside the model's layers, and read what was trained beside them.

    Raises:
        BackboneError: If the folder belongs to another model, or lacks adapters of it.
    """
    # transformers forgets how to write the model's own weights when it reads an adapter's.
    conversions = model._weight_conversions
    lacking = model.load_adapter(str(folder)).missing_keys
    if lacking:
        raise BackboneError(
            f"the adapters in {folder} lack {len(lacking)} of their tensors, such as {min(lacking)}, "
            "which would be random: copy the folder anew"
        )
    model._weight_conversions = conversions
    path = folder / TRAINED_FILE
    if path.is_file():
        unexpected = model.load_state_dict(load_file(path), strict=False).unexpected_keys
        if unexpected:
            raise BackboneError(
                f"{path} does not belong to this model, which has no parameter '{unexpected[0]}': "
                "copy the folder anew from its run"
            )
