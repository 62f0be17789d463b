"""The tables of the world: records in the schemas of real sources, each with the scene that its media show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from sparrow.core.hashing import hash_key
from sparrow.world.phrasings import BOOK_TITLES, CAPTION_REQUESTS, NUM_TRAINED_PHRASINGS, WRAPPERS
from sparrow.world.questions import MIN_EVENTS, Question, ask, follow_ups, kind_answers
from sparrow.world.scenes import Scene, random_still_scene, tell
from sparrow.world.settings import COMMON_KINDS, WorldSettings

Record = dict[str, Any]
Rows = Iterator[tuple[Record, Scene]]
T = TypeVar("T")

MAX_TURNS = 3
HELD_OUT_ONE_IN = 8
LETTERS = "ABCD"
ANSWER_BY_LETTER = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True)
class Table:
    """One file of the world.

    Args:
        file: Name inside the world's folder.
        schema: The converter or benchmark format that reads it.
        media_root: Folder that its media paths are relative to; empty where it has no media.
        rows: Makes the records from the settings and the data seed.
    """

    file: str
    schema: str
    media_root: str
    rows: Callable[[WorldSettings, int], Rows]


def _stills(settings: WorldSettings, data_seed: int) -> Rows:
    for i in range(settings.num_stills):
        rng = _rng(data_seed, "stills", i)
        scene = random_still_scene(rng.choice(settings.still_shapes), rng)
        kinds = [*_shuffled(("colour", "shape"), rng), "where", "where"]
        turns = follow_ups([], scene, kinds, rng)[:MAX_TURNS]
        phrased = [_phrase(turn, scene, settings, rng) for turn in turns]
        file = f"{i:06d}.png"
        yield {"id": f"still-{i:06d}", "image": file, "conversations": _conversation("<image>", phrased)}, scene


def _pages(settings: WorldSettings, data_seed: int) -> Rows:
    for i in range(settings.num_pages):
        rng = _rng(data_seed, "pages", i)
        lead, scene = _ask_any(rng.choice(COMMON_KINDS), (1,), rng)
        question, answer = _phrase(lead, scene, settings, rng)
        yield {"id": f"page-{i:06d}", "context": tell(scene), "question": question, "answer": answer}, scene


def _clips(settings: WorldSettings, data_seed: int) -> Rows:
    for i in range(settings.num_clips):
        rng = _rng(data_seed, "clips", i)
        is_rare = rng.random() < settings.clip_rare_share
        kind = rng.choice(settings.clip_rare_kinds if is_rare else settings.clip_kinds)
        lead, scene = _ask_any(kind, settings.clip_events, rng, held_out=False)
        others = follow_ups([lead], scene, _shuffled(settings.clip_kinds, rng), rng)
        wants_caption = rng.random() < settings.clip_caption_share
        turns = [lead, *others][: MAX_TURNS - wants_caption]
        phrased = [_phrase(turn, scene, settings, rng) for turn in turns]
        if wants_caption:  # last, because it answers whatever could be asked after it
            phrased.append((rng.choice(CAPTION_REQUESTS[: settings.clip_phrasings]), tell(scene).replace("\n", " ")))
        file = f"{i:06d}.mp4"
        yield {"id": f"clip-{i:06d}", "video": file, "conversations": _conversation("<video>", phrased)}, scene


def _event_texts(settings: WorldSettings, data_seed: int) -> Rows:
    for i in range(settings.num_event_texts):
        rng = _rng(data_seed, "event_texts", i)
        question, scene = _ask_any(rng.choice(settings.text_kinds), settings.text_events, rng)
        wrapper, phrasing = divmod(rng.randrange(settings.text_templates), NUM_TRAINED_PHRASINGS)
        instruction = WRAPPERS[wrapper].format(question.words(phrasing))
        instruction = book_instruction(f"{rng.choice(BOOK_TITLES)}, Part {i + 1}", tell(scene), instruction)
        yield {"instruction": instruction, "output": question.answer(scene)}, scene


def _benchmark(name: str, lengths: Sequence[int], settings: WorldSettings, data_seed: int) -> Rows:
    """One question a clip, so that items are independent; kinds, answers and letters equally often."""
    rng = _rng(data_seed, name, 0)
    kinds = _dealt(settings.benchmark_kinds, rng)
    answers: dict[tuple[str, int], Iterator[str]] = {}
    places: dict[tuple[str, int], Iterator[int]] = {}
    for i in range(settings.num_benchmark_clips):
        kind = next(kinds)
        length = _length(lengths, kind, rng)
        answer = next(answers.setdefault((kind, length), _dealt(kind_answers(kind, length), rng)))
        question, scene = _ask(kind, answer, length, rng, held_out=True)
        options = question.wrong_options(scene, rng)
        right = next(places.setdefault((kind, len(options)), _dealt(range(len(options) + 1), rng)))
        options.insert(right, answer)
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
        yield (
            {
                "question_id": i,
                "video": f"{name.removeprefix('benchmark_')}_{i:05d}.mp4",
                "prompt": "\n".join([question.words(settings.benchmark_phrasing), *lines, ANSWER_BY_LETTER]),
                "GT": LETTERS[right],
                "category": kind,
            },
            scene,
        )


def _benchmark_short(settings: WorldSettings, data_seed: int) -> Rows:
    return _benchmark("benchmark_short", settings.clip_events, settings, data_seed)


def _benchmark_long(settings: WorldSettings, data_seed: int) -> Rows:
    return _benchmark("benchmark_long", settings.long_events, settings, data_seed)


TABLES: dict[str, Table] = {
    "stills": Table("stills.json", "llava", "stills", _stills),
    "pages": Table("pages.jsonl", "context_qa", "", _pages),
    "clips": Table("clips.json", "llava", "clips", _clips),
    "event_texts": Table("event_texts.json", "longalpaca", "", _event_texts),
    "benchmark_short": Table("short.jsonl", "multiple_choice", "benchmark_clips", _benchmark_short),
    "benchmark_long": Table("long.jsonl", "multiple_choice", "benchmark_clips", _benchmark_long),
}


def book_instruction(title: str, context: str, question: str) -> str:
    """Context and question in the wrapper that LongAlpaca has around books."""
    return (
        f"Below is some paragraphs in the book, {title}. Memorize the content and answer my question after the book."
        f"\n{context}\nNow the material ends. {question}"
    )


def _rng(data_seed: int, table: str, index: int) -> Random:
    """A generator for one record, so that the first records of a table do not depend on how many follow."""
    return Random(f"{data_seed}/{table}/{index}")


def _shuffled(values: Sequence[T], rng: Random) -> list[T]:
    return rng.sample(values, len(values))


def _dealt(values: Sequence[T], rng: Random) -> Iterator[T]:
    """Values in random order, each once before any comes again."""
    while True:
        yield from _shuffled(values, rng)


def _ask_any(kind: str, lengths: Sequence[int], rng: Random, *, held_out: bool | None = None) -> tuple[Question, Scene]:
    length = _length(lengths, kind, rng)
    return _ask(kind, rng.choice(kind_answers(kind, length)), length, rng, held_out=held_out)


def _ask(kind: str, answer: str, num_events: int, rng: Random, *, held_out: bool | None) -> tuple[Question, Scene]:
    while True:
        question, scene = ask(kind, answer, num_events, rng)
        if held_out is None or is_held_out(scene) == held_out:
            return question, scene


def is_held_out(scene: Scene) -> bool:
    """Whether clips of a scene are for benchmarks alone: one scene in eight; none of them is trained on.

    The directions do not count, so that a start that is held out says nothing about the direction.
    """
    starts = [(event.colour, event.shape, event.column, event.row) for event in scene]
    return hash_key(0, str(starts))[0] % HELD_OUT_ONE_IN == 0


def _length(lengths: Sequence[int], kind: str, rng: Random) -> int:
    """One of the lengths at which questions of the kind ask for something."""
    return rng.choice([length for length in lengths if length >= MIN_EVENTS.get(kind, 1)])


def _phrase(question: Question, scene: Scene, settings: WorldSettings, rng: Random) -> tuple[str, str]:
    """Question and answer as a video data set has them: in one of few wordings."""
    answer = question.answer(scene)
    assert answer is not None
    return question.words(rng.randrange(settings.clip_phrasings)), answer


def _conversation(media: str, turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    messages = [
        {"from": speaker, "value": text} for turn in turns for speaker, text in zip(("human", "gpt"), turn, strict=True)
    ]
    messages[0]["value"] = f"{media}\n{messages[0]['value']}"
    return messages
