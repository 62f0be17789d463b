"""Questions about scenes: what they ask, when they are well-defined, their answers, options and wording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from sparrow.world.phrasings import PHRASINGS
from sparrow.world.scenes import COLOURS, DIRECTIONS, SHAPES, Scene, random_scene

VALUES: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "direction": tuple(DIRECTIONS),
    "number": ("zero", "one", "two", "three"),
    "truth": ("yes", "no"),
    "horizontal": ("left", "right"),
    "vertical": ("top", "bottom"),
}
SIDES = {"horizontal": "on the left or on the right", "vertical": "at the top or at the bottom"}
# Below these lengths the answer is the same for every scene. With two events, what is before or after one of them is
# the other: no order in time is needed.
MIN_EVENTS = {"count": 2, "first": 2, "last": 2, "before": 2, "after": 2}
NUM_OPTIONS = 4

# Fact `(i, attribute)`: the value that an attribute of event i has.
Facts = frozenset[tuple[int, str]]


@dataclass(frozen=True)
class SceneQuestion:
    """A kind of question about an attribute, with the subject's known attributes as `(attribute, value)` pairs."""

    kind: str
    attribute: str
    subject: tuple[tuple[str, str], ...] = ()

    def _matches(self, scene: Scene) -> list[int]:
        return [i for i, event in enumerate(scene) if all(getattr(event, a) == v for a, v in self.subject)]

    def _target(self, scene: Scene) -> int | None:
        """Index of the event that is asked about; None where the scene does not single one out."""
        if self.kind in ("first", "last"):
            return 0 if self.kind == "first" else len(scene) - 1
        matches = self._matches(scene)
        if len(matches) != 1:
            return None
        target = matches[0] + {"before": -1, "after": 1}.get(self.kind, 0)
        return target if 0 <= target < len(scene) else None

    def answer(self, scene: Scene) -> str | None:
        """The one-word answer, or None where the question is not well-defined."""
        if self.kind == "count":
            count = len(self._matches(scene))
            return VALUES["number"][count] if count < len(VALUES["number"]) else None
        if self.kind == "exists":
            return "yes" if self._matches(scene) else "no"
        target = self._target(scene)
        return None if target is None else getattr(scene[target], self.attribute)

    def asks(self, scene: Scene) -> Facts:
        """The facts that the answer rests on."""
        if self.kind in ("count", "exists"):
            return frozenset((i, attribute) for i in range(len(scene)) for attribute, _ in self.subject)
        target = self._target(scene)
        return frozenset() if target is None else frozenset({(target, self.attribute)})

    def tells(self, scene: Scene) -> Facts:
        """The facts that question and answer together give away."""
        named = frozenset((i, attribute) for i in self._matches(scene) for attribute, _ in self.subject)
        return named if self.kind in ("count", "exists") else named | self.asks(scene)

    def possible_answers(self, num_events: int) -> tuple[str, ...]:
        """The answers that scenes of this length can give."""
        values = VALUES[self.attribute]
        if self.kind == "count":
            return values[: num_events + 1]
        if self.kind in ("before", "after"):
            return tuple(value for value in values if (self.attribute, value) not in self.subject)
        return values

    def wrong_options(self, scene: Scene, rng: Random) -> list[str]:
        """Distractors: values shown in the same scene first, then others of the same attribute."""
        right = self.answer(scene)
        wrong = [value for value in self.possible_answers(len(scene)) if value != right]
        rng.shuffle(wrong)
        shown = {getattr(event, self.attribute, None) for event in scene}
        return sorted(wrong, key=lambda value: value not in shown)[: NUM_OPTIONS - 1]

    def words(self, phrasing: int = 0) -> str:
        """The question in one of the wordings of its kind."""
        known = dict(self.subject)
        [value, *_] = known.values() or [""]
        return PHRASINGS[self.kind][phrasing].format(
            **known,
            attribute=self.attribute,
            thing=f"the {value}" if value in SHAPES else value,
            sides=SIDES.get(self.attribute, ""),
        )


def _singles(*attributes: str) -> list[tuple[str, str]]:
    return [(attribute, value) for attribute in attributes for value in VALUES[attribute]]


_THINGS = [(("colour", colour), ("shape", shape)) for colour in COLOURS for shape in SHAPES]
QUESTIONS: dict[str, list[SceneQuestion]] = {
    "colour": [SceneQuestion("colour", "colour", (single,)) for single in _singles("shape")],
    "shape": [SceneQuestion("shape", "shape", (single,)) for single in _singles("colour")],
    "direction": [SceneQuestion("direction", "direction", thing) for thing in _THINGS],
    "count": [SceneQuestion("count", "number", (single,)) for single in _singles("colour", "shape")],
    "exists": [SceneQuestion("exists", "truth", thing) for thing in _THINGS],
    "where": [SceneQuestion("where", side, thing) for side in ("horizontal", "vertical") for thing in _THINGS],
    **{kind: [SceneQuestion(kind, attribute) for attribute in ("colour", "shape")] for kind in ("first", "last")},
    **{
        kind: [SceneQuestion(kind, single[0], (single,)) for single in _singles("colour", "shape")]
        for kind in ("before", "after")
    },
}


def kind_answers(kind: str, num_events: int) -> list[str]:
    """All answers that questions of a kind can have about scenes of this length."""
    return list(dict.fromkeys(a for question in QUESTIONS[kind] for a in question.possible_answers(num_events)))


def ask(kind: str, answer: str, num_events: int, rng: Random) -> tuple[SceneQuestion, Scene]:
    """A question of a kind with this answer, and a scene to ask it about.

    Answer and subject are settled before the scene is, so that neither foretells the other.
    """
    question = rng.choice([q for q in QUESTIONS[kind] if answer in q.possible_answers(num_events)])
    while True:
        scene = random_scene(num_events, rng)
        if question.answer(scene) == answer:
            return question, scene


def follow_ups(asked: Iterable[SceneQuestion], scene: Scene, kinds: Iterable[str], rng: Random) -> list[SceneQuestion]:
    """At most one further question of each kind, none of which the turns before it answer.

    Counts and yes-or-no questions are left out: their answers are balanced only when the scene is made for them.
    """
    told: Facts = frozenset().union(*(question.tells(scene) for question in asked))
    found = []
    for kind in kinds:
        asks = [(question, question.asks(scene)) for question in QUESTIONS[kind] if kind not in ("count", "exists")]
        untold = [question for question, facts in asks if facts and not facts & told]
        if untold:
            found.append(rng.choice(untold))
            told |= found[-1].tells(scene)
    return found
