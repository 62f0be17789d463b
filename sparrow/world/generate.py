"""The tables of the world: records in the schemas of real sources, each with the scene that its media show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparrow.core.hashing import hash_key
from sparrow.world.other_words import in_other_words
from sparrow.world.phrasings import BOOK_TITLES, CAPTION_REQUESTS, NUM_PHRASINGS, NUM_TRAINED_PHRASINGS, WRAPPERS
from sparrow.world.scene_questions import MIN_EVENTS, SceneQuestion, ask, follow_ups, kind_answers
from sparrow.world.scenes import Scene, draw_frames, draw_page, draw_still, random_still_scene, tell
from sparrow.world.settings import COMMON_KINDS, MAX_STILL_SHAPES, BenchmarkTable, SourceTable, WorldSettings

Record = dict[str, Any]
Rows = Iterator[tuple[Record, Scene]]
Asked = tuple[SceneQuestion, Scene]
T = TypeVar("T")

MAX_TURNS = 3
HELD_OUT_ONE_IN = 8
LETTERS = "ABCD"
ANSWER_BY_LETTER = "Answer with the option's letter from the given choices directly."


@dataclass(frozen=True)
class WorldTable:
    """One file of the world.

    `schema` is the converter or benchmark format that reads it. Media paths are relative to `media_root`. `rows` makes
    the records from the settings and the data seed, `draw` the frames of a scene, uint8 [n, size, size, 3].
    """

    file: str
    schema: str
    media_root: str
    rows: Callable[[WorldSettings, int], Rows]
    draw: Callable[[Scene, int], NDArray[np.uint8]] = draw_frames


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
        lead, scene = _ask_page(rng)
        turns = [lead, *follow_ups([lead], scene, ["direction"], rng)]
        messages: list[dict[str, Any]] = [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for turn in turns
            for role, text in zip(("user", "assistant"), _phrase(turn, scene, settings, rng), strict=True)
        ]
        messages[0]["content"].insert(0, {"type": "long_text", "text": tell(scene)})
        yield {"id": f"page-{i:06d}", "messages": messages}, scene


def _clips(settings: WorldSettings, data_seed: int, name: str = "clips") -> Rows:
    for i in range(settings.num_clips):
        rng = _rng(data_seed, name, i)
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


def _clips_all_kinds(settings: WorldSettings, data_seed: int) -> Rows:
    """Clips whose first question is drawn as those of event texts are, as a broad video data set would be."""
    broad = replace(
        settings,
        num_clips=settings.num_clips_all_kinds,
        clip_rare_kinds=settings.text_kinds,
        clip_rare_share=1.0,
        clip_phrasings=NUM_TRAINED_PHRASINGS,
    )
    return _clips(broad, data_seed, "clips_all_kinds")


def _event_texts(settings: WorldSettings, data_seed: int, **changes: Any) -> Rows:
    settings = replace(settings, **changes)
    for i in range(settings.num_event_texts):
        rng = _rng(data_seed, "event_texts", i)
        question, scene = _ask_any(rng.choice(settings.text_kinds), settings.text_events, rng)
        wrapper, phrasing = divmod(rng.randrange(settings.text_templates), NUM_TRAINED_PHRASINGS)
        instruction = WRAPPERS[wrapper].format(question.words(phrasing))
        instruction = book_instruction(f"{rng.choice(BOOK_TITLES)}, Part {i + 1}", tell(scene), instruction)
        yield {"instruction": instruction, "output": question.answer(scene)}, scene


def _event_texts_other_words(settings: WorldSettings, data_seed: int) -> Rows:
    for record, scene in _event_texts(settings, data_seed):
        yield {key: in_other_words(text) for key, text in record.items()}, scene


def _benchmark(name: str, settings: WorldSettings, data_seed: int) -> Rows:
    """One question a clip, so that items are independent; kinds, answers and letters equally often."""
    lengths = settings.clip_events if name == "short" else settings.long_events
    rng = _rng(data_seed, f"benchmark_{name}", 0)
    kinds = _dealt(settings.benchmark_kinds, rng)
    answers: dict[tuple[str, int], Iterator[str]] = {}
    places: dict[tuple[str, int], Iterator[int]] = {}
    for i in range(settings.num_benchmark_clips):
        kind = next(kinds)
        length = _length(lengths, kind, rng)
        answer = next(answers.setdefault((kind, length), _dealt(kind_answers(kind, length), rng)))
        question, scene = _ask(kind, answer, length, rng, held_out=True)
        wrong = question.wrong_options(scene, rng)
        place = next(places.setdefault((kind, len(wrong)), _dealt(range(len(wrong) + 1), rng)))
        video = f"{name}_{i:05d}.mp4"
        yield _item(i, video, question, scene, [*wrong[:place], answer, *wrong[place:]], settings), scene


def _benchmark_rephrased(settings: WorldSettings, data_seed: int) -> Rows:
    """The clips of the short benchmark, asked about in the last wording, which is never trained on."""
    return _benchmark("short", replace(settings, benchmark_phrasing=NUM_PHRASINGS - 1), data_seed)


def _easy_items(name: str, make: Callable[[Random], Asked], settings: WorldSettings, data_seed: int) -> Rows:
    """Questions as they are drawn, unlike `_benchmark`, whose answers and letters are dealt."""
    for i in range(settings.num_benchmark_clips):
        rng = _rng(data_seed, f"benchmark_{name}s", i)
        question, scene = make(rng)
        options = question.wrong_options(scene, rng)
        options.insert(rng.randrange(len(options) + 1), _answer(question, scene))
        yield _item(i, f"{name}_{i:05d}", question, scene, options, settings), scene


def _ask_still(rng: Random) -> Asked:
    """Which of two colours goes with which of two shapes; guessing among those shown is right half the time."""
    scene = random_still_scene(MAX_STILL_SHAPES, rng)
    [question] = follow_ups([], scene, [rng.choice(("colour", "shape"))], rng)
    return question, scene


def _ask_page(rng: Random) -> Asked:
    """Whether a page with one event is read."""
    return _ask_any(rng.choice(COMMON_KINDS), (1,), rng)


def _item(
    i: int, media: str, question: SceneQuestion, scene: Scene, options: list[str], settings: WorldSettings
) -> Record:
    """A question; its group says among how many options one guesses who sees what is shown and nothing of its order."""
    shown = {value for event in scene for value in (event.colour, event.shape)}
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return {
        "question_id": i,
        "video": media,
        "prompt": "\n".join([question.words(settings.benchmark_phrasing), *lines, ANSWER_BY_LETTER]),
        "GT": LETTERS[options.index(_answer(question, scene))],
        "category": question.kind,
        "groups": {"shown_options": str(sum(option in shown for option in options))},
    }


_TEXTS: dict[SourceTable | BenchmarkTable, Callable[[WorldSettings, int], Rows]] = {
    "event_texts": _event_texts,
    "event_texts_common": lambda settings, seed: _event_texts(replace(settings, text_kinds=settings.clip_kinds), seed),
    "event_texts_one_template": partial(_event_texts, text_templates=1),
    "event_texts_other_words": _event_texts_other_words,
}
_items = partial(WorldTable, schema="multiple_choice")
TABLES: dict[SourceTable | BenchmarkTable, WorldTable] = {
    "stills": WorldTable("stills.json", "llava", "stills", _stills, draw_still),
    "pages": WorldTable("pages.jsonl", "messages", "", _pages),
    "clips": WorldTable("clips.json", "llava", "clips", _clips),
    "clips_all_kinds": WorldTable("clips_all_kinds.json", "llava", "clips_all_kinds", _clips_all_kinds),
    **{name: WorldTable(f"{name}.json", "longalpaca", "", rows) for name, rows in _TEXTS.items()},
    "benchmark_short": _items("short.jsonl", media_root="benchmark_clips", rows=partial(_benchmark, "short")),
    "benchmark_long": _items("long.jsonl", media_root="benchmark_clips", rows=partial(_benchmark, "long")),
    "benchmark_rephrased": _items("rephrased.jsonl", media_root="benchmark_clips", rows=_benchmark_rephrased),
    "benchmark_stills": _items(
        "stills.jsonl",
        media_root="benchmark_stills",
        rows=partial(_easy_items, "still", _ask_still),
        draw=draw_still,
    ),
    "benchmark_pages": _items(
        "pages_asked.jsonl",
        media_root="benchmark_pages",
        rows=partial(_easy_items, "page", _ask_page),
        draw=draw_page,
    ),
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


def _ask_any(kind: str, lengths: Sequence[int], rng: Random, *, held_out: bool | None = None) -> Asked:
    length = _length(lengths, kind, rng)
    return _ask(kind, rng.choice(kind_answers(kind, length)), length, rng, held_out=held_out)


def _ask(kind: str, answer: str, num_events: int, rng: Random, *, held_out: bool | None) -> Asked:
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


def _phrase(question: SceneQuestion, scene: Scene, settings: WorldSettings, rng: Random) -> tuple[str, str]:
    """Question and answer as a video data set has them: in one of few wordings."""
    return question.words(rng.randrange(settings.clip_phrasings)), _answer(question, scene)


def _answer(question: SceneQuestion, scene: Scene) -> str:
    answer = question.answer(scene)
    assert answer is not None
    return answer


def _conversation(media: str, turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    messages = [
        {"from": speaker, "value": text} for turn in turns for speaker, text in zip(("human", "gpt"), turn, strict=True)
    ]
    messages[0]["value"] = f"{media}\n{messages[0]['value']}"
    return messages
