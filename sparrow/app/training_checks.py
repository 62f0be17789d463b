"""Contradictions between the settings of optimizer, schedule, loggers and what is watched during training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from operator import attrgetter

from sparrow.core.config import ExperimentConfig
from sparrow.core.errors import BackboneError
from sparrow.models.quantization import require_bitsandbytes

Found = tuple[str, str]
OPTIMIZERS = ("adamw", "adamw_8bit", "adafactor")
ON_NAN_LOSS = ("stop", "skip")
WITHOUT_SHARDS = {
    "adafactor": "torch's Adafactor cannot step shards of matrices",
    "adamw_8bit": "the AdamW of bitsandbytes has not been tried on shards",
}
SCHEDULES = ("cosine", "linear", "constant", "wsd")
DECAY_FORMS = ("linear", "cosine", "1-sqrt")
PROFILERS = ("torch",)
LOGGERS = ("tensorboard", "csv", "wandb")
WANDB_MODES = ("online", "offline", "disabled")
ABOVE_ZERO = (
    "optimizer.learning_rate",
    "optimizer.max_grad_norm",
    "trainer.log_every_n_steps",
    "trainer.num_threads",
    "trainer.peak_flops",
)
NOT_NEGATIVE = (
    "optimizer.eps",
    "optimizer.weight_decay",
    "schedule.warmup_steps",
    "batching.num_workers",
    "batching.sample_timeout_s",
)
SHARES = ("schedule.warmup_ratio", "schedule.decay_ratio")
BELOW_ONE = ("optimizer.beta1", "optimizer.beta2")


def check_training(config: ExperimentConfig) -> Iterator[Found]:
    """What is at odds, as (key, what is wrong and how to mend it)."""
    for key, value, allowed in (
        ("optimizer.name", config.optimizer.name, OPTIMIZERS),
        ("optimizer.on_nan_loss", config.optimizer.on_nan_loss, ON_NAN_LOSS),
        ("schedule.name", config.schedule.name, SCHEDULES),
        ("schedule.decay_form", config.schedule.decay_form, DECAY_FORMS),
        ("trainer.profiler", config.trainer.profiler or PROFILERS[0], PROFILERS),
    ):
        if value not in allowed:
            yield key, f"'{value}' is not one of {', '.join(allowed)}"
    if config.optimizer.name == "adamw_8bit":
        try:
            require_bitsandbytes("adamw_8bit", "optimizer=adamw")
        except BackboneError as error:
            yield "optimizer.name", str(error)
    if config.strategy.name == "fsdp" and config.optimizer.name in WITHOUT_SHARDS:
        yield "optimizer.name", f"{WITHOUT_SHARDS[config.optimizer.name]}; use optimizer=adamw, or strategy=ddp"
    yield from _check_numbers(config)
    yield from _check_validation(config)
    yield from _check_loggers(config)


def _check_numbers(config: ExperimentConfig) -> Iterator[Found]:
    rules: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
        (ABOVE_ZERO, lambda number: number > 0, "must be above 0"),
        (NOT_NEGATIVE, lambda number: number >= 0, "must not be negative"),
        (SHARES, lambda number: 0 <= number <= 1, "must lie between 0 and 1"),
        (BELOW_ONE, lambda number: 0 <= number < 1, "must be at least 0 and below 1"),
    )
    for keys, fits, rule in rules:
        for key in keys:
            number = attrgetter(key)(config)
            if number is not None and not fits(number):
                yield key, f"{rule}, is {number}"


def _check_validation(config: ExperimentConfig) -> Iterator[Found]:
    validation = config.validation
    if validation.num_samples < 0:
        yield "validation.num_samples", f"must not be negative, is {validation.num_samples}; 0 validates nothing"
    if validation.every_n_steps < 1:
        yield "validation.every_n_steps", f"must be at least 1, is {validation.every_n_steps}"
    if config.checkpointing.keep_best and validation.num_samples == 0:
        yield "checkpointing.keep_best", "the best is told by validation/loss; set validation.num_samples, as in 64"


def _check_loggers(config: ExperimentConfig) -> Iterator[Found]:
    for name, logger in config.logger.items():
        if name not in LOGGERS:
            yield f"logger.{name}", f"'{name}' is not one of {', '.join(LOGGERS)}"
        elif name == "wandb" and logger.enabled:
            if importlib.util.find_spec("wandb") is None:
                yield (
                    "logger.wandb",
                    "needs the package wandb, which is not installed; `pip install wandb`, or use "
                    "logger=[tensorboard,csv]",
                )
            if logger.mode not in WANDB_MODES:
                yield "logger.wandb.mode", f"'{logger.mode}' is not one of {', '.join(WANDB_MODES)}"
