"""Settings of fine-tuning: what learns and how, on which machine, what is saved, logged and watched."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from sparrow.core.errors import BackboneError
from sparrow.core.settings import AboveZero, AtLeast0, AtLeast1, NotNegative, Share, setting, settings
from sparrow.models.quantization import require_bitsandbytes
from sparrow.models.settings import BackboneSettings, Tuning
from sparrow.runs.settings import Trainer

BelowOne = Annotated[float, Field(ge=0, lt=1)]


@settings
class Optimizer:
    """The optimizer; `adafactor` takes neither betas nor `eps`."""

    name: Literal["adamw", "adamw_8bit", "adafactor"] = setting("algorithm", default="adamw")
    learning_rate: AboveZero = setting(
        "highest learning rate", default=5e-06, remedy="to freeze a part set its mode, as in tuning.vision.mode=frozen"
    )
    beta1: BelowOne = setting("decay of the first moment", default=0.9)
    beta2: BelowOne = setting("decay of the second moment", default=0.95)
    eps: NotNegative = setting("added to the denominator", default=1e-08)
    weight_decay: NotNegative = setting("decoupled weight decay", default=0.05)
    max_grad_norm: AboveZero | None = setting("gradients are clipped to this norm; null: never", default=1.0)
    on_nan_loss: Literal["stop", "skip"] = setting("at a loss or gradient norm that is not finite", default="stop")


@settings
class Schedule:
    """Learning rate over the planned steps."""

    name: Literal["cosine", "linear", "constant", "wsd"] = setting("form of the schedule", default="cosine")
    warmup_ratio: Share = setting("share of the steps that warm up", default=0.03)
    warmup_steps: AtLeast0 | None = setting("wins over `warmup_ratio`", default=None, unit="steps")
    decay_ratio: Share = setting("share of the steps in which `wsd` decays", default=0.1)
    decay_form: Literal["linear", "cosine", "1-sqrt"] = setting("form of that decay", default="1-sqrt")


@settings
class Strategy:
    """How a run is spread over devices."""

    name: Literal["single", "ddp", "fsdp"] = setting(
        "`ddp` copies, `fsdp` shards the model", default="single", recorded=True
    )
    reshard_after_forward: bool = setting("`fsdp`: free a block's weights in between", default=True, recorded=True)
    hybrid_sharding: bool = setting("`fsdp`: a copy on each node", default=False, recorded=True)

    def num_shards(self, num_ranks: int, num_nodes: int) -> int:
        """Ranks that share a copy of the model: those of a node with hybrid sharding."""
        return num_ranks // (num_nodes if self.hybrid_sharding else 1) if self.name == "fsdp" else 1


@settings
class Checkpointing:
    """How often a run is saved, and which checkpoints are kept."""

    every_n_steps: AtLeast1 = setting("save this often", default=500, unit="steps", recorded=True)
    every_n_minutes: AboveZero | None = setting("and this often; null: never", default=30.0, unit="min", recorded=True)
    keep_last: AtLeast1 = setting("how many are kept", default=2, recorded=True)
    keep_best: bool = setting("keep that of the least validation loss", default=False, recorded=True)


@settings
class ValidationSettings:
    """The loss on samples that are drawn after the training samples and held out."""

    num_samples: AtLeast0 = setting("0 validates nothing", default=0, unit="samples", recorded=True)
    every_n_steps: AtLeast1 = setting("steps from one validation to the next", default=100, unit="steps", recorded=True)


@settings
class Logger:
    """One logger; all but `enabled` are Weights & Biases'."""

    enabled: bool = setting("use it", default=True, recorded=True)
    project: str = setting("project in Weights & Biases", default="sparrow", recorded=True)
    entity: str | None = setting("user or team", default=None, recorded=True)
    mode: Literal["online", "offline", "disabled"] = setting("how it logs", default="online", recorded=True)


LOGGERS = ("tensorboard", "csv", "wandb")
WITHOUT_SHARDS = {
    "adafactor": "torch's Adafactor cannot step shards of matrices",
    "adamw_8bit": "the AdamW of bitsandbytes has not been tried on shards",
}


class TrainingSettings(Protocol):
    """The groups of settings that training reads."""

    seed: int
    backbone: BackboneSettings
    tuning: Tuning
    optimizer: Optimizer
    schedule: Schedule
    trainer: Trainer
    strategy: Strategy
    checkpointing: Checkpointing
    validation: ValidationSettings
    logger: dict[str, Logger]
    batching: Any


def training_conflicts(config: TrainingSettings) -> Iterator[tuple[str, str]]:
    """Contradictions between groups of settings of training, as (key, what is wrong and how to fix it)."""
    trainer, strategy = config.trainer, config.strategy.name
    if trainer.devices * trainer.num_nodes > 1 and strategy == "single":
        yield "strategy", f"trainer.devices={trainer.devices} needs strategy=ddp or strategy=fsdp"
    if strategy == "fsdp" and config.tuning.quantization is not None:
        yield "strategy", "weights in four bits cannot be sharded; use strategy=ddp"
    if strategy == "fsdp" and config.optimizer.name in WITHOUT_SHARDS:
        yield "optimizer.name", f"{WITHOUT_SHARDS[config.optimizer.name]}; use optimizer=adamw, or strategy=ddp"
    yield from _bitsandbytes_missing(config)
    if config.checkpointing.keep_best and config.validation.num_samples == 0:
        yield "checkpointing.keep_best", "needs validation/loss; set validation.num_samples, as in 64"
    for name, logger in config.logger.items():
        if name not in LOGGERS:
            yield f"logger.{name}", f"'{name}' is not one of {', '.join(LOGGERS)}"
        elif name == "wandb" and logger.enabled and importlib.util.find_spec("wandb") is None:
            yield (
                "logger.wandb",
                "needs the package wandb, which is not installed; `pip install wandb`, or use logger=[tensorboard,csv]",
            )


def _bitsandbytes_missing(config: TrainingSettings) -> Iterator[tuple[str, str]]:
    for key, needed, words in (
        ("tuning.quantization", config.tuning.quantization is not None, ("nf4", "tuning=lora")),
        ("optimizer.name", config.optimizer.name == "adamw_8bit", ("adamw_8bit", "optimizer=adamw")),
    ):
        if needed:
            try:
                require_bitsandbytes(*words)
            except BackboneError as error:
                yield key, str(error)
