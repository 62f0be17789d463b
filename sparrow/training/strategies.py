"""How a run is spread over processes: one, copies of the model (DDP), or shards of it (FSDP2)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from sparrow.core.errors import BackboneError, ConfigError
from sparrow.models.adapters import reset_adapters
from sparrow.models.backbone import Backbone
from sparrow.runs.settings import Trainer
from sparrow.training import sharded_checkpoints
from sparrow.training.checkpoints import CheckpointFiles, Chooser, not_written, remove
from sparrow.training.settings import Strategy

BASE_LAYER = ".base_layer."


@dataclass(frozen=True)
class Sharding:
    """Turns the outline of a model into shards on each rank.

    Args:
        settings: Of the strategy.
        num_nodes: Nodes of the run.
        precision: Lightning's name of the numeric precision.
        read: Gives a model with the weights, sharded over (replicas, shards) or whole.
    """

    settings: Strategy
    num_nodes: int
    precision: str
    read: Callable[[torch.device, int, int], nn.Module]

    def num_shards(self, world_size: int) -> int:
        """Ranks that share a copy of the model."""
        return self.settings.num_shards(world_size, self.num_nodes)

    def apply(self, backbone: Backbone, device: torch.device) -> None:
        """Shard each block, then the rest, and fill in the weights; nothing is done a second time."""
        model = backbone.model
        if isinstance(model, FSDPModule):
            return
        shards = self.num_shards(dist.get_world_size())
        replicas = dist.get_world_size() // shards
        options: dict[str, Any] = {"mesh": _mesh(device, replicas, shards), "mp_policy": _policy(self.precision)}
        for block in backbone.blocks():
            fully_shard(block, reshard_after_forward=self.settings.reshard_after_forward, **options)
        # The output head belongs to the rest: the loss applies it after the model's forward pass.
        fully_shard(model, reshard_after_forward=False, **options)
        model.to_empty(device=device)
        _fill(model, self.read(device, replicas, shards))


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's FSDP2 strategy with atomic, pickle-free sharded checkpoints."""

    def __init__(self, chooser: Chooser, num_ranks: int) -> None:
        super().__init__(data_parallel_size=num_ranks, tensor_parallel_size=1)
        self.chooser = chooser

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Write a folder that every rank puts its shards into.

        Raises:
            RunError: On all ranks, if one cannot write.
        """
        path = Path(self.broadcast(filepath))
        if self.is_global_zero and sharded_checkpoints.temporary_for(path).exists():
            remove(sharded_checkpoints.temporary_for(path))
        self.barrier()
        try:
            sharded_checkpoints.write(checkpoint, path)
        except (OSError, RuntimeError, CheckpointException) as error:
            if self.is_global_zero:
                shutil.rmtree(sharded_checkpoints.temporary_for(path), ignore_errors=True)
            raise not_written(path, error) from error

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Fill model and optimizers from the newest whole checkpoint of the folder `checkpoint_path`."""
        chosen = self.chooser.choose(Path(checkpoint_path))
        assert self.model is not None
        fill = sharded_checkpoints.read_into if chosen.is_dir() else sharded_checkpoints.read_file_into
        return fill(self.model, self.optimizers, chosen)


def trainer_options(settings: Strategy, trainer: Trainer, chooser: Chooser) -> dict[str, Any]:
    """Arguments of Lightning's Trainer: its strategy, precision, and plugins for checkpoints and signals."""
    plugins: list[Any] = cluster_environment(trainer)
    # A model in bf16 needs no help; Lightning would try to convert the batches, which hold integers.
    precision = "32-true" if trainer.precision == "bf16-true" else trainer.precision
    if settings.name == "fsdp":
        strategy: Any = ShardedStrategy(chooser, trainer.devices * trainer.num_nodes)
    else:
        strategy = "auto" if settings.name == "single" else settings.name
        plugins.append(CheckpointFiles(chooser))
    return {"strategy": strategy, "precision": precision, "plugins": plugins}


