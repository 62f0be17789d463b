"""From settings to a plan: sources read, mixture drawn, samples measured; the model's weights are not needed yet."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd

from sparrow.core.errors import BackboneError, ConfigError, DataError
from sparrow.data.encode import Presentation
from sparrow.data.mixture import draw, without_empty
from sparrow.data.page_counts import PageCounts
from sparrow.data.plan import Plan, PlanInputs
from sparrow.data.plan_builder import build_plan, measure_component, plan_fonts
from sparrow.data.rejecting import BadSamples
from sparrow.data.settings import MIXTURE_TOTALS, Component, Mixture, Source
from sparrow.data.sources import SourceData, load_source, missing_files
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.media.settings import PAGE_DPI
from sparrow.models.backbone import Backbone
from sparrow.models.loading import LoadOptions, ensure_tiny, find_family, load_backbone
from sparrow.models.tuning import check_tuning
from sparrow.planning.order import selected_rows
from sparrow.planning.shared_plan import share_plan, shared_plan
from sparrow.runs.status import is_main_process
from sparrow.settings import ExperimentConfig
from sparrow.world import TABLES, ensure_world, world_texts
from sparrow.world.settings import WorldSettings

log = logging.getLogger(__name__)
LEAST_PAGE_SCALE = 0.75  # the paper shows pages of 448 pixels on frames of 364


@dataclass(frozen=True)
class Prepared(PlanInputs):
    """What a run is made of before its model is loaded; `notes` tell what may not be meant."""

    plan: Plan
    checkpoint: str
    notes: list[str] = field(default_factory=list)


def prepare(config: ExperimentConfig, checkpoint: str | None = None, run_folder: Path | None = None) -> Prepared:
    """Read the sources, draw the mixture and plan the steps.

    `checkpoint` is a model folder to start from instead of `backbone.checkpoint`; `run_folder` that of a run of several
    ranks, of which rank 0 plans for all.

    Raises:
        DataError: If a source or sample cannot be used.
        BackboneError: If the processor cannot be loaded, or training or a benchmark may show more frames than fit.
        ConfigError: If the model's layers do not allow the tuning.
    """
    checkpoint = checkpoint or resolve_checkpoint(config)
    cache_root = Path(config.paths.cache_root)
    backbone = load_backbone(checkpoint, LoadOptions.of(config.backbone, with_model=False))
    if backbone.template_choice.refusal is not None:
        raise BackboneError(backbone.template_choice.refusal)
    for name, part in config.mixture.components.items():
        key = f"mixture.components.{name}.frames.max_frames" if "max_frames" in part.frames else "frames.max_frames"
        backbone.require_room(presentation(config, part).frames.max_frames, key)
    backbone.require_room(config.frames.max_frames)
    Evaluator(config).require_room(backbone)
    check_tuning(backbone, config.tuning)
    nested, mixture = config.batching.nested_order, divided_mixture(config)
    sources = load_sources(config, mixture.sources)
    presentations = {name: presentation(config, part) for name, part in mixture.components.items()}
    inputs = PlanInputs(sources, presentations, backbone)
    notes = [
        *_stand_ins(config, sources),
        *_divided_sizes(config),
        *lost_by_dividing(config.mixture, mixture, config.sample_divisor),
        *dict.fromkeys(note for how in presentations.values() for note in _pages_too_large(how, backbone)),
        *_scaled_in_vain(inputs),
        *_rounded_away(config),
        *backbone.template_choice.notes(),
    ]
    if is_main_process():
        for note in notes:
            log.warning("%s", note)
    elif run_folder is not None:
        plan = shared_plan(run_folder, config.batching)
        plan = replace(plan, fonts=plan_fonts(plan.ledger, inputs))  # with which this rank draws
        return Prepared(sources, presentations, backbone, plan, checkpoint, notes)

    def measured(component: str, rows: list[int]) -> pd.DataFrame:
        source = mixture.components[component].source
        return measure_component(inputs, component, source, rows, config.batching, cache_root=cache_root)

    num_held_out = math.ceil(config.validation.num_samples / config.sample_divisor)
    selected = partial(selected_rows, sources=sources, config=config)
    with closing(page_counts(config, config.batching.num_workers)) as pages:
        drawn = draw(mixture, sources, config.data_seed, pages, measured, selected, num_held_out, nested_order=nested)
    planned = partial(build_plan, data_seed=config.data_seed, tuning=config.tuning, cache_root=cache_root)
    bad_samples = BadSamples(config.on_bad_sample, config.max_bad_fraction)
    plan = planned(drawn, inputs, config.batching, bad_samples=bad_samples)
    held_out = [replace(selection, rows=selection.held_out) for selection in drawn if selection.held_out]
    if held_out:
        batching = replace(config.batching, num_epochs=1, nested_order=False)
        all_may_be_bad = BadSamples(config.on_bad_sample, 1.0)
        plan = replace(plan, held_out=planned(held_out, inputs, batching, bad_samples=all_may_be_bad))
    if run_folder is not None:
        share_plan(plan, run_folder)
    return Prepared(sources, presentations, backbone, plan, checkpoint, notes)


def resolve_checkpoint(config: ExperimentConfig) -> str:
    """The folder or Hub id to load: the tiny sibling, made first where it is asked for, or `backbone.checkpoint`.

    Raises:
        ConfigError: If neither is given.
    """
    settings = config.backbone
    if settings.tiny:
        cache_root, size, width = Path(config.paths.cache_root), settings.frame_size_px, settings.tiny_width
        made = ensure_tiny(
            cache_root, settings.family, world_texts(), frame_size_px=size, seed=config.seed, width=width
        )
        return str(made)
    if settings.checkpoint is None:
        known = ", ".join(find_family(settings.family).native_checkpoints)
        raise ConfigError(f"backbone.checkpoint is not set; give a folder or a Hub id ({known}), or backbone.tiny=true")
    return settings.checkpoint


def presentation(config: ExperimentConfig, component: Component) -> Presentation:
    """How a component's samples are shown."""
    own = {"frames": component.frames, "text_to_image": component.text_to_image}
    return Presentation(
        frames=replace(config.frames, **component.frames),
        style=replace(config.text_to_image, **component.text_to_image),
        changes={f"{group}.{key}": value for group, changes in own.items() for key, value in changes.items()},
        frame_cache=Path(config.paths.cache_root) / "frames" if config.batching.cache_frames else None,
        present_as=component.present_as,
    )


