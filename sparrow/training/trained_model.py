"""The model of a run: loaded whole, or as an outline whose shards the ranks fill in and put together at the end."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import nn

from sparrow.models.adapters import merge_adapters
from sparrow.models.attention import choose_attention
from sparrow.models.backbone import Backbone
from sparrow.models.checkpoint_files import base_of_adapters
from sparrow.models.loading import LoadOptions, load_backbone, outline
from sparrow.models.precision import weights_dtype
from sparrow.models.tuning import apply_tuning
from sparrow.training.settings import TrainingSettings
from sparrow.training.strategies import Sharding, gather_into


def attention_of(config: TrainingSettings) -> str:
    """The attention that a run computes with on this machine."""
    backbone, trainer = config.backbone, config.trainer
    return choose_attention(backbone.attn_implementation, trainer.precision, trainer.accelerator, backbone.family)


def load_options(config: TrainingSettings) -> LoadOptions:
    """How the model that a run starts from is loaded on this machine."""
    return LoadOptions.of(
        config.backbone,
        dtype=weights_dtype(config.trainer.precision),
        attn_implementation=attention_of(config),
        quantization=config.tuning.quantization,
    )


def load_model(config: TrainingSettings, checkpoint: str, **changes: Any) -> Backbone:
    """The model that a run starts from, whole, or this rank's shard of every tensor where `changes` say so."""
    return load_backbone(checkpoint, load_options(config), **changes)


def tuned_outline(config: TrainingSettings, backbone: Backbone) -> Backbone:
    """The model without its weights, frozen, adapted or trained as it is to be."""
    result = outline(backbone, load_options(config))
    apply_tuning(result, config.tuning)
    return result


def sharding_of(config: TrainingSettings, checkpoint: str) -> Sharding | None:
    """How the outline becomes shards; None where every rank holds the whole model."""
    if config.strategy.name != "fsdp":
        return None

    def read(device: torch.device, replicas: int, shards: int) -> nn.Module:
        # transformers reads shards onto the machine's accelerator only, and no shards of adapters.
        accelerator = torch.accelerator.current_accelerator() or torch.device("cpu")
        if base_of_adapters(checkpoint) is not None or device.type != accelerator.type:
            model = load_model(config, checkpoint).model
            merge_adapters(model)
            return model
        # It warns of rules for modules that a family lacks.
        logging.getLogger("transformers.distributed.mixin").setLevel(logging.ERROR)
        os.environ.setdefault("LOCAL_RANK", str(device.index or 0))
        return load_model(config, checkpoint, num_replicas=replicas, num_shards=shards).model

    return Sharding(config.strategy, config.trainer.num_nodes, config.trainer.precision, read)


def put_together(config: TrainingSettings, planned: Backbone, backbone: Backbone) -> Backbone | None:
    """A sharded model whole on the CPU of rank 0, None on other ranks; to be called on all.

    The backbone that the run was planned with needs no model.
    """
    return gather_into(backbone, tuned_outline(config, planned))
