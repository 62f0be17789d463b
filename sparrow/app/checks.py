"""Contradictions between settings, found together before any data or model is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sparrow.core.config import Benchmark, EvaluateConfig, ExperimentConfig
from sparrow.core.errors import ConfigError
from sparrow.evaluation.formats import FORMATS, PROTOCOLS
from sparrow.media.frames import FramePolicy
from sparrow.media.style import TextStyle
from sparrow.world.settings import WorldSettings

Found = tuple[str, str]
PRESENT_AS = ("video", "pages", "text")
ON_BAD_SAMPLE = ("fail", "skip")
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
STRATEGIES = ("single", "ddp")
BENCHMARK_CHOICES = {
    "format": tuple(FORMATS),
    "protocol": PROTOCOLS,
    "subtitles": ("off", "on", "interleaved"),
    "scoring": ("generate", "letter_likelihood", "option_likelihood"),
    "missing_videos": ("wrong", "exclude"),
}
POSITIVE = (
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
    """All contradictions of a configuration, as (key, what is wrong and how to mend it)."""
    found = list(_check_common(config))
    if isinstance(config, ExperimentConfig):
        found += _check_experiment(config)
    return found


def _check_common(config: ExperimentConfig | EvaluateConfig) -> Iterator[Found]:
    yield from _one_of(config, "trainer.precision", PRECISIONS)
    yield from _refused("frames", FramePolicy, config.frames)
    yield from _refused("world", WorldSettings, config.world)
    for name, benchmark in config.benchmark.items():
        yield from _check_benchmark(f"benchmark.{name}", benchmark)


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
    if benchmark.scoring == "letter_likelihood" and not benchmark.show_options:
        yield f"{key}.show_options", "letters can only be scored where the options are shown; set it to true"
    if benchmark.subtitles != "off" and benchmark.format in FORMATS and not FORMATS[benchmark.format].has_subtitles:
        yield f"{key}.subtitles", f"{benchmark.format} has no subtitles; set it to off"


def _check_experiment(config: ExperimentConfig) -> Iterator[Found]:
    yield from _one_of(config, "on_bad_sample", ON_BAD_SAMPLE)
    yield from _refused("text_to_image", TextStyle, config.text_to_image)
    yield from _one_of(config, "strategy.name", STRATEGIES)
    yield from _one_of(config, "optimizer.name", ("adamw",))
    yield from _one_of(config, "schedule.name", ("cosine",))
    yield from _one_of(config, "batching.name", ("padded",))
    for key in POSITIVE:
        if _get(config, key) < 1:
            yield key, f"must be at least 1, is {_get(config, key)}"
    if not 0 <= config.max_bad_fraction <= 1:
        yield "max_bad_fraction", f"must lie between 0 and 1, is {config.max_bad_fraction}"
    if config.trainer.devices * config.trainer.num_nodes > 1 and config.strategy.name == "single":
        yield "strategy", f"trainer.devices={config.trainer.devices} needs strategy=ddp"
    yield from _check_mixture(config)


def _check_mixture(config: ExperimentConfig) -> Iterator[Found]:
    mixture = config.mixture
    if not mixture.components:
        yield "mixture.components", "is empty; choose a mixture, as in mixture=quickstart_sparrow"
    if mixture.num_samples is not None and mixture.num_samples < 1:
        yield "mixture.num_samples", f"must be at least 1, is {mixture.num_samples}"
    for name, component in mixture.components.items():
        key = f"mixture.components.{name}"
        if component.present_as not in PRESENT_AS:
            yield f"{key}.present_as", f"'{component.present_as}' is not one of {', '.join(PRESENT_AS)}"
        if (component.num_samples is None) == (component.fraction is None):
            yield key, "needs exactly one of num_samples and fraction"
        if component.num_samples is not None and component.num_samples < 1:
            yield f"{key}.num_samples", f"must be at least 1, is {component.num_samples}; drop the component instead"
        if component.fraction is not None and not 0 < component.fraction <= 1:
            yield f"{key}.fraction", f"must lie above 0 and at most at 1, is {component.fraction}"
        if component.fraction is not None and mixture.num_samples is None:
            yield "mixture.num_samples", f"is needed for the fraction of component '{name}'"
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
