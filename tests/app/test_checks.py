"""Contradictions between settings that compose: each is told with its key and what is wrong."""

from copy import deepcopy
from dataclasses import asdict, fields

import pytest

from sparrow.app.launching.slurm import SlurmValues
from sparrow.core.settings import validated
from sparrow.settings import ExperimentConfig, conflicts

VIDEO, TEXT = "mixture.components.video", "mixture.components.text"
ASKED = "benchmark.world_short"


@pytest.fixture(scope="module")
def composed(settings):
    """Settings without a fault: 24 samples, two thirds of them video and one third text, and one benchmark."""
    return asdict(settings("benchmark=[world/short]"))


def check(values):
    found = validated(ExperimentConfig, values, conflicts)
    return [(problem.key, problem.what) for problem in found] if isinstance(found, list) else []


def changed(config, changes):
    """A copy of settings in which keys have other values."""
    config = deepcopy(config)
    for key, value in changes.items():
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node[name]
        node[last] = value
    return config


FAULTS = [
    ({"mixture.num_frames": 9}, "mixture", "has several totals: num_samples, num_frames; keep one"),
    ({"mixture.num_samples": 0}, "mixture.num_samples", "must be at least 1, or null, is 0"),
    (
        {
            f"{part}.{name}": value
            for part in (VIDEO, TEXT)
            for name, value in (("fraction", None), ("remainder", True))
        },
        "mixture.components",
        "only one component can take the remainder",
    ),
    ({f"{TEXT}.num_samples": 8}, TEXT, "needs exactly one of num_samples, fraction and remainder"),
    ({f"{TEXT}.remainder": True}, TEXT, "needs exactly one of num_samples, fraction and remainder"),
    ({f"{TEXT}.fraction": None}, TEXT, "needs exactly one of num_samples, fraction and remainder"),
    (
        {f"{TEXT}.fraction": None, f"{TEXT}.num_samples": 0},
        f"{TEXT}.num_samples",
        "must be at least 1, or null, is 0; drop the component instead",
    ),
    ({f"{TEXT}.fraction": 1.5}, f"{TEXT}.fraction", "must lie between 0 and 1, or null, is 1.5"),
    ({f"{TEXT}.fraction": -0.5}, f"{TEXT}.fraction", "must lie between 0 and 1, or null, is -0.5"),
    (
        {"mixture.num_samples": None, f"{VIDEO}.fraction": None, f"{VIDEO}.num_samples": 16},
        "mixture.num_samples",
        "a total is needed for component 'text'",
    ),
    (
        {
            "mixture.num_samples": None,
            "mixture.num_tokens": 1000,
            f"{TEXT}.fraction": None,
            f"{TEXT}.num_samples": 8,
        },
        TEXT,
        "needs a fraction where the mixture's total is num_tokens",
    ),
    ({f"{TEXT}.repeat": 0}, f"{TEXT}.repeat", "must be at least 1, is 0"),
    ({f"{TEXT}.max_pages": 0}, f"{TEXT}.max_pages", "must be at least 1, or null, is 0"),
    ({f"{TEXT}.source": "nowhere"}, f"{TEXT}.source", "'nowhere' is not among the chosen sources (world_clips, "),
    (
        {"source.own": {"converter": "llava", "root": "", "use_world": True}, f"{TEXT}.source": "own"},
        "source.own.world",
        "no generated table of this source; set use_world=false",
    ),
    (
        {"source.world_clips.world": "benchmark_short"},
        "source.world_clips.world",
        "'benchmark_short' is not one of stills, pages, clips, ",
    ),
    ({f"{ASKED}.world": "nosuch"}, f"{ASKED}.world", "'nosuch' is not one of benchmark_short, "),
    ({f"{TEXT}.present_as": "video"}, f"{TEXT}.present_as", "'world_event_texts' has long texts; set it to pages or"),
    ({"mixture.components": {}}, "mixture.components", "is empty; choose a mixture"),
    (
        {"tuning.vision.learning_rate_multiplier": 0.0},
        "tuning.vision.learning_rate_multiplier",
        "must be above 0, is 0.0; set the part's mode to frozen",
    ),
    (
        {"tuning.projector.weight_decay": -0.1},
        "tuning.projector.weight_decay",
        "must not be negative, or null, is -0.1",
    ),
    (
        {f"tuning.{part}.mode": "frozen" for part in ("vision", "projector", "language_model")},
        "tuning",
        "every part is frozen",
    ),
    ({"tuning.lora.rank": 0}, "tuning.lora.rank", "must be at least 1, is 0"),
    (
        {f"{ASKED}.scoring": "letter_likelihood", f"{ASKED}.show_options": False},
        f"{ASKED}.show_options",
        "letters can only be scored where the options are shown",
    ),
    ({f"{ASKED}.world": None}, f"{ASKED}.world", "no generated table can take its place; set use_world=false"),
    ({f"{ASKED}.num_questions": 0}, f"{ASKED}.num_questions", "must be at least 1, or null, is 0"),
    ({"max_bad_fraction": 1.01}, "max_bad_fraction", "must lie between 0 and 1, is 1.01"),
    ({"max_bad_fraction": -0.01}, "max_bad_fraction", "must lie between 0 and 1, is -0.01"),
    ({"checkpointing.every_n_minutes": 0}, "checkpointing.every_n_minutes", "must be above 0, or null, is 0"),
    ({"optimizer.learning_rate": float("inf")}, "optimizer.learning_rate", "must be finite, is inf; to freeze a part"),
    ({"optimizer.weight_decay": float("nan")}, "optimizer.weight_decay", "must be finite, is nan"),
    ({"tuning.vision.weight_decay": float("inf")}, "tuning.vision.weight_decay", "must be finite, or null, is inf"),
    ({"text_to_image.line_spacing": float("inf")}, "text_to_image.line_spacing", "must be finite, is inf"),
    ({"start_from.gates": {"a": float("inf")}}, "start_from.gates.a", "must be finite, is inf"),
    ({"frames.fps": 2.0}, "frames.fps", "belongs to the policy 'fps'; set that, or fps to null"),
    ({f"{VIDEO}.frames": {"policy": "all", "fps": 2.0}}, f"{VIDEO}.frames.fps", "belongs to the policy 'fps'"),
    ({"world.clip_events": [True, 2]}, "world.clip_events[0]", "expected int, found True"),
    ({"text_to_image.augment.line_spacing": [1.0, True]}, "text_to_image.augment.line_spacing[1]", "found True"),
]


