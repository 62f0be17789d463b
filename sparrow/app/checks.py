"""Contradictions between settings, found together before any data or model is touched."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from sparrow.analysis.scaling import FORMS
from sparrow.analysis.scores import METRICS, is_metric
from sparrow.app.arguments import offered, unknown_key
from sparrow.app.help import options_by_group
from sparrow.app.provenance import config_folders
from sparrow.core.config import Benchmark, DiversityConfig, Embedder, EvaluateConfig, ExperimentConfig, PrepareConfig
from sparrow.core.errors import BackboneError, ConfigError
from sparrow.data.trainer_records import EXPORTS
from sparrow.evaluation.formats import FORMATS, PROTOCOLS
from sparrow.instructions.embedding import EMBEDDERS
from sparrow.instructions.selection import SELECTIONS
from sparrow.instructions.text_encoder import POOLINGS
from sparrow.media.frames import FramePolicy
from sparrow.media.style import TextStyle
from sparrow.models.attention import ATTENTIONS, FLASH
from sparrow.models.precision import computes_in_16_bits
from sparrow.models.quantization import QUANTIZATIONS, require_bitsandbytes
from sparrow.models.registry import (
    WITHOUT_PACKING,
    check_family,
    check_flash_attention,
    check_native_video,
    refuse_without_port,
)
from sparrow.world.settings import WorldSettings

Found = tuple[str, str]
PRESENT_AS = ("video", "pages", "text")
ON_BAD_SAMPLE = ("fail", "skip")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
BATCHINGS = ("packed", "padded", "length_grouped", "packed_epoch")
STRATEGIES = ("single", "ddp", "fsdp")
BENCHMARK_CHOICES = {
    "format": tuple(FORMATS),
    "protocol": PROTOCOLS,
    "subtitles": ("off", "on", "interleaved"),
    "scoring": ("generate", "letter_likelihood", "option_likelihood"),
    "missing_videos": ("wrong", "exclude"),
}
MIXTURE_TOTALS = ("num_samples", "num_tokens", "num_frames", "num_supervised_tokens")
PART_MODES = ("frozen", "adapted", "trained")
LOSS_NORMALIZATIONS = ("token", "sample", "micro_batch")
MAX_SEED = 2**32 - 1  # NumPy's
POSITIVE = (
    "backbone.tiny_width",
    "batching.global_batch_size_samples",
    "batching.micro_batch_size_samples",
    "batching.max_seq_len_tokens",
    "batching.num_epochs",
    "checkpointing.every_n_steps",
    "checkpointing.keep_last",
    "trainer.devices",
    "trainer.num_nodes",
    "sample_divisor",
)


def check(config: Any) -> list[Found]:
    """All contradictions of a configuration, as (key, what is wrong and how to fix it)."""
    found = list(_check_common(config))
    if isinstance(config, ExperimentConfig):
        found += _check_experiment(config)
    if isinstance(config, DiversityConfig):
        found += check_diversity(config)
    if isinstance(config, PrepareConfig) and config.export is not None:
        found += _one_of(config, "export", tuple(EXPORTS))
    return found


def _check_common(config: ExperimentConfig | EvaluateConfig) -> Iterator[Found]:
    for key in ("seed", "data_seed"):
        if not 0 <= _get(config, key) <= MAX_SEED:
            yield key, f"must lie between 0 and {MAX_SEED}, is {_get(config, key)}"
    yield from _one_of(config, "trainer.accelerator", ACCELERATORS)
    yield from _one_of(config, "trainer.precision", PRECISIONS)
    yield from _one_of(config, "study.fit", FORMS)
    yield from _refused("frames", FramePolicy, config.frames)
    yield from _refused("world", WorldSettings, config.world)
    yield from _one_of(config, "backbone.attn_implementation", ATTENTIONS)
    yield from _check_flash_attention(config)
    yield from _check_native_video(config)
    if isinstance(config, EvaluateConfig):
        for key, least in (("num_workers", 0), ("trainer.devices", 1)):
            if _get(config, key) < least:
                yield key, f"must be at least {least}, is {_get(config, key)}"
    for name, benchmark in config.benchmark.items():
        yield from _check_benchmark(f"benchmark.{name}", benchmark)
    yield from _check_metric(config)
    yield from _check_factors(config)
    for name in config.study.primary:
        if name not in config.benchmark:
            yield "study.primary", f"{_no_benchmark(name, config)}; ask it too, or name what the study is judged by"


def _check_factors(config: ExperimentConfig | EvaluateConfig) -> Iterator[Found]:
    """That each of `study.factors` is a setting or a group; otherwise all runs would have the value null in it."""
    groups = offered(options_by_group(config_folders()), type(config))
    for factor in config.study.factors:
        if factor not in groups and (unknown := unknown_key(factor, type(config), groups)) is not None:
            yield "study.factors", unknown


def _check_metric(config: ExperimentConfig | EvaluateConfig) -> Iterator[Found]:
    """That `study.metric` is measured; otherwise it would be missed after the run."""
    if config.study.metric is None:
        return
    asked = config if isinstance(config, EvaluateConfig) else config.evaluation
    phases = [name for name in ("before", "after", "blind", "one_frame") if getattr(asked, name, name == "after")]
    benchmark, _, phase = config.study.metric.partition(".")
    if benchmark not in config.benchmark:
        yield "study.metric", _no_benchmark(benchmark, config)
    elif (phase or "after") not in phases:
        yield "study.metric", f"'{phase or 'after'}' is not asked, only {', '.join(phases) or 'nothing'}"


def _no_benchmark(name: str, config: ExperimentConfig | EvaluateConfig) -> str:
    return f"'{name}' is not among the benchmarks ({', '.join(config.benchmark) or 'none'})"


def _check_benchmark(key: str, benchmark: Benchmark) -> Iterator[Found]:
    for name, allowed in BENCHMARK_CHOICES.items():
        value = getattr(benchmark, name)
        if value not in allowed:
            quote = "; quote it, as YAML reads it as a truth value" if value in ("True", "False") else ""
            yield f"{key}.{name}", f"'{value}' is not one of {', '.join(allowed)}{quote}"
    for name in ("max_frames", "max_new_tokens", "max_new_tokens_open_ended", "num_questions"):
        number = getattr(benchmark, name)
        if number is not None and number < 1:
            yield f"{key}.{name}", f"must be at least 1, is {number}"
    if not is_metric(benchmark.metric):
        yield f"{key}.metric", f"'{benchmark.metric}' is not one of {', '.join(METRICS)}"
    if benchmark.format == "multiple_choice" and benchmark.protocol != Benchmark.protocol:
        yield f"{key}.protocol", "the prompts stand in its file; leave it out"
    if benchmark.scoring == "letter_likelihood" and not benchmark.show_options:
        yield f"{key}.show_options", "letters can only be scored where the options are shown; set it to true"
    if benchmark.use_world and benchmark.world is None:
        yield f"{key}.world", "no generated table stands in for it; set use_world=false"
    if benchmark.subtitles != "off" and benchmark.format in FORMATS and not FORMATS[benchmark.format].has_subtitles:
        yield f"{key}.subtitles", f"{benchmark.format} has no subtitles; set it to off"


def _check_experiment(config: ExperimentConfig) -> Iterator[Found]:
    yield from _one_of(config, "on_bad_sample", ON_BAD_SAMPLE)
    yield from _refused("text_to_image", TextStyle, config.text_to_image)
    yield from _one_of(config, "strategy.name", STRATEGIES)
    yield from _one_of(config, "batching.name", BATCHINGS)
    yield from check_training(config)
    for key in POSITIVE:
        if _get(config, key) < 1:
            yield key, f"must be at least 1, is {_get(config, key)}"
    if not 0 <= config.max_bad_fraction <= 1:
        yield "max_bad_fraction", f"must lie between 0 and 1, is {config.max_bad_fraction}"
    if config.trainer.devices * config.trainer.num_nodes > 1 and config.strategy.name == "single":
        yield "strategy", f"trainer.devices={config.trainer.devices} needs strategy=ddp or strategy=fsdp"
    if config.strategy.name == "fsdp" and config.tuning.quantization is not None:
        yield "strategy", "weights in four bits cannot be sharded; use strategy=ddp"
    minutes = config.checkpointing.every_n_minutes
    if minutes is not None and minutes <= 0:
        yield "checkpointing.every_n_minutes", f"must be above 0, or null, is {minutes}"
    yield from _check_backbone(config)
    yield from _check_tuning(config)
    yield from check_embedder(config.embedder)
    yield from _check_mixture(config)


def _check_backbone(config: ExperimentConfig) -> Iterator[Found]:
    family, checkpoint = config.backbone.family, config.backbone.checkpoint or ""
    for key, refuse, name in (
        ("backbone.family", check_family, family),
        ("backbone.checkpoint", refuse_without_port, checkpoint),
    ):
        try:
            refuse(name)
        except BackboneError as error:
            yield key, str(error)
    reason = WITHOUT_PACKING.get(config.backbone.family)
    if reason is not None and config.batching.name in ("packed", "packed_epoch"):
        yield (
            "batching.name",
            f"samples of {config.backbone.family} cannot share a row, since {reason}; set batching=padded",
        )


def _check_flash_attention(config: ExperimentConfig | EvaluateConfig) -> Iterator[Found]:
    trainer = config.trainer
    if config.backbone.attn_implementation == FLASH and (
        trainer.accelerator == "cpu" or not computes_in_16_bits(trainer.precision)
    ):
        yield (
            "backbone.attn_implementation",
            f"{FLASH} computes on a GPU in 16 bits only, not with trainer.accelerator={trainer.accelerator} and "
            f"trainer.precision={trainer.precision}; set it to auto",
        )
    if config.backbone.attn_implementation == FLASH and config.backbone.family is not None:
        try:
            check_flash_attention(config.backbone.family)
        except BackboneError as error:
            yield "backbone.attn_implementation", str(error)


def _check_native_video(config: ExperimentConfig | EvaluateConfig) -> Iterator[Found]:
    if not config.backbone.native_video:
        return
    if config.frames.timestamps:
        yield (
            "frames.timestamps",
            "a native video has its family's own way with time (backbone.native_video=true); set it to false",
        )
    if config.backbone.family is not None:
        try:
            check_native_video(config.backbone.family)
        except BackboneError as error:
            yield "backbone.native_video", str(error)


def _check_tuning(config: ExperimentConfig) -> Iterator[Found]:
    tuning = config.tuning
    yield from _one_of(config, "tuning.loss_normalization", LOSS_NORMALIZATIONS)
    for name, part in tuning.parts.items():
        key = f"tuning.{name}"
        yield from _one_of(config, f"{key}.mode", PART_MODES)
        if part.learning_rate_multiplier <= 0:
            yield (
                f"{key}.learning_rate_multiplier",
                f"must be above 0; use {key}.mode=frozen to leave the part as it is",
            )
        if part.weight_decay is not None and part.weight_decay < 0:
            yield f"{key}.weight_decay", f"must not be negative, is {part.weight_decay}"
    modes = {part.mode for part in tuning.parts.values()}
    if modes == {"frozen"}:
        yield "tuning", "every part is frozen, nothing would be learnt; set the mode of one to adapted or trained"
    if tuning.lora.rank < 1:
        yield "tuning.lora.rank", f"must be at least 1, is {tuning.lora.rank}"
    if tuning.quantization is not None:
        yield from _check_quantization(tuning.quantization, modes)


def _check_quantization(quantization: str, modes: set[str]) -> Iterator[Found]:
    if quantization not in QUANTIZATIONS:
        yield "tuning.quantization", f"'{quantization}' is not one of {', '.join(QUANTIZATIONS)}, or null"
        return
    if "trained" in modes:
        yield "tuning.quantization", "weights in four bits cannot be trained; set each part's mode to frozen or adapted"
    try:
        require_bitsandbytes()
    except BackboneError as error:
        yield "tuning.quantization", str(error)


def _check_mixture(config: ExperimentConfig) -> Iterator[Found]:
    mixture = config.mixture
    if not mixture.components and not isinstance(config, DiversityConfig):
        yield "mixture.components", "is empty; choose a mixture, as in mixture=world_sparrow"
    totals = [name for name in MIXTURE_TOTALS if getattr(mixture, name) is not None]
    if len(totals) > 1:
        yield "mixture", f"has several totals: {', '.join(totals)}; keep one and set the others to null"
    for name in totals:
        if getattr(mixture, name) < 1:
            yield f"mixture.{name}", f"must be at least 1, is {getattr(mixture, name)}"
    if sum(component.remainder for component in mixture.components.values()) > 1:
        yield "mixture.components", "only one component can take the remainder"
    for name, component in mixture.components.items():
        key = f"mixture.components.{name}"
        if component.present_as not in PRESENT_AS:
            yield f"{key}.present_as", f"'{component.present_as}' is not one of {', '.join(PRESENT_AS)}"
        if component.selection not in ("hash", *SELECTIONS):
            yield f"{key}.selection", f"'{component.selection}' is not one of hash, {', '.join(SELECTIONS)}"
        if sum((component.num_samples is not None, component.fraction is not None, component.remainder)) != 1:
            yield key, "needs exactly one of num_samples, fraction and remainder=true"
        limits = ("max_pages", "max_instruction_words", "max_context_words", "max_tokens", "tokens_per_page")
        for name_of_limit in ("repeat", *limits):
            limit = getattr(component, name_of_limit)
            if limit is not None and limit < 1:
                yield f"{key}.{name_of_limit}", f"must be at least 1, is {limit}"
        if component.num_samples is not None and component.num_samples < 1:
            yield f"{key}.num_samples", f"must be at least 1, is {component.num_samples}; drop the component instead"
        if component.fraction is not None and not 0 <= component.fraction <= 1:
            yield f"{key}.fraction", f"must lie between 0 and 1, is {component.fraction}"
        if component.num_samples is None and not totals:
            yield "mixture.num_samples", f"a total is needed for component '{name}'; or num_tokens, num_frames, ..."
        if component.fraction is None and totals and mixture.num_samples is None:
            yield key, f"needs a fraction where the mixture's total is {totals[0]}"
        source = config.source.get(component.source)
        if source is None:
            known = ", ".join(sorted(config.source)) or "none"
            yield (
                f"{key}.source",
                f"'{component.source}' is not among the chosen sources ({known}); add it to the "
                f"mixture's defaults, or from the shell: +source={component.source}",
            )
        elif source.use_world and source.world is None:
            yield f"source.{component.source}.world", "there is no generated table of this source; set use_world=false"


def _refused(key: str, kind: Callable[..., Any], settings: Any) -> Iterator[Found]:
    """What the type that the settings are for says of them."""
    try:
        kind(**vars(settings))
    except ConfigError as error:
        for line in str(error).splitlines():
            yield key, line.removeprefix(f"{key}.")


def _one_of(config: Any, key: str, allowed: tuple[str, ...]) -> Iterator[Found]:
    if _get(config, key) not in allowed:
        yield key, f"'{_get(config, key)}' is not one of {', '.join(allowed)}"


def _get(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config


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
    """What is at odds, as (key, what is wrong and how to fix it)."""
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


AT_LEAST = {
    "num_instructions": 1,
    "min_instructions": 2,
    "num_resamples": 0,
    "num_clusters": 1,
    "num_templates": 1,
}


def check_embedder(embedder: Embedder) -> Iterator[Found]:
    """What is wrong with an embedder, as (key, what and how to fix it)."""
    if embedder.name not in EMBEDDERS:
        yield "embedder.name", f"'{embedder.name}' is not one of {', '.join(EMBEDDERS)}"
    if embedder.name == "encoder" and not embedder.model:
        yield "embedder.model", "is not set; give the folder or Hub id of an encoder, or use embedder=tfidf"
    if embedder.pooling is not None and embedder.pooling not in POOLINGS:
        yield "embedder.pooling", f"'{embedder.pooling}' is not one of {', '.join(POOLINGS)}, or null"
    for name in ("dimensions", "max_length_tokens", "batch_size"):
        if getattr(embedder, name) < 1:
            yield f"embedder.{name}", f"must be at least 1, is {getattr(embedder, name)}"
    if not 0 < embedder.duplicate_similarity <= 1:
        yield (
            "embedder.duplicate_similarity",
            f"must lie above 0 and at most at 1, is {embedder.duplicate_similarity}",
        )


def check_diversity(config: DiversityConfig) -> Iterator[Found]:
    """What is wrong with the settings of `sparrow diversity`."""
    for name, least in AT_LEAST.items():
        if getattr(config, name) < least:
            yield name, f"must be at least {least}, is {getattr(config, name)}"
    if config.num_in_pictures is not None and config.num_in_pictures < 1:
        yield "num_in_pictures", f"must be at least 1, is {config.num_in_pictures}; null shows all"
    if not config.mixture.components and not config.source:
        yield "mixture", "there is nothing to measure; choose mixture=NAME, or sources, as in '+source=[alpaca,qmsum]'"
    totals = [name for name in vars(config.mixture) if name.startswith("num_") and getattr(config.mixture, name)]
    if config.mixture.components and totals not in ([], ["num_samples"]):
        yield f"mixture.{totals[0]}", "the draw needs a model's tokens then; give the total as mixture.num_samples"
