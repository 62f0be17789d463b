"""The settings of each command, composed of those of the packages, and the identity of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field

from sparrow.core.errors import BackboneError, ConfigError
from sparrow.core.files import name_below
from sparrow.core.settings import (
    REQUIRED,
    AtLeast0,
    AtLeast1,
    Seed,
    Share,
    hints,
    one_of,
    setting,
    settings,
    with_changes,
)
from sparrow.data.settings import CONVERTERS, Batching, ExportName, Mixture, Source
from sparrow.evaluation.settings import REMOVED, Benchmark, Evaluation
from sparrow.instructions.settings import METRICS, Embedder
from sparrow.media.settings import FramePolicy, TextStyle
from sparrow.models.registry import check_flash_attention, check_native_video, facts_of
from sparrow.models.settings import FLASH, BackboneSettings, CheckpointOptions, Tuning
from sparrow.runs.settings import Paths, Study, Trainer
from sparrow.training.settings import (
    Checkpointing,
    Logger,
    Optimizer,
    Schedule,
    Strategy,
    ValidationSettings,
    training_conflicts,
)
from sparrow.world.settings import WorldSettings

NOT_CHOSEN = "is not among the chosen sources"
Conflicts = Iterator[tuple[str, str]]


@settings
class StartFrom:
    """An experiment whose finished model the run starts from, trained first (once, cached by its `run_id`)."""

    experiment: str | None = setting("name of the experiment; null: start from the backbone's checkpoint", default=None)
    overrides: list[str] = setting("overrides of that experiment", default_factory=list)
    gates: dict[str, float] = setting("least accuracy of its model by benchmark", default_factory=dict, recorded=True)


@settings
class CommonConfig:
    """What all commands share."""

    study: Study = setting("the question of a set of runs", default_factory=Study, recorded=True)
    paths: Paths = setting("folders", default_factory=Paths, recorded=True)
    restart: bool = setting("archive the run that the folder holds and start over", default=False, recorded=True)
    seed: Seed = setting("initialises what learns", default=0)
    data_seed: Seed = setting("chooses and orders data, and makes the generated world", default=0)
    use_world: bool = setting("let sources and benchmarks read the generated tables of their schemas", default=False)
    world: WorldSettings = setting("the generated world", default_factory=WorldSettings)
    frames: FramePolicy = setting("which frames of a video are shown", default_factory=FramePolicy)
    benchmark: dict[str, Benchmark] = setting("benchmarks by name", default_factory=dict)
    trainer: Trainer = setting("machine and precision", default_factory=Trainer)


@settings
class ExperimentConfig(CommonConfig):
    """Everything about the data and the model that `train`, `prepare` and `preview` share."""

    sample_divisor: AtLeast1 = setting("divide the sizes of the mixture, to rehearse a study in minutes", default=1)
    on_bad_sample: Literal["fail", "skip"] = setting(
        "what a sample that cannot be used does to the run", default="fail"
    )
    max_bad_fraction: Share = setting("share of such samples above which the run fails all the same", default=0.01)
    source: dict[str, Source] = setting("sources by name", default_factory=dict)
    mixture: Mixture = setting("what is drawn of them", default_factory=Mixture)
    embedder: Embedder = setting("vectors of instructions", default_factory=Embedder)
    text_to_image: TextStyle = setting("how long text becomes pages", default_factory=TextStyle)
    backbone: BackboneSettings = setting("the model", default_factory=BackboneSettings)
    start_from: StartFrom = setting("the run that this one starts from", default_factory=StartFrom)
    tuning: Tuning = setting("which parts learn, and how", default_factory=Tuning)
    optimizer: Optimizer = setting("the optimizer", default_factory=Optimizer)
    schedule: Schedule = setting("learning rate over the steps", default_factory=Schedule)
    batching: Batching = setting("how samples are grouped", default_factory=Batching)
    strategy: Strategy = setting("how a run is spread over devices", default_factory=Strategy)
    checkpointing: Checkpointing = setting("what is saved", default_factory=Checkpointing, recorded=True)
    validation: ValidationSettings = setting(
        "loss on held-out samples", default_factory=ValidationSettings, recorded=True
    )
    evaluation: Evaluation = setting("when they are evaluated", default_factory=Evaluation)
    logger: dict[str, Logger] = setting("loggers by name", default_factory=dict, recorded=True)

    @property
    def num_workers(self) -> int:
        """Processes that read the next videos of an evaluation, per device."""
        return min(1, self.batching.num_workers)

    def as_evaluation(self, checkpoint: str) -> EvaluateConfig:
        """Settings by which the model that a run starts from is evaluated as the run itself evaluates."""
        options = {f.name: getattr(self.backbone, f.name) for f in fields(CheckpointOptions)}
        names = ("paths", "data_seed", "world", "frames", "benchmark", "num_workers", "trainer", "max_bad_fraction")
        same = {name: getattr(self, name) for name in names}
        return EvaluateConfig(checkpoint=checkpoint, backbone=CheckpointOptions(**options), **same)


@settings
class PrepareConfig(ExperimentConfig):
    """Settings of `sparrow prepare`."""

    export: ExportName | None = setting("trainer whose files are written too", default=None, recorded=True)


@settings
class PreviewConfig(ExperimentConfig):
    """Settings of `sparrow preview`."""

    num_samples: AtLeast0 = setting("samples on the page", default=24, recorded=True)


@settings
class DiversityConfig(ExperimentConfig):
    """Settings of `sparrow diversity`, which compares the components of a mixture, or else all chosen sources."""

    num_instructions: AtLeast1 = setting("instructions sampled of each", default=5000, recorded=True)
    min_instructions: Annotated[int, Field(ge=2)] = setting(
        "sources with fewer do not lower the common size", default=10, recorded=True
    )
    metrics: list[Annotated[str, one_of(METRICS)]] = setting(
        "which are measured; a name, or the dotted path of your own",
        default_factory=lambda: list(METRICS),
        recorded=True,
    )
    num_resamples: AtLeast0 = setting("bootstrap resamples behind each interval", default=100, recorded=True)
    num_clusters: AtLeast1 = setting(
        "clusters that all instructions together are parted into", default=50, recorded=True
    )
    num_templates: AtLeast1 = setting("templates that the bar chart shows", default=10, recorded=True)
    num_in_pictures: AtLeast1 | None = setting("points of each; null: all", default=None, recorded=True)
    pictures: bool = setting("make pictures and the interactive page", default=True, recorded=True)


@settings
class EvaluateConfig(CommonConfig):
    """Settings of `sparrow evaluate`: a checkpoint, the benchmarks, and how frames are chosen."""

    checkpoint: str = setting("a run's folder, a Hugging Face folder or a Hub id", default=REQUIRED)
    backbone: CheckpointOptions = setting("how the checkpoint is opened", default_factory=CheckpointOptions)
    blind: bool = setting("evaluate without frames too", default=False)
    one_frame: bool = setting("evaluate with one frame too", default=False)
    max_bad_fraction: Share = setting(
        "share of a benchmark's questions that cannot be asked above which the run fails", default=0.01, recorded=True
    )
    num_workers: AtLeast0 = setting("processes that read the next videos, per device", default=2, recorded=True)

    @staticmethod
    def completed(given: Mapping[str, Any]) -> dict[str, Any]:
        """A list of one checkpoint, as a sweep may be written, is that one."""
        one = given.get("checkpoint")
        return {**given, "checkpoint": one[0]} if isinstance(one, list) and len(one) == 1 else dict(given)


SCHEMAS = {
    "train": ExperimentConfig,
    "prepare": PrepareConfig,
    "preview": PreviewConfig,
    "diversity": DiversityConfig,
    "evaluate": EvaluateConfig,
}


def conflicts(config: ExperimentConfig | EvaluateConfig) -> Conflicts:
    """Contradictions between groups of settings, as (key, what is wrong and how to fix it)."""
    yield from _attention_conflicts(config)
    yield from _native_video_conflicts(config)
    yield from _metric_conflicts(config)
    for name in config.benchmark:
        try:
            name_below(name)
        except ConfigError as error:
            yield f"benchmark.{name}", str(error)
    for name in config.study.primary:
        if name not in config.benchmark:
            fix = "evaluate it too, or name what the study is judged by"
            yield "study.primary", f"{_no_benchmark(name, config)}; {fix}"
    if isinstance(config, ExperimentConfig):
        yield from training_conflicts(config)
        yield from _packing_conflicts(config)
        yield from _nested_order_conflicts(config)
        yield from _source_conflicts(config)
        if isinstance(config, DiversityConfig):
            yield from _diversity_conflicts(config)
        elif not config.mixture.components:
            yield "mixture.components", "is empty; choose a mixture, as in mixture=world/sparrow"


def _metric_conflicts(config: ExperimentConfig | EvaluateConfig) -> Conflicts:
    """That `study.metric` is measured; otherwise it would be missed after the run."""
    if config.study.metric is None:
        return
    enabled = config if isinstance(config, EvaluateConfig) else config.evaluation
    phases = [name for name in ("before", "after", "blind", "one_frame") if getattr(enabled, name, name == "after")]
    benchmark, _, phase = config.study.metric.partition(".")
    if benchmark not in config.benchmark:
        yield "study.metric", _no_benchmark(benchmark, config)
    elif (phase or "after") not in phases:
        yield "study.metric", f"phase '{phase or 'after'}' is not enabled; enabled: {', '.join(phases) or 'none'}"


def _no_benchmark(name: str, config: ExperimentConfig | EvaluateConfig) -> str:
    return f"'{name}' is not among the benchmarks ({', '.join(config.benchmark) or 'none'})"


def _attention_conflicts(config: ExperimentConfig | EvaluateConfig) -> Conflicts:
    if config.backbone.attn_implementation != FLASH:
        return
    key, trainer = "backbone.attn_implementation", config.trainer
    if trainer.accelerator == "cpu" or "16" not in trainer.precision:
        given = f"trainer.accelerator={trainer.accelerator} and trainer.precision={trainer.precision}"
        yield key, f"{FLASH} computes on a GPU in 16 bits only, not with {given}; set it to auto"
    yield from _refused(key, check_flash_attention, config.backbone.family)


def _native_video_conflicts(config: ExperimentConfig | EvaluateConfig) -> Conflicts:
    groups: list[tuple[str, Any]] = [("frames", config.frames)]
    if isinstance(config, ExperimentConfig):
        groups.append(("text_to_image", config.text_to_image))
        for name, component in config.mixture.components.items():
            for group, base in groups[:2]:
                key = f"mixture.components.{name}.{group}"
                made = with_changes(base, getattr(component, group))
                if isinstance(made, list):
                    yield from ((f"{key}.{problem.key}", problem.what) for problem in made)
                elif made is not base:
                    groups.append((key, made))
    native = bool(config.backbone.native_video)
    for key, group in groups:
        if native and getattr(group, "timestamps", False):
            yield (
                f"{key}.timestamps",
                "a native video has its family's own way with time (backbone.native_video=true); set it to false",
            )
        if not native and getattr(group, "as_video", False):
            yield f"{key}.as_video", "needs backbone.native_video=true; set both or neither"
    if not native:
        return
    yield from _refused("backbone.native_video", check_native_video, config.backbone.family)


def _refused(key: str, check: Callable[[str], None], family: str | None) -> Conflicts:
    if family is not None and family != REQUIRED:
        try:
            check(family)
        except BackboneError as error:
            yield key, str(error)


def _packing_conflicts(config: ExperimentConfig) -> Conflicts:
    family = config.backbone.family
    if family == REQUIRED or config.batching.name not in ("packed", "packed_epoch"):
        return
    if reason := facts_of(family).without_packing:
        yield "batching.name", f"samples of {family} cannot share a row, since {reason}; set batching=padded"


def _nested_order_conflicts(config: ExperimentConfig) -> Conflicts:
    """That sizes nest in order where they shall, and share steps where they shall."""
    batching, schedule, mixture = config.batching, config.schedule, config.mixture
    if config.study.trunk:
        if not batching.nested_order:
            yield "study.trunk", "needs the sizes in one order; set batching.nested_order=true"
        if schedule.name != "wsd" or schedule.warmup_steps is None:
            yield "study.trunk", "needs one rate for all sizes before they decay; set schedule=wsd and its warmup_steps"
    if not batching.nested_order:
        return
    if batching.name not in ("packed", "padded"):
        yield "batching.nested_order", f"batching={batching.name} orders samples by length; choose packed or padded"
    if batching.num_epochs > 1:
        yield "batching.nested_order", "is one pass over the mixture; set batching.num_epochs=1"
    if mixture.num_samples is None:
        yield "batching.nested_order", "needs a total in samples; set mixture.num_samples"
    for name, part in mixture.components.items():
        if part.num_samples is not None or part.repeat > 1:
            what = "needs a fraction of the mixture at every size, each sample once"
            yield f"mixture.components.{name}", f"{what} (batching.nested_order=true): set fraction, and repeat=1"


def _source_conflicts(config: ExperimentConfig) -> Conflicts:
    for name, component in config.mixture.components.items():
        source = config.source.get(component.source)
        if source is None:
            known = ", ".join(sorted(config.source)) or "none"
            yield f"mixture.components.{name}.source", f"'{component.source}' {NOT_CHOSEN} ({known})"
        elif source.use_world and source.world is None:
            yield f"source.{component.source}.world", "there is no generated table of this source; set use_world=false"
        elif component.present_as == "video" and _has_long_text(source):
            what = (
                f"'video' is for videos and pictures, and '{component.source}' has long texts; set it to pages or text"
            )
            yield f"mixture.components.{name}.present_as", what


def _has_long_text(source: Source) -> bool:
    return source.converter != REQUIRED and bool(CONVERTERS[source.converter].has_long_text)


def _diversity_conflicts(config: DiversityConfig) -> Conflicts:
    mixture = config.mixture
    if not mixture.components and not config.source:
        yield "mixture", "there is nothing to measure; choose mixture=NAME, or sources, as in '+source=[alpaca,qmsum]'"
    if mixture.components and mixture.totals not in ([], ["num_samples"]):
        yield f"mixture.{mixture.totals[0]}", "the draw needs a model's tokens; give the total as mixture.num_samples"


@cache
def is_recorded(schema: Any, key: str) -> bool:
    """Whether a setting is only recorded: marked so in the schema, or below one that is."""
    for name in key.split("."):
        if get_origin(schema) is dict:
            schema = get_args(schema)[1]
        elif is_dataclass(schema):
            f = next((f for f in fields(schema) if f.name == name), None)
            if f is None:
                return name in REMOVED
            if f.metadata.get("recorded"):
                return True
            schema = hints(schema)[name]
    return False
