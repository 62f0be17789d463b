"""The schema of every setting: dataclasses that the composed configuration is merged into before anything runs.

A field marked `recorded` is written to `run.json` but leaves `run_id` alone: it says where or how fast a run
happens, not what comes out of it.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

from sparrow.core.hashing import content_hash

REQUIRED = "???"


def recorded(default: Any = MISSING, *, default_factory: Any = MISSING) -> Any:
    """A field that does not change the result of a run."""
    return field(default=default, default_factory=default_factory, metadata={"recorded": True})


@dataclass
class Study:
    """What a set of runs asks, what it varies on purpose, and what was published; docs/studies.md explains all.

    `baseline` is the label of the arm or curve that others are measured in, or the value of a factor, or factors spelt
    out as `a=1, b=x`, that it has; the first one where null. `primary` names the benchmarks on which arms are to be
    judged against it: p values are adjusted over these comparisons alone, over all where it is empty. `fit` is the
    form of learning curves, logarithm or power_law.
    """

    name: str = "untitled"
    question: str = ""
    factors: list[str] = field(default_factory=list)
    metric: str | None = None
    baseline: str | None = None
    primary: list[str] = field(default_factory=list)
    fit: str = "logarithm"
    published: dict[str, Any] = field(default_factory=dict)


@dataclass
class Paths:
    """Where data is read, runs are written, and what can be made again is kept."""

    data_root: str = REQUIRED
    output_root: str = REQUIRED
    cache_root: str = REQUIRED


@dataclass
class World:
    """The generated world; the fields are those of `sparrow.world.WorldSettings`, which explains them."""

    num_stills: int = 200
    num_pages: int = 200
    num_clips: int = 100
    num_clips_all_kinds: int = 0
    num_event_texts: int = 100
    num_benchmark_clips: int = 40
    frame_size_px: int = 64
    still_shapes: list[int] = field(default_factory=lambda: [1, 2])
    clip_events: list[int] = field(default_factory=lambda: [1, 2])
    text_events: list[int] = field(default_factory=lambda: [4, 8])
    long_events: list[int] = field(default_factory=lambda: [8])
    clip_kinds: list[str] = field(default_factory=lambda: ["colour", "shape", "direction"])
    clip_rare_kinds: list[str] = field(default_factory=lambda: ["count", "last", "after"])
    clip_rare_share: float = 0.0
    clip_caption_share: float = 0.1
    clip_phrasings: int = 2
    text_kinds: list[str] = field(
        default_factory=lambda: ["colour", "shape", "direction", "count", "last", "after", "exists"]
    )
    text_templates: int = 40
    benchmark_kinds: list[str] = field(
        default_factory=lambda: ["colour", "shape", "direction", "count", "last", "after"]
    )
    benchmark_phrasing: int = 0


@dataclass
class Source:
    """Records of one publisher: which files, and the converter that makes samples of them.

    `files` are relative to `root`, media to `root / media_root`. `world` names the table of the generated world
    that has this source's schema; it is read instead of `files` when `use_world` is true.
    `config_name`, `split` and `revision` say what is read of the `datasets` data sets (`hf:NAME`) among the files.
    """

    converter: str = REQUIRED
    files: list[str] = field(default_factory=list)
    root: str = recorded(REQUIRED)
    media_root: str = ""
    config_name: str | None = None
    split: str | None = None
    revision: str | None = None
    min_context_words: int | None = None
    world: str | None = None
    use_world: bool = False


@dataclass
class Component:
    """One part of a mixture: `num_samples` of a source, a `fraction` of the mixture's total, or the `remainder` of it.

    `present_as` is how the model meets the samples: `video` (media as recorded), `pages` (long texts rendered as
    page images) or `text` (long texts left as plain text). Each drawn sample is shown `repeat` times an epoch; the
    sizes count all of them. `max_pages`, `max_instruction_words`, `max_context_words` and `max_tokens` leave samples
    out of the draw, and the next ones take their places; the number of pages depends on the page style, the number of
    words of a long text does not. `max_tokens` limits a token for every four bytes of questions and answers and
    `tokens_per_page` for every page: an estimate, so that every backbone draws the same samples.
    `selection` is the order in which samples are drawn, `hash` at random, the others by their instructions
    (`sparrow.instructions.selection`).
    """

    source: str = REQUIRED
    num_samples: int | None = None
    fraction: float | None = None
    remainder: bool = False
    repeat: int = 1
    max_pages: int | None = None
    max_instruction_words: int | None = None
    max_context_words: int | None = None
    max_tokens: int | None = None
    tokens_per_page: int = 96
    selection: str = "hash"
    present_as: str = "video"


@dataclass
class Mixture:
    """Components by name, and the one total of their fractions: samples, tokens, frames or learnt tokens."""

    num_samples: int | None = None
    num_tokens: int | None = None
    num_frames: int | None = None
    num_supervised_tokens: int | None = None
    components: dict[str, Component] = field(default_factory=dict)


@dataclass
class Embedder:
    """What turns instructions into vectors, for measuring their diversity and selecting by it.

    Args:
        name: `tfidf`, fitted on the instructions themselves, or `encoder`, a pretrained model.
        dimensions: Length of a `tfidf` vector.
        model: Folder or Hub id of an encoder.
        revision: Its revision on the Hub.
        pooling: `mean` or `cls` over an encoder's tokens; null: as its folder says, else `mean`.
        max_length_tokens: Longer instructions are cut for the encoder.
        duplicate_similarity: Cosine from which the selection `dedup` takes two instructions for the same.
        batch_size: Instructions an encoder reads at once.
        device: Where the encoder runs; `auto` takes a GPU where there is one.
    """

    name: str = "tfidf"
    dimensions: int = 256
    model: str | None = None
    revision: str | None = None
    pooling: str | None = None
    max_length_tokens: int = 384
    duplicate_similarity: float = 0.9
    batch_size: int = recorded(64)
    device: str = recorded("auto")


@dataclass
class TextToImage:
    """How long text becomes pages; the fields are those of `sparrow.media.style.TextStyle`, which explains them."""

    layout: str = "paper"
    page_width_px: int = 448
    page_height_px: int = 448
    font_size_px: int = 20
    margin_px: int = 20
    words_per_page: int | None = 115
    tokenizer: str = "split"
    layout_engine: str = "basic"
    fallback_fonts: list[str] | None = None
    text_grey: int = 0
    background_grey: int = 255
    page_order: str = "as_is"
    max_pages: int | None = None
    page_policy: str = "all"


@dataclass
class FramesSettings:
    """Which frames of a video are shown, and how; the fields are those of `sparrow.media.frames.FramePolicy`."""

    policy: str = "uniform"
    max_frames: int | None = 24
    fps: float | None = None
    timestamps: bool = False


@dataclass
class BackboneSettings:
    """A family of models and one checkpoint of it; `tiny` swaps in the family's tiny sibling, made offline.

    `tiny_width`: how often the tiny sibling is as wide as the narrowest one, with as many more attention heads.

    `native_video`: the frames of a video go in the way the family has for videos, not as images.
    """

    family: str = REQUIRED
    checkpoint: str | None = None
    revision: str | None = None
    tiny: bool = False
    tiny_width: int = 1
    frame_size_px: int = 364
    native_video: bool = False
    attn_implementation: str = "auto"
    trust_remote_code: bool = False


@dataclass
class StartFrom:
    """An experiment whose finished model the run starts from, trained first (once, cached by its `run_id`).

    `gates` are benchmarks of that experiment and the accuracy that its model must reach in each: below it, the run
    fails before it begins, and is excluded with that reason.
    """

    experiment: str | None = None
    overrides: list[str] = field(default_factory=list)
    gates: dict[str, float] = recorded(default_factory=dict)


@dataclass
class PartTuning:
    """How one part of the backbone learns.

    `mode`: `frozen`; `adapted`, by low-rank adapters beside its linear layers; or `trained`. The part's learning rate
    is `optimizer.learning_rate` times the multiplier, its weight decay the optimizer's where null.
    """

    mode: str = "trained"
    learning_rate_multiplier: float = 1.0
    weight_decay: float | None = None


@dataclass
class Lora:
    """Low-rank adapters (arXiv 2106.09685) of the parts that are `adapted`.

    `targets` are names of linear layers, or ends of names, such as `q_proj`; null adapts every linear layer.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: list[str] | None = None


