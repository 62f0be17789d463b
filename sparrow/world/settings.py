"""Settings of the generated world: how much of each table there is, and which questions it asks in which words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from sparrow.core.settings import AtLeast0, Share, frozen_settings, setting
from sparrow.world.phrasings import NUM_PHRASINGS, NUM_TEXT_TEMPLATES, NUM_TRAINED_PHRASINGS, PHRASINGS
from sparrow.world.scene_questions import MIN_EVENTS

COMMON_KINDS = ("colour", "shape", "direction")
MAX_STILL_SHAPES = 2
MAX_EVENTS = 24
RARE_KINDS = ("count", "last", "after")
MOTION_KINDS = tuple(kind for kind in PHRASINGS if kind != "where")

TextTable = Literal["event_texts", "event_texts_common", "event_texts_one_template", "event_texts_other_words"]
SourceTable = Literal["stills", "pages", "clips", "clips_all_kinds", TextTable]
BenchmarkTable = Literal[
    "benchmark_short", "benchmark_long", "benchmark_rephrased", "benchmark_stills", "benchmark_pages"
]
Kinds = list[Literal[MOTION_KINDS]]  # type: ignore[valid-type]
NonEmptyKinds = Annotated[Kinds, Field(min_length=1)]
NumEvents = Annotated[list[Annotated[int, Field(ge=1, le=MAX_EVENTS)]], Field(min_length=1)]
NumShapes = Annotated[list[Annotated[int, Field(ge=1, le=MAX_STILL_SHAPES)]], Field(min_length=1)]


def _listed(*values: Any) -> Any:
    return lambda: list(values)


@frozen_settings
class WorldSettings:
    """Everything but the seed that determines a world."""

    num_stills: AtLeast0 = setting("still pictures with questions", default=200)
    num_pages: AtLeast0 = setting("texts of one event with a question", default=200)
    num_clips: AtLeast0 = setting("training clips", default=100)
    num_clips_all_kinds: AtLeast0 = setting(
        "training clips with the event texts' kinds in all trained wordings", default=0
    )
    num_event_texts: AtLeast0 = setting("long texts with one instruction each, in each of their tables", default=100)
    num_benchmark_clips: AtLeast0 = setting("items of each benchmark, one question per clip, still or page", default=40)
    frame_size_px: Annotated[int, Field(ge=16, multiple_of=16)] = setting("side of a frame", default=64, unit="px")
    still_shapes: NumShapes = setting("numbers of shapes on the still pictures", default_factory=_listed(1, 2))
    clip_events: NumEvents = setting("events of training clips and the short benchmark", default_factory=_listed(1, 2))
    text_events: NumEvents = setting("numbers of events of the event texts", default_factory=_listed(4, 8))
    long_events: NumEvents = setting("numbers of events of the long benchmark", default_factory=_listed(8))
    clip_kinds: NonEmptyKinds = setting("kinds of questions about clips", default_factory=_listed(*COMMON_KINDS))
    clip_rare_kinds: Kinds = setting("kinds that few clips ask", default_factory=_listed(*RARE_KINDS))
    clip_rare_share: Share = setting("share of clips whose first question is of a rare kind", default=0.0)
    clip_caption_share: Share = setting("share of clips that end with a request for a caption", default=0.1)
    clip_phrasings: Annotated[int, Field(ge=1, le=NUM_TRAINED_PHRASINGS)] = setting(
        "wordings in stills and clips", default=2
    )
    text_kinds: NonEmptyKinds = setting(
        "kinds of questions about event texts", default_factory=_listed(*COMMON_KINDS, *RARE_KINDS, "exists")
    )
    text_templates: Annotated[int, Field(ge=1, le=NUM_TEXT_TEMPLATES)] = setting(
        "templates of a kind", default=NUM_TEXT_TEMPLATES
    )
    benchmark_kinds: NonEmptyKinds = setting(
        "kinds, and so categories, of benchmarks", default_factory=_listed(*COMMON_KINDS, *RARE_KINDS)
    )
    benchmark_phrasing: Annotated[int, Field(ge=0, lt=NUM_PHRASINGS)] = setting(
        "the last two are never trained", default=0
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Settings that contradict each other."""
        if self.clip_rare_share > 0 and not self.clip_rare_kinds:
            yield "clip_rare_share", "is above 0, but world.clip_rare_kinds is empty"
        rare_kinds = self.clip_rare_kinds if self.clip_rare_share > 0 else []
        for name, kinds in (
            ("clip_events", [*self.clip_kinds, *rare_kinds, *self.benchmark_kinds]),
            ("text_events", self.text_kinds),
            ("long_events", self.benchmark_kinds),
        ):
            longest = max(getattr(self, name))
            if lacking := sorted({kind for kind in kinds if longest < MIN_EVENTS.get(kind, 1)}):
                yield name, f"has no scene of two events, which {', '.join(lacking)} need"
