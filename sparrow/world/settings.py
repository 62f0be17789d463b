"""Settings of the generated world: how much of each table there is, and which questions it asks in which words."""

from __future__ import annotations

from dataclasses import dataclass

from sparrow.core.config import World
from sparrow.core.errors import ConfigError
from sparrow.world.phrasings import NUM_PHRASINGS, NUM_TEXT_TEMPLATES, NUM_TRAINED_PHRASINGS, PHRASINGS
from sparrow.world.scene_questions import MIN_EVENTS

COMMON_KINDS = ("colour", "shape", "direction")
MAX_STILL_SHAPES = 2
MAX_EVENTS = 24
MOTION_KINDS = tuple(kind for kind in PHRASINGS if kind != "where")


@dataclass
class WorldSettings(World):
    """Everything but the seed that determines a world.

    Args:
        num_stills: Still pictures with questions.
        num_pages: Texts of one event with a question.
        num_clips: Training clips.
        num_clips_all_kinds: Training clips that ask the kinds of the event texts in all trained wordings.
        num_event_texts: Long texts with one instruction each, in each of the tables of them.
        num_benchmark_clips: Items of each benchmark, one question per clip, still or page.
        frame_size_px: Side of a frame; a multiple of 16.
        still_shapes: Numbers of shapes on the still pictures, 2 at most.
        clip_events: Numbers of events of the training clips and of the short benchmark.
        text_events: Numbers of events of the event texts.
        long_events: Numbers of events of the long benchmark.
        clip_kinds: Kinds of questions that clips commonly ask.
        clip_rare_kinds: Kinds that few clips ask, see `clip_rare_share`.
        clip_rare_share: Share of clips whose first question is of a rare kind.
        clip_caption_share: Share of clips that end with a request for a caption.
        clip_phrasings: Number of wordings of a kind of question in stills and clips.
        text_kinds: Kinds of questions that event texts ask.
        text_templates: Number of instruction templates of a kind in event texts.
        benchmark_kinds: Kinds of questions, and so categories, of the benchmarks.
        benchmark_phrasing: The wording that benchmarks use; those from `NUM_TRAINED_PHRASINGS` on are never trained.

    Raises:
        ConfigError: If a number is out of range or a kind unknown; all faults at once.
    """

    def __post_init__(self) -> None:
        least = {name: 0 for name in vars(self) if name.startswith("num_")} | {"frame_size_px": 16}
        faults = [
            f"world.{name} is {getattr(self, name)}, expected {low} or more"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        if self.frame_size_px % 16:
            faults.append(f"world.frame_size_px is {self.frame_size_px}, expected a multiple of 16")
        for name in ("still_shapes", "clip_events", "text_events", "long_events"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                faults.append(f"world.{name} is {list(getattr(self, name))}, expected one or more numbers from 1 on")
        for name in ("clip_events", "text_events", "long_events"):
            if max(getattr(self, name), default=0) > MAX_EVENTS:
                faults.append(
                    f"world.{name} is {list(getattr(self, name))}, expected {MAX_EVENTS} at most: in longer scenes "
                    "everything comes up again and again, so that nearly none has an answer"
                )
        if max(self.still_shapes, default=0) > MAX_STILL_SHAPES:
            faults.append(f"world.still_shapes is {list(self.still_shapes)}, expected {MAX_STILL_SHAPES} at most")
        for name in ("clip_kinds", "clip_rare_kinds", "text_kinds", "benchmark_kinds"):
            kinds = getattr(self, name)
            unknown = sorted(set(kinds) - set(MOTION_KINDS))
            if unknown or not (kinds or name == "clip_rare_kinds"):
                faults.append(f"world.{name} is {list(kinds)}, expected some of {', '.join(MOTION_KINDS)}")
        for name in ("clip_rare_share", "clip_caption_share"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"world.{name} is {getattr(self, name)}, expected a share between 0 and 1")
        if self.clip_rare_share > 0 and not self.clip_rare_kinds:
            faults.append("world.clip_rare_share is above 0, but world.clip_rare_kinds is empty")
        for name, low, high in (
            ("clip_phrasings", 1, NUM_TRAINED_PHRASINGS),
            ("text_templates", 1, NUM_TEXT_TEMPLATES),
            ("benchmark_phrasing", 0, NUM_PHRASINGS - 1),
        ):
            if not low <= getattr(self, name) <= high:
                faults.append(f"world.{name} is {getattr(self, name)}, expected {low} to {high}")
        rare_kinds = self.clip_rare_kinds if self.clip_rare_share > 0 else ()
        for name, kinds in (
            ("clip_events", (*self.clip_kinds, *rare_kinds, *self.benchmark_kinds)),
            ("text_events", self.text_kinds),
            ("long_events", self.benchmark_kinds),
        ):
            longest = max(getattr(self, name), default=0)
            lacking = sorted({kind for kind in kinds if longest < MIN_EVENTS.get(kind, 1)})
            if lacking:
                faults.append(f"world.{name} has no scene of two events, which {', '.join(lacking)} need")
        if faults:
            raise ConfigError("\n".join(faults))