@dataclass
class Tuning:
    """How the parts of the backbone learn, and what the loss is a mean over.

    `quantization`: `nf4` keeps the weights in four bits, as in QLoRA; its parts are frozen or adapted.
    `loss_normalization`: `token`, the mean over the supervised tokens of the global batch; `sample`, over its samples,
    each the mean of its tokens; `micro_batch`, over micro-batches, each the mean of its tokens, so that what a token
    weighs depends on what it is batched with.
    """

    vision: PartTuning = field(default_factory=PartTuning)
    projector: PartTuning = field(default_factory=PartTuning)
    language_model: PartTuning = field(default_factory=PartTuning)
    lora: Lora = field(default_factory=Lora)
    quantization: str | None = None
    loss_normalization: str = "token"
    activation_checkpointing: bool = False

    @property
    def parts(self) -> dict[str, PartTuning]:
        """The parts by name."""
        return {"vision": self.vision, "projector": self.projector, "language_model": self.language_model}


@dataclass
class Optimizer:
    """The optimizer and its settings; `adafactor` takes neither betas nor `eps`.

    `on_nan_loss`: what follows a loss or a gradient norm that is not finite: `stop` ends the run, `skip` leaves the
    optimizer step out on all ranks and notes it.
    """

    name: str = "adamw"
    learning_rate: float = 5e-6
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.05
    max_grad_norm: float | None = 1.0
    on_nan_loss: str = "stop"