def page_counts(config: ExperimentConfig, num_workers: int = 0) -> PageCounts:
    """Counts of pages in the style of each component; `close` them."""
    own = {name: presentation(config, part).style for name, part in config.mixture.components.items()}
    own_styles = {name: style for name, style in own.items() if style != config.text_to_image}
    return PageCounts(config.text_to_image, Path(config.paths.cache_root), num_workers, own_styles)


def load_sources(config: ExperimentConfig, names: Iterable[str]) -> dict[str, SourceData]:
    """Sources by name.

    Raises:
        DataError: If a file is missing, a record cannot be used, or, with `on_bad_sample=skip`, too many cannot.
    """
    needed = {
        name: with_world(config.source[name], config.world, config.data_seed, config.paths.cache_root)
        for name in sorted(set(names))
    }
    missing = {name: files for name, source in needed.items() if (files := missing_files(source))}
    if missing:
        lines = [f"source '{name}': {needed[name].root}/{file}" for name, files in missing.items() for file in files]
        others = " or set paths.data_root or a source's root"
        if all(needed[name].world for name in missing):
            others = ", set paths.data_root or a source's root, or rehearse with use_world=true"
        count = "1 file is" if len(lines) == 1 else f"{len(lines)} files are"
        raise DataError(
            f"{count} missing:\n  " + "\n  ".join(lines),
            remedy=f"put them there (docs/get-the-data.md says where they come from){others}",
        )
    load = partial(
        load_source,
        cache_root=Path(config.paths.cache_root),
        on_bad_sample=config.on_bad_sample,
        max_bad_fraction=config.max_bad_fraction,
    )
    parts = config.mixture.components.values()
    unshown = {part.source for part in parts} - {part.source for part in parts if part.present_as != "video"}
    return {
        name: load(name, source, min_context_words=source.min_context_words, shows_long_texts=name not in unshown)
        for name, source in needed.items()
    }


def with_world(source: Source, world: WorldSettings, data_seed: int, cache_root: str) -> Source:
    """The source as it is, or reading its table of the generated world, which is written first if need be."""
    if not source.use_world:
        return source
    assert source.world is not None, "checked with the configuration"
    table = TABLES[source.world]
    folder = ensure_world(Path(cache_root), world, data_seed)
    return replace(source, converter=table.schema, files=[table.file], root=str(folder), media_root=table.media_root)


def divided_mixture(config: ExperimentConfig) -> Mixture:
    """The mixture that is drawn: divided by `sample_divisor`, without components that nothing is drawn of."""
    return without_empty(scaled_down(config.mixture, config.sample_divisor), nested_order=config.batching.nested_order)


