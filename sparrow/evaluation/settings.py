"""Settings of benchmarks: their files, the protocol by which they are evaluated, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator

from sparrow.core.entries import Registry
from sparrow.core.errors import ConfigError
from sparrow.core.settings import REQUIRED, AtLeast1, one_of, setting, settings
from sparrow.evaluation.subtitles import Subtitles
from sparrow.media.settings import FramePolicy
from sparrow.models.settings import CheckpointOptions
from sparrow.runs.settings import Paths, Trainer
from sparrow.world.settings import BenchmarkTable, WorldSettings

FORMAT_NAMES = ("multiple_choice", "video_mme", "mvbench", "tempcompass", "mlvu", "longvideobench")
_TABLES = sorted(path.stem for path in Path(__file__).parent.glob("formats/tables/*.yaml"))
TABLE_NAMES = tuple(name for name in _TABLES if name not in FORMAT_NAMES)
FORMATS: Registry[Any] = Registry(
    "benchmark format",
    {
        name: f"sparrow.evaluation.formats.{'table_format' if name in _TABLES else name}.{name.upper()}"
        for name in (*FORMAT_NAMES, *TABLE_NAMES)
    },
    "sparrow.evaluation.formats.protocols.Format",
)
REMOVED = ("presets",)  # recorded settings of earlier versions, which records of their runs hold
Scoring = Literal["generate", "letter_likelihood", "option_likelihood"]


def _metric(path: str) -> str:
    from sparrow.analysis.scores import check_metric

    return check_metric(path)


@settings
class Benchmark:
    """A set of questions about videos and the protocol by which it is evaluated and scored.

    The defaults are those of the format's protocol where it has its own (`Format.protocols`).
    """

    format: Annotated[str, one_of(FORMATS)] = setting("schema of its annotations", default=REQUIRED)
    root: str = setting("its folder", default=REQUIRED, recorded=True)
    file: str = setting("annotation file or folder in `root`; empty: the root itself", default="")
    media_root: str = setting("folder of the videos in `root`", default="")
    media_roots: list[str] = setting(
        "further folders where links in `media_root` may lead, beside `root`", default_factory=list, recorded=True
    )
    world: BenchmarkTable | None = setting("table of the generated world that can take its place", default=None)
    use_world: bool = setting("evaluate that table, to rehearse without the benchmark's files", default=False)
    protocol: Literal["official", "released"] = setting("whose prompts are used", default="official")
    max_frames: AtLeast1 | None = setting("frames of a video; null: `frames.max_frames`", default=None, unit="frames")
    frame_rule: Literal["frames", "one_a_second"] = setting(
        "`frames`: as that policy; `one_a_second`: LongVideoBench's rule, at most `max_frames`",
        default="frames",
        added=True,
    )
    subtitles: Subtitles = setting("`on`: listed before the question; `interleaved`: between the frames", default="off")
    tasks: list[str] = setting("tasks that are evaluated; empty: all", default_factory=list)
    metric: Annotated[str, AfterValidator(_metric)] = setting(
        "which number is the benchmark's score: a path into it, or the dotted path of your own", default="accuracy"
    )
    scoring: Scoring = setting("how it is answered", default="generate")
    show_options: bool = setting("list the options in the prompt", default=True)
    lower_case: bool = setting("let a small letter inside a reply name an option", default=False)
    thinking_tags: list[str] = setting(
        "names of further tags around thoughts, which are left out of a reply", default_factory=list, added=True
    )
    max_new_tokens: AtLeast1 = setting("limit of a reply", default=128, unit="tokens", formerly=(16, "unscored_tasks"))
    max_new_tokens_open_ended: AtLeast1 = setting("the same for tasks without options", default=512, unit="tokens")
    unscored_tasks: Literal["skip", "generate"] = setting(
        "tasks without options, which need a judge: `generate` replies for one", default="skip", added=True
    )
    missing_videos: Literal["wrong", "exclude"] = setting("how questions without their video count", default="wrong")
    num_questions: AtLeast1 | None = setting("evaluate only so many, spread evenly; null: all", default=None)

    @staticmethod
    def completed(given: Mapping[str, Any]) -> dict[str, Any]:
        """What is given, and what the format's protocol sets beside it."""
        try:
            protocols = FORMATS[str(given.get("format"))].protocols
        except ConfigError:  # it is said of the format
            protocols = {}
        given = {key: value for key, value in given.items() if key not in REMOVED}
        return {**protocols.get(given.get("protocol", "official"), {}), **given}

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Settings that contradict each other."""
        if self.format != REQUIRED and FORMATS[self.format].brings_prompts and self.protocol != "official":
            yield "protocol", "the prompts stand in its file; leave it out"
        if self.scoring == "letter_likelihood" and not self.show_options:
            yield "show_options", "letters can only be scored where the options are shown; set it to true"
        if self.use_world and self.world is None:
            yield "world", "no generated table can take its place; set use_world=false"
        if self.subtitles != "off" and self.format != REQUIRED and not FORMATS[self.format].has_subtitles:
            yield "subtitles", f"{self.format} has no subtitles; set it to off"


@settings
class Evaluation:
    """When a run is evaluated: before training, after it, and after it without frames or with one frame alone."""

    before: bool = setting("before training", default=False)
    after: bool = setting("after training", default=True)
    blind: bool = setting("after training, without frames", default=False)
    one_frame: bool = setting("after training, with one frame", default=False)


class EvaluationSettings(Protocol):
    """The settings that evaluation reads, of a run or of `sparrow evaluate`."""

    max_bad_fraction: float
    benchmark: dict[str, Benchmark]
    frames: FramePolicy
    world: WorldSettings
    data_seed: int
    paths: Paths
    trainer: Trainer

    @property
    def num_workers(self) -> int:
        """Processes that read the next videos, per device."""


class CheckpointEvaluation(EvaluationSettings, Protocol):
    """The same for a checkpoint that worker processes open."""

    backbone: CheckpointOptions