@dataclass
class Schedule:
    """Learning rate over the planned steps; `warmup_steps` wins over `warmup_ratio` where it is given.

    `decay_ratio` and `decay_form` shape the end of `wsd`, as `sparrow.training.optim.build_schedule` says.
    """

    name: str = "cosine"
    warmup_ratio: float = 0.03
    warmup_steps: int | None = None
    decay_ratio: float = 0.1
    decay_form: str = "1-sqrt"


@dataclass
class Batching:
    """How samples are grouped into optimizer steps and micro-batches.

    `name`: `packed` joins the samples of a step to rows of at most `max_seq_len_tokens`, in which they do not see each
    other; `padded` gives each a row of its own, `micro_batch_size_samples` rows a micro-batch. These two share the
    same steps of exactly `global_batch_size_samples`. `length_grouped` pads samples of similar lengths and
    `packed_epoch` packs the rows of a whole epoch first: both change which samples share a step, and with the latter
    `global_batch_size_samples` is a mean.
    """

    name: str = "packed"
    global_batch_size_samples: int = 64
    micro_batch_size_samples: int = 2
    max_seq_len_tokens: int = 10_740
    num_epochs: int = 1
    num_workers: int = recorded(2)
    sample_timeout_s: int = recorded(600)
    cache_frames: bool = recorded(False)


@dataclass
class Trainer:
    """The machine a run uses, its numeric precision, and what of it is looked at.

    `compile` compiles the backbone's blocks; `profiler: torch` traces a few steps; `try_longest_micro_batch` tries the
    longest planned micro-batch before the first step; `peak_flops` is the device's peak in FLOP/s where the table of
    `sparrow.training.mfu` lacks it.
    """

    precision: str = "bf16-mixed"
    accelerator: str = recorded("auto")
    devices: int = recorded(1)
    num_nodes: int = recorded(1)
    num_threads: int | None = recorded(None)
    log_every_n_steps: int = recorded(10)
    progress_bar: bool = recorded(True)
    compile: bool = recorded(False)
    profiler: str | None = recorded(None)
    try_longest_micro_batch: bool = recorded(True)
    peak_flops: float | None = recorded(None)