@pytest.mark.parametrize(("changes", "key", "message"), FAULTS)
def test_a_contradiction_is_the_only_one_that_is_told(composed, changes, key, message):
    found = check(changed(composed, changes))
    assert {where for where, _ in found} == {key}
    assert all(message in what for _, what in found), found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mixture.num_samples": 1},
        {f"{TEXT}.fraction": None, f"{TEXT}.remainder": True},
        {f"{TEXT}.fraction": 0.0, f"{VIDEO}.fraction": 1.0},
        {
            "mixture.num_samples": None,
            **{f"{part}.{name}": n for part in (VIDEO, TEXT) for name, n in (("fraction", None), ("num_samples", 1))},
        },
        {"mixture.num_samples": None, "mixture.num_tokens": 1000},
        {"source.world_clips.world": None, "source.world_clips.use_world": False},
        {f"{ASKED}.world": None, f"{ASKED}.use_world": False},
        {f"{ASKED}.scoring": "letter_likelihood", f"{ASKED}.show_options": True},
        {"max_bad_fraction": 0.0},
        {"max_bad_fraction": 1.0},
    ],
)
def test_what_does_not_contradict_itself_passes(composed, changes):
    assert check(changed(composed, changes)) == []


def test_a_fault_of_one_class_hides_none_of_another(composed):
    faults = {
        "tuning.vision.mode": "frozen",
        "tuning.projector.mode": "frozen",
        "tuning.language_model.mode": "frozen",
        "frames.policy": "fps",
        "optimizer.learning_rate": 0,
        f"{TEXT}.fraction": 0.5,
        "strategy.name": "single",
        "trainer.devices": 2,
        "study.primary": ["nowhere"],
    }
    expected = {"tuning", "frames.fps", "optimizer.learning_rate", "mixture", "strategy", "study.primary"}
    found = dict(check(changed(composed, faults)))
    assert set(found) == expected
    assert found["optimizer.learning_rate"].endswith("as in tuning.vision.mode=frozen")


def test_what_only_follows_from_a_contradiction_is_not_told(composed):
    assert [key for key, _ in check(changed(composed, {f"{TEXT}.fraction": None}))] == [TEXT]


@pytest.mark.parametrize("number", [2.5, True])
def test_a_number_is_no_text_where_whole_numbers_are_meant(number):
    given = {f.name: None for f in fields(SlurmValues)} | {"gpus_per_node": number}
    (problem,) = [p for p in validated(SlurmValues, given) if p.key == "gpus_per_node"]
    assert problem.what == f"expected int or str or null, found {number}"
    assert not any(p.key == "gpus_per_node" for p in validated(SlurmValues, given | {"gpus_per_node": "a100:1"}))