def cluster_environment(trainer: Trainer) -> list[ClusterEnvironment]:
    """Who gave the processes their places, as Lightning's plugin; empty where Lightning sees it by itself.

    Within a SLURM job Lightning takes every process for one of SLURM's tasks, also where something else started it.

    Raises:
        ConfigError: If SLURM started another number of processes than the run has, and nothing else gave them places.
    """
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    # SLURM_NTASKS alone may be what the job could start: only srun starts tasks, and the script itself is one process.
    num_tasks, num_ranks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")), trainer.devices * trainer.num_nodes
    if num_tasks == num_ranks:
        # Sparrow saves and ends by itself; whether the job is queued again is for its launcher to decide.
        return [SLURMEnvironment(auto_requeue=False)]
    if "LOCAL_RANK" in os.environ:
        return [LightningEnvironment()]
    raise ConfigError(
        f"trainer.devices={trainer.devices} on trainer.num_nodes={trainer.num_nodes} needs {num_ranks} processes, but "
        f"SLURM started {num_tasks} (job {os.environ.get('SLURM_JOB_ID', '?')}); use hydra/launcher=slurm from the "
        "login node, hydra/launcher=parallel within the job, both with -m, or start as many tasks: "
        f"srun --nodes={trainer.num_nodes} --ntasks-per-node={trainer.devices} sparrow train ... "
        "hydra.run.dir=FOLDER"
    )


def gradients_stay_apart(model: nn.Module) -> AbstractContextManager[Any]:
    """Accumulate gradients on each copy of a model without averaging them; the next backward pass outside averages all.

    Those of shards are averaged in every pass all the same: each rank would hold the gradient of the whole model.
    """
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def clip_gradients(parameters: list[nn.Parameter], limit: float) -> float:
    """Scale the gradients so that their norm over all ranks and parameters is at most `limit`; returns the norm."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return float(norm)


def gather_into(backbone: Backbone, outline: Backbone) -> Backbone | None:
    """Put a sharded model together on the CPU of rank 0, into the outline; None on other ranks. To be called on all."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(backbone.model, options=options)
    if dist.get_rank() > 0:
        return None
    fill_outline(outline.model, state, backbone.model)
    return outline


def fill_outline(outline: Any, state: dict[str, Any], like: Any) -> None:
    """Give a model on the meta device its weights, and the buffers and settings that another of its class has."""
    outline.load_state_dict(state, assign=True)
    outline.tie_weights()
    buffers = dict(like.named_buffers())
    for name, buffer in outline.named_buffers():
        if buffer.is_meta:
            module, _, key = name.rpartition(".")
            outline.get_submodule(module)._buffers[key] = buffers[name].detach().cpu()
    _take_settings(outline, like)


def _take_settings(model: Any, like: Any) -> None:
    """What `from_pretrained` keeps beside the weights."""
    model.generation_config = like.generation_config
    if hasattr(like, "_weight_conversions"):
        model._weight_conversions = like._weight_conversions


def _mesh(device: torch.device, replicas: int, shards: int) -> DeviceMesh:
    if replicas == 1:
        return init_device_mesh(device.type, (shards,), mesh_dim_names=("shard",))
    return init_device_mesh(device.type, (replicas, shards), mesh_dim_names=("replicate", "shard"))


def _policy(precision: str) -> MixedPrecisionPolicy:
    """Compute in bf16 where it is asked for; gradients are always averaged in 32 bits."""
    if precision == "bf16-mixed":
        return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    if precision == "bf16-true":
        return MixedPrecisionPolicy(reduce_dtype=torch.float32)
    return MixedPrecisionPolicy()


@torch.no_grad()
def _fill(model: Any, source: Any) -> None:
    """Move this rank's share of the weights from `source`, which is emptied, into a sharded model."""
    ours, values = _tensors(model), _tensors(source)
    if ours.keys() != values.keys():
        differing = sorted(ours.keys() ^ values.keys())
        raise BackboneError(
            f"the outline of the model differs from what its checkpoint is read as in {len(differing)} tensors, such "
            f"as {differing[0]}, so that shards would hold another model: take strategy=single or ddp"
        )
    for name, value in ours.items():
        stored = values[name]
        if not isinstance(value, DTensor):
            value.copy_(stored)
            continue
        if not isinstance(stored, DTensor):
            stored = distribute_tensor(stored, value.device_mesh, value.placements, src_data_rank=None)
        value.to_local().copy_(stored.to_local())
        _release(stored.to_local())
    reset_adapters(model)
    _take_settings(model, source)


def _tensors(model: nn.Module) -> dict[str, Any]:
    """Parameters and buffers by name, those that are tied once, without adapters."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name.replace(BASE_LAYER, "."): value for name, value in named if ".lora_" not in name}


def _release(tensor: Tensor) -> None:
    """Free memory at once: a rank holds its shards twice only one tensor at a time."""
    if tensor.untyped_storage().resizable():
        tensor.untyped_storage().resize_(0)