@dataclass
class Strategy:
    """How a run is spread over devices: `single`, `ddp` (each holds the model) or `fsdp` (each holds a shard of it).

    `fsdp` only: `reshard_after_forward` frees a block's weights after its forward pass and gathers them again for the
    backward pass; `hybrid_sharding` shards inside a node and keeps a copy on each node.
    """

    name: str = recorded("single")
    reshard_after_forward: bool = recorded(True)
    hybrid_sharding: bool = recorded(False)


@dataclass
class Checkpointing:
    """How often a run is saved, how many checkpoints are kept, and whether that of the least validation loss is."""

    every_n_steps: int = recorded(500)
    every_n_minutes: float | None = recorded(30.0)
    keep_last: int = recorded(2)
    keep_best: bool = recorded(False)


@dataclass
class ValidationSettings:
    """The loss on `num_samples` that are drawn after the training samples and held out, every `every_n_steps`."""

    num_samples: int = recorded(0)
    every_n_steps: int = recorded(100)


@dataclass
class BenchmarkPreset:
    """What a protocol fixes beside its prompts; the fields are those of `Benchmark`."""

    max_frames: int | None = None
    subtitles: str = "off"
    tasks: list[str] = field(default_factory=list)
    metric: str = "accuracy"


@dataclass
class Benchmark:
    """A set of questions about videos and the protocol by which it is asked and scored.

    Args:
        format: Schema of its annotations.
        root: Its folder.
        file: Annotation file or folder in `root`; the root itself when empty.
        media_root: Folder of the videos in `root`.
        world: Table of the generated world that stands in for it.
        use_world: Whether that table is asked instead, to rehearse without the benchmark's files.
        protocol: Whose prompts are used: `official` or `released`.
        presets: What each protocol sets; `max_frames`, `subtitles`, `tasks` and `metric` are taken from there unless
            they are given.
        max_frames: Frames of a video; null: as `frames.max_frames`.
        subtitles: `off`, `on` (listed before the question), or `interleaved` with the frames.
        tasks: Tasks that are asked; all when empty.
        metric: Which number is the benchmark's score, as a path into it.
        scoring: `generate`, `letter_likelihood` or `option_likelihood`.
        show_options: Whether the prompt lists the options.
        lower_case: Whether a small letter in a reply names an option.
        max_new_tokens: Limit of a reply.
        max_new_tokens_open_ended: The same for tasks without options.
        missing_videos: What becomes of questions whose video is not there: `wrong`, or `exclude`, which is printed.
        num_questions: Ask only so many, spread evenly; null asks all.
    """

    format: str = REQUIRED
    root: str = recorded(REQUIRED)
    file: str = ""
    media_root: str = ""
    world: str | None = None
    use_world: bool = False
    protocol: str = "official"
    presets: dict[str, BenchmarkPreset] = recorded(default_factory=dict)
    max_frames: int | None = None
    subtitles: str = "off"
    tasks: list[str] = field(default_factory=list)
    metric: str = "accuracy"
    scoring: str = "generate"
    show_options: bool = True
    lower_case: bool = False
    max_new_tokens: int = 16
    max_new_tokens_open_ended: int = 512
    missing_videos: str = "wrong"
    num_questions: int | None = None


@dataclass
class Evaluation:
    """When the benchmarks are asked: before training, after it, and after it without frames or with one frame alone."""

    before: bool = False
    after: bool = True
    blind: bool = False
    one_frame: bool = False


@dataclass
class Logger:
    """One logger; `project`, `entity` and `mode` (online, offline or disabled) are Weights & Biases'."""

    enabled: bool = recorded(True)
    project: str = recorded("sparrow")
    entity: str | None = recorded(None)
    mode: str = recorded("online")


