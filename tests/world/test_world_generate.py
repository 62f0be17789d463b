import json
import re
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from typing import get_args

import pytest

from sparrow.core.errors import ConfigError
from sparrow.core.hashing import content_hash
from sparrow.world import TABLES, world_texts
from sparrow.world.other_words import in_other_words
from sparrow.world.phrasings import CAPTION_REQUESTS, NUM_PHRASINGS, NUM_TRAINED_PHRASINGS
from sparrow.world.scene_questions import QUESTIONS, VALUES
from sparrow.world.settings import BenchmarkTable, SourceTable, WorldSettings
from sparrow.world.write import GENERATOR_VERSION

SETTINGS = WorldSettings(
    num_stills=300,
    num_pages=300,
    num_clips=600,
    num_clips_all_kinds=600,
    num_event_texts=600,
    num_benchmark_clips=240,
)
BENCHMARKS = ("benchmark_short", "benchmark_long")
KIND_OF = {
    question.words(number): (kind, number)
    for kind, questions in QUESTIONS.items()
    for question in questions
    for number in range(NUM_PHRASINGS)
}


def records(name, settings=SETTINGS, data_seed=0):
    return [record for record, _ in TABLES[name].rows(settings, data_seed)]


def turns(record):
    values = [
        message["value"].removeprefix("<video>\n").removeprefix("<image>\n") for message in record["conversations"]
    ]
    return list(zip(values[::2], values[1::2], strict=True))


def test_settings_offer_the_tables_that_there_are():
    assert list(TABLES) == [*get_args(SourceTable), *get_args(BenchmarkTable)]
    assert [name for name, table in TABLES.items() if table.schema == "multiple_choice"] == [*get_args(BenchmarkTable)]


def test_records_stay_the_same_for_a_generator_version():
    """If this fails on purpose, raise GENERATOR_VERSION with it, or old caches will be taken for the new world."""
    small = WorldSettings(
        num_stills=3, num_pages=3, num_clips=5, num_clips_all_kinds=5, num_event_texts=5, num_benchmark_clips=6
    )
    digest = content_hash({name: [[r, s] for r, s in table.rows(small, 0)] for name, table in TABLES.items()})
    assert (GENERATOR_VERSION, digest) == (7, "f7e89c584483fdf9")


@pytest.mark.parametrize("name", TABLES)
def test_tables_depend_on_seed_and_settings_alone_and_grow_at_the_end(name):
    assert records(name) == records(name)
    assert records(name) != records(name, data_seed=1)
    sizes = [field for field in asdict(SETTINGS) if field.startswith("num_")]
    fewer = replace(SETTINGS, **dict.fromkeys(sizes, 50))
    assert records(name, fewer) == records(name)[:50]