def scaled_down(mixture: Mixture, divisor: int) -> Mixture:
    """The mixture with its total divided, rounded up, and the components' shares of it kept.

    Without a total in samples, every component's number of samples is divided, rounded up.
    """
    if divisor == 1:
        return mixture

    def divide(count: int | None) -> int | None:
        return None if count is None else math.ceil(count / divisor)

    def part(component: Component) -> Component:
        if component.num_samples is None or mixture.num_samples is None:
            return replace(component, num_samples=divide(component.num_samples))
        share = component.num_samples / mixture.num_samples  # sizes rounded up one by one exceed the total
        return replace(component, num_samples=None, fraction=share)

    components = {name: part(component) for name, component in mixture.components.items()}
    totals = {name: divide(getattr(mixture, name)) for name in vars(mixture) if name.startswith("num_")}
    return Mixture(components=components, **totals)


def _divided_sizes(config: ExperimentConfig) -> Iterator[str]:
    """What `sample_divisor` made of each size."""
    parts, divisor = config.mixture.components.items(), config.sample_divisor
    sizes = {f"mixture.{name}": getattr(config.mixture, name) for name in MIXTURE_TOTALS}
    sizes |= {f"mixture.components.{name}.num_samples": part.num_samples for name, part in parts}
    sizes["validation.num_samples"] = config.validation.num_samples
    told = [f"{key} from {size:,} to {math.ceil(size / divisor):,}" for key, size in sizes.items() if size]
    if divisor > 1 and told:
        yield f"sample_divisor={divisor} divided {', '.join(told)}; sample_divisor=1 draws them as written"


def lost_by_dividing(mixture: Mixture, divided: Mixture, divisor: int) -> list[str]:
    """A note where components are left without a sample, though the whole mixture has some of them."""
    lost = [name for name in without_empty(mixture).components if name not in divided.components]
    if not lost or mixture.num_samples is None:
        return []
    names = f"component{'s' if len(lost) > 1 else ''} {', '.join(map(repr, lost))}"
    return [
        f"sample_divisor={divisor} makes {math.ceil(mixture.num_samples / divisor):,} of "
        f"mixture.num_samples={mixture.num_samples}, which leaves {names} without a sample; "
        "set sample_divisor=1 to draw the mixture as it is written"
    ]


def _stand_ins(config: ExperimentConfig, used: Iterable[str]) -> Iterator[str]:
    """That the generated world is read in place of files."""
    tables = {name: source.world for name, source in config.source.items() if source.use_world and source.files}
    named = ", ".join(f"'{name}' (table {tables[name]})" for name in used if name in tables)
    if named:
        yield (
            f"use_world=true: tables of the generated world stand in for the files of {named}; "
            "set use_world=false to read the files"
        )


def _pages_too_large(how: Presentation, backbone: Backbone) -> Iterator[str]:
    """That the text of pages is shown much smaller than it is drawn."""
    if how.present_as != "pages":
        return
    style, zoom = how.style, max(how.style.values_of("dpi")) / PAGE_DPI
    page = round(style.page_height_px * zoom), round(style.page_width_px * zoom)
    letters_px = min(style.values_of("font_size_px")) * zoom
    shown = backbone.prepared_size(page)
    scale = min(shown[0] / page[0], shown[1] / page[1])
    if scale < LEAST_PAGE_SCALE:
        yield (
            f"pages are {page[1]} x {page[0]} px, frames {shown[1]} x {shown[0]} px: text is shown at {scale:.2f} of "
            f"its size, letters of {letters_px:g} px at {scale * letters_px:.1f} px; set "
            "text_to_image.page_width_px and page_height_px to the frame's size, or raise backbone.frame_size_px"
        )


def _scaled_in_vain(inputs: PlanInputs) -> Iterator[str]:
    """That frames are scaled down for a family that shows all frames at one size."""
    policies = [how.frames for how in inputs.presentations.values()]
    small, large = (inputs.backbone.prepared_size((side, side)) for side in (56, 560))
    if small == large and any(policy.frame_size_px or policy.max_pixels for policy in policies):
        yield (
            f"frames.frame_size_px and max_pixels save no tokens: {inputs.backbone.family} shows every frame at "
            f"{small[1]} x {small[0]} px; lower frames.max_frames, or backbone.frame_size_px"
        )


def _rounded_away(config: ExperimentConfig) -> Iterator[str]:
    """That small steps are lost, as no copy of the weights in 32 bits takes them."""
    trained = [name for name, part in config.tuning.parts.items() if part.mode == "trained"]
    if config.trainer.precision == "bf16-true" and trained:
        yield (
            f"trainer.precision=bf16-true: the weights of {', '.join(trained)} are trained in 16 bits, where a step "
            f"below 1/512 of a weight is rounded away: at optimizer.learning_rate={config.optimizer.learning_rate:g} "
            "little may be learnt; set trainer.precision=bf16-mixed, which keeps weights in 32 bits"
        )