@dataclass
class ExperimentConfig:
    """Everything about the data and the model that `train`, `prepare` and `preview` share.

    `use_world` lets every source read the generated table of its schema instead of its own files; `sample_divisor`
    divides the sizes of the mixture: together they rehearse a study in minutes.
    """

    study: Study = recorded(default_factory=Study)
    paths: Paths = recorded(default_factory=Paths)
    seed: int = 0
    data_seed: int = 0
    use_world: bool = False
    sample_divisor: int = 1
    on_bad_sample: str = "fail"
    max_bad_fraction: float = 0.01
    world: World = field(default_factory=World)
    source: dict[str, Source] = field(default_factory=dict)
    mixture: Mixture = field(default_factory=Mixture)
    embedder: Embedder = field(default_factory=Embedder)
    text_to_image: TextToImage = field(default_factory=TextToImage)
    frames: FramesSettings = field(default_factory=FramesSettings)
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    start_from: StartFrom = field(default_factory=StartFrom)
    tuning: Tuning = field(default_factory=Tuning)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    batching: Batching = field(default_factory=Batching)
    trainer: Trainer = field(default_factory=Trainer)
    strategy: Strategy = field(default_factory=Strategy)
    checkpointing: Checkpointing = recorded(default_factory=Checkpointing)
    validation: ValidationSettings = recorded(default_factory=ValidationSettings)
    benchmark: dict[str, Benchmark] = field(default_factory=dict)
    evaluation: Evaluation = field(default_factory=Evaluation)
    logger: dict[str, Logger] = recorded(default_factory=dict)


@dataclass
class PrepareConfig(ExperimentConfig):
    """Settings of `sparrow prepare`; `export` names a trainer whose files are written too."""

    export: str | None = recorded(None)


@dataclass
class PreviewConfig(ExperimentConfig):
    """Settings of `sparrow preview`."""

    num_samples: int = recorded(24)


@dataclass
class DiversityConfig(ExperimentConfig):
    """Settings of `sparrow diversity`, which compares the components of a mixture, or else all chosen sources.

    Args:
        num_instructions: Instructions sampled of each.
        min_instructions: Those with fewer are measured as they are, and do not lower the size that others share.
        num_resamples: Bootstrap resamples behind each interval.
        num_clusters: Clusters that all instructions together are parted into.
        num_templates: Templates that the bar chart shows.
        num_in_pictures: Points of each in the scatter pictures; null shows all.
        pictures: Whether pictures and the interactive page are made.
    """

    num_instructions: int = recorded(5_000)
    min_instructions: int = recorded(10)
    num_resamples: int = recorded(100)
    num_clusters: int = recorded(50)
    num_templates: int = recorded(10)
    num_in_pictures: int | None = recorded(None)
    pictures: bool = recorded(True)


@dataclass
class CheckpointOptions:
    """How `sparrow evaluate` opens its checkpoint; family, frame size and native video are its own where null."""

    family: str | None = None
    revision: str | None = None
    frame_size_px: int | None = None
    native_video: bool | None = None
    attn_implementation: str = "auto"
    trust_remote_code: bool = False


@dataclass
class EvaluateConfig:
    """Settings of `sparrow evaluate`: a checkpoint, the benchmarks, and how frames are chosen.

    `trainer.devices` processes answer, each with `num_workers` that read its next videos.
    """

    checkpoint: str = REQUIRED
    study: Study = recorded(default_factory=Study)
    paths: Paths = recorded(default_factory=Paths)
    seed: int = 0
    data_seed: int = 0
    use_world: bool = False
    world: World = field(default_factory=World)
    frames: FramesSettings = field(default_factory=FramesSettings)
    backbone: CheckpointOptions = field(default_factory=CheckpointOptions)
    benchmark: dict[str, Benchmark] = field(default_factory=dict)
    blind: bool = False
    one_frame: bool = False
    num_workers: int = recorded(2)
    trainer: Trainer = field(default_factory=Trainer)


def identity(config: Any) -> Any:
    """The settings that determine a result: a config without its `recorded` fields, as plain values."""
    if is_dataclass(config):
        return {f.name: identity(getattr(config, f.name)) for f in fields(config) if not f.metadata.get("recorded")}
    if isinstance(config, dict):
        return {key: identity(value) for key, value in config.items()}
    if isinstance(config, list):
        return [identity(value) for value in config]
    return config


def run_id(config: Any) -> str:
    """Hash of the settings that determine a result; equal on every machine and for every folder."""
    return content_hash(identity(config), length=12)