@pytest.mark.parametrize(
    ("name", "media", "placeholder"),
    [("stills", "image", "<image>"), ("clips", "video", "<video>"), ("clips_all_kinds", "video", "<video>")],
)
def test_conversations_have_the_schema_of_llava(name, media, placeholder):
    rows = records(name)
    assert len({row["id"] for row in rows}) == len({row[media] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"id", media, "conversations"}
        assert [m["from"] for m in row["conversations"]] == ["human", "gpt"] * (len(row["conversations"]) // 2)
        assert row["conversations"][0]["value"].startswith(placeholder + "\n")
        assert json.dumps(row).count(placeholder) == 1
        assert 1 <= len(turns(row)) <= 3
    assert sum(len(turns(row)) for row in rows) / len(rows) > 2


def test_clips_ask_common_kinds_in_few_words_and_end_with_few_captions():
    asked = [question for row in records("clips") for question, _ in turns(row)]
    questions = [question for question in asked if question not in CAPTION_REQUESTS]
    assert {KIND_OF[question][0] for question in questions} == {"colour", "shape", "direction"}
    assert {KIND_OF[question][1] for question in questions} == {0, 1}
    captioned = [row for row in records("clips") if turns(row)[-1][0] in CAPTION_REQUESTS]
    assert len(captioned) == len(asked) - len(questions)  # only ever the last turn
    assert 0.06 < len(captioned) / SETTINGS.num_clips < 0.14


def test_rare_kinds_come_first_in_their_share_of_clips():
    settings = replace(SETTINGS, num_clips=2000, clip_rare_share=0.1, clip_rare_kinds=["last", "count"])
    leads = Counter(KIND_OF[turns(row)[0][0]][0] for row in records("clips", settings))
    assert 0.08 < (leads["last"] + leads["count"]) / 2000 < 0.12
    assert set(leads) == {"colour", "shape", "direction", "last", "count"}


def test_event_texts_have_many_templates_and_the_wrapper_of_books():
    rows = records("event_texts")
    assert len({row["instruction"] for row in rows}) == len(rows)
    openings, kinds = set(), set()
    for row in rows:
        head, *events, tail = row["instruction"].split("\n")
        assert head.startswith("Below is some paragraphs in the book, ")
        assert head.endswith(". Memorize the content and answer my question after the book.")
        assert len(events) in SETTINGS.text_events
        assert all(len(event.split()) == 5 for event in events)
        assert tail.startswith("Now the material ends. ")
        assert len(row["output"].split()) == 1
        [(kind, number)] = {KIND_OF[words] for words in KIND_OF if words in tail}
        kinds.add(kind)
        openings.add((kind, number, len(tail.split())))
        assert number < NUM_TRAINED_PHRASINGS
    assert kinds == set(SETTINGS.text_kinds)
    assert len(openings) > 150


def test_one_template_and_chosen_kinds_are_kept_to():
    rows = records("event_texts", replace(SETTINGS, text_templates=1, text_kinds=("count", "first")))
    asked = {row["instruction"].split("Now the material ends. ")[1] for row in rows}
    assert {KIND_OF[question] for question in asked} == {("count", 0), ("first", 0)}


def test_broad_clips_ask_what_event_texts_ask():
    rows = records("clips_all_kinds")
    leads = [KIND_OF[turns(row)[0][0]] for row in rows]
    assert {kind for kind, _ in leads} == set(SETTINGS.text_kinds)
    assert {number for _, number in leads} == set(range(NUM_TRAINED_PHRASINGS))


def test_controls_of_event_texts_change_one_thing_each():
    by_table = {
        name: [row["instruction"].split("Now the material ends. ")[1] for row in records(name)]
        for name in TABLES
        if name.startswith("event_texts")
    }
    kinds = {
        name: {KIND_OF[words][0] for words in KIND_OF for asked in all_asked if words in asked}
        for name, all_asked in by_table.items()
    }
    assert kinds["event_texts_common"] == set(SETTINGS.clip_kinds)
    assert kinds["event_texts_one_template"] == kinds["event_texts"] == set(SETTINGS.text_kinds)
    assert {KIND_OF[asked][1] for asked in by_table["event_texts_one_template"]} == {0}
    assert len({len(asked.split()) for asked in by_table["event_texts_common"]}) > 10


def test_texts_in_other_words_name_nothing_of_the_world():
    things = {value for key in ("colour", "shape", "direction") for value in VALUES[key]} | {"colour", "shape"}
    for row, other in zip(records("event_texts"), records("event_texts_other_words"), strict=True):
        context = other["instruction"].split("\n", 1)[1]
        spoken = set(re.findall(r"[a-z]+", context.lower()))
        assert not (spoken - {"right"}) & things, other
        assert not re.search(r"moves? right|to the right|, right\b", context), other
        assert len(other["instruction"].split()) == len(row["instruction"].split())
        assert (other["output"] == row["output"]) == (row["output"] in {*VALUES["number"], *VALUES["truth"]})
    assert in_other_words("What colour comes right before red?") == "What material comes right before wooden?"
    assert in_other_words("right") == "east"


def test_gates_ask_one_page_and_two_shapes():
    for row, scene in TABLES["benchmark_stills"].rows(SETTINGS, 0):
        kind, _, options, right = read_item(row)
        assert len(scene) == 2
        assert {getattr(event, kind) for event in scene} <= set(options.values())
        assert options[right] in {getattr(event, kind) for event in scene}
    for row, scene in TABLES["benchmark_pages"].rows(SETTINGS, 0):
        kind, _, options, right = read_item(row)
        [event] = scene
        assert options[right] == getattr(event, kind)


def test_pages_hold_their_answer():
    assert {KIND_OF[row["messages"][0]["content"][-1]["text"]][0] for row in records("pages")} == {
        "colour",
        "shape",
        "direction",
    }, "the benchmark asks any of them first"
    for row in records("pages"):
        shown, *_ = row["messages"][0]["content"]
        assert shown["type"] == "long_text"
        said = [message["content"][-1]["text"] for message in row["messages"]]
        assert len(said) == (2 if KIND_OF[said[0]][0] == "direction" else 4)
        for question, answer in zip(said[::2], said[1::2], strict=True):
            assert answer in shown["text"].rstrip(".").split()
            assert answer not in question.rstrip("?").split()


def read_item(record):
    question, *lines, instruction = record["prompt"].split("\n")
    assert instruction == "Answer with the option's letter from the given choices directly."
    options = dict(line.split(". ") for line in lines)
    assert list(options) == list("ABCD"[: len(options)])
    assert len(set(options.values())) == len(options)
    return record["category"], question, options, record["GT"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_are_balanced(name):
    rows = records(name)
    assert [row["question_id"] for row in rows] == list(range(len(rows)))
    assert len({row["video"] for row in rows}) == len(rows)
    items = [read_item(row) for row in rows]
    assert set(Counter(category for category, *_ in items).values()) == {240 // 6}
    answers, letters = defaultdict(Counter), defaultdict(Counter)
    for (category, question, options, right), (_, scene) in zip(items, TABLES[name].rows(SETTINGS, 0), strict=True):
        assert KIND_OF[question] == (category, 0)
        answers[category, len(scene)][options[right]] += 1
        letters[category, len(options)][right] += 1
    for counts in (*answers.values(), *letters.values()):
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_say_among_how_many_options_those_guess_who_know_nothing_of_order(name):
    settings = replace(SETTINGS, benchmark_kinds=("first", "last", "before", "after"))
    alone = 0
    for row, scene in TABLES[name].rows(settings, 0):
        kind, _, options, right = read_item(row)
        shown = {v for event in scene for v in (event.colour, event.shape)} & set(options.values())
        assert options[right] in shown
        assert row["groups"] == {"shown_options": str(len(shown))}
        if kind in ("before", "after") and len(scene) == 2:
            alone += 1
            assert len(shown) == 1, "the other one of two events"
    assert (alone > 0) == (name != "benchmark_long")


def test_benchmarks_can_ask_absent_kinds_in_unseen_words_about_the_same_lengths():
    settings = replace(SETTINGS, benchmark_kinds=("first", "before"), benchmark_phrasing=9)
    for name in BENCHMARKS:
        for row in records(name, settings):
            assert KIND_OF[read_item(row)[1]] == (row["category"], 9)


def test_benchmarks_do_not_change_with_the_training_tables():
    other = replace(
        SETTINGS, num_clips=5, clip_kinds=("last",), clip_rare_share=0.5, text_templates=1, clip_phrasings=1
    )
    for name in BENCHMARKS:
        assert records(name, other) == records(name)


def guesses(seen):
    """Blind strategies, fitted on another world: the choice each makes from category, question and options alone."""
    letters, answers, words, prior = (defaultdict(Counter) for _ in range(4))
    shown = Counter()
    for category, question, options, right in seen:
        letters[category][right] += 1
        answers[category][options[right]] += 1
        words[question][options[right]] += 1
        prior[len(options)][options[right]] += 1
        shown.update(options.values())

    def best(counts):
        return lambda options: max(options, key=lambda letter: counts[options[letter]])

    return {
        "most frequent letter": lambda c, q, options: max(options, key=lambda letter: letters[c][letter]),
        "most frequent answer of the category": lambda c, q, options: best(answers[c])(options),
        "most frequent answer to the question": lambda c, q, options: best(words[q])(options),
        "most frequent right option": lambda c, q, options: best(prior[len(options)])(options),
        "option offered most": lambda c, q, options: best(shown)(options),
        "option offered least": lambda c, q, options: min(options, key=lambda letter: shown[options[letter]]),
        "first option": lambda c, q, options: "A",
        "last option": lambda c, q, options: max(options),
        "a word of the question": lambda c, q, options: best(Counter(q.strip("?").split()))(options),
    }


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "benchmark_long" else []) for name in BENCHMARKS]
)
def test_a_blind_guesser_stays_within_the_bound_of_chance(name):
    many = replace(SETTINGS, num_benchmark_clips=2400)
    seen = [read_item(record) for record in records(name, many, data_seed=1)]
    items = [read_item(record) for record in records(name, many, data_seed=2)]
    for strategy, guess in guesses(seen).items():
        for categories in (set(many.benchmark_kinds), *({kind} for kind in many.benchmark_kinds)):
            asked = [item for item in items if item[0] in categories]
            hits = sum(guess(c, q, options) == right for c, q, options, right in asked)
            chances = [1 / len(options) for _, _, options, _ in asked]
            deviation = sum(p * (1 - p) for p in chances) ** 0.5
            # 95 % over all items; the six categories share that error, hence the wider 99 % each.
            bound = sum(chances) + (1.96 if len(categories) > 1 else 2.58) * deviation
            assert hits <= bound, (strategy, categories, hits, bound)


def test_the_start_does_not_give_the_direction_away():
    settings = replace(SETTINGS, num_benchmark_clips=2000, clip_events=(1,), benchmark_kinds=("direction",))
    seen, asked = (
        [
            ((scene[0].column, scene[0].row), scene[0].direction)
            for _, scene in TABLES["benchmark_short"].rows(settings, seed)
        ]
        for seed in (1, 2)
    )
    most = defaultdict(Counter)
    for start, direction in seen:
        most[start][direction] += 1
    hits = sum(max(most[start], key=most[start].get) == direction for start, direction in asked)
    assert hits <= len(asked) / 4 + 1.96 * (len(asked) * 3 / 16) ** 0.5


def test_settings_name_all_faults_at_once():
    with pytest.raises(ConfigError) as error:
        WorldSettings(
            num_clips=-1, frame_size_px=50, text_kinds=("colour", "smell"), clip_events=(1,), text_templates=99
        )
    for part in ("num_clips", "frame_size_px", "text_kinds", "clip_events", "text_templates"):
        assert f"{part}" in str(error.value)


def test_scenes_too_long_to_be_asked_about_are_refused():
    with pytest.raises(ConfigError, match=r"long_events\[1\]: must lie between 1 and 24, is 64"):
        WorldSettings(long_events=[4, 64])


def test_texts_for_the_tokenizer_hold_every_word_of_every_table():
    settings = replace(SETTINGS, clip_phrasings=8, benchmark_phrasing=9)
    spoken = set(" ".join(world_texts()).split())
    for name in TABLES:
        for record in records(name, settings):
            texts = [
                record[key]
                for key in ("context", "question", "answer", "instruction", "output", "prompt")
                if key in record
            ]
            texts += [text for turn in turns(record) for text in turn] if "conversations" in record else []
            unknown = {word for text in texts for word in text.split()} - spoken
            assert all(word.rstrip(".").isdigit() for word in unknown), unknown
    assert world_texts() == world_texts()


def test_no_benchmark_clip_is_a_training_clip():
    many = replace(SETTINGS, num_clips=4000, num_clips_all_kinds=4000)
    trained = {scene for name in ("clips", "clips_all_kinds") for _, scene in TABLES[name].rows(many, 0)}
    for name in ("benchmark_short", "benchmark_long"):
        asked = [scene for _, scene in TABLES[name].rows(replace(SETTINGS, num_benchmark_clips=300), 0)]
        assert not trained & set(asked)
