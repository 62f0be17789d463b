"""`sparrow diversity` from sources to files, with awkward sources, and the small measure in every run's record."""

import csv
import json
import math
import re

import pytest
from PIL import Image

from sparrow.commands.diversity.figures import write_pictures
from sparrow.commands.diversity.measure import diversity_text, measure_diversity, write_diversity
from sparrow.commands.diversity.projection import project
from sparrow.commands.diversity.scatter_page import write_page
from sparrow.core.errors import ConfigError, DataError
from sparrow.data.settings import Mixture, Source
from sparrow.instructions import diversity_summary as diversity_record
from sparrow.instructions.diversity_summary import diversity_of
from sparrow.instructions.settings import METRICS
from sparrow.instructions.source_comparison import WHOLE, mixed
from sparrow.planning.run_inputs import prepare
from sparrow.runs.record import RunRecord
from sparrow.settings import DiversityConfig

HOSTILE = "Is </script><script>alert('x')</script> & \"this\" <b>bold</b>?"
AWKWARD = {
    "empty": ["<image>\nAnswer with the option's letter directly."] * 3,
    "single": ["Who is it?"],
    "repeated": ["Describe the image in detail."] * 12,
    "hostile": [HOSTILE, *(f"What is number {i} of the things?" for i in range(15))],
}


@pytest.fixture
def measure(settings):
    """Settings of the command: `measure("mixture=world/sparrow", ...)`."""
    return lambda *overrides: settings(*overrides, "num_resamples=4", config_name="diversity", schema=DiversityConfig)


@pytest.fixture
def awkward(measure, tmp_path):
    config = measure()
    config.mixture = Mixture()
    for name, questions in AWKWARD.items():
        records = [
            {"image": "x.png", "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": "a"}]}
            for q in questions
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
        config.source[name] = Source("llava", [f"{name}.json"], str(tmp_path))
    config.source = {name: config.source[name] for name in AWKWARD}
    return config


def finite(value):
    if isinstance(value, dict):
        return all(finite(item) for item in value.values())
    if isinstance(value, list):
        return all(finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def test_a_mixture_is_compared_with_its_components_and_a_benchmark(measure, tmp_path):
    config = measure("benchmark=[world/short]", "mixture.num_samples=36")
    sampled = measure_diversity(config)
    assert list(sampled.texts) == ["video", "text", WHOLE]
    sources = sampled.comparison.sources
    assert {measured.num_compared for measured in sources.values()} == {12}, "the twelve texts of 36 samples"
    assert sources[WHOLE].metrics["vendi_score"].value > 0
    assert sampled.comparison.coverage["world_short"]["video"].num_questions == 24
    write_diversity(sampled, config, tmp_path)
    stored = json.loads((tmp_path / "diversity.json").read_text())
    assert finite(stored)
    assert set(stored["sources"]["video"]["metrics"]) == set(METRICS) == set(stored["metrics"])
    with open(tmp_path / "diversity.csv") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * len(METRICS)
    assert all(float(line["low"]) <= float(line["value"]) <= float(line["high"]) for line in lines)
    told = diversity_text(sampled) + (tmp_path / "diversity.md").read_text()
    for metric in METRICS.values():
        assert metric.label in told
        assert metric.source in told
    assert "nan" not in told.lower().split()


def test_the_same_settings_measure_the_same(measure):
    one, again = (measure_diversity(measure()) for _ in range(2))
    assert one.texts == again.texts
    assert one.comparison == again.comparison
    assert measure_diversity(measure("data_seed=1")).texts != one.texts


def test_awkward_sources_have_values_and_are_told(awkward, tmp_path):
    sampled = measure_diversity(awkward)
    sources = sampled.comparison.sources
    assert {name: measured.num_compared for name, measured in sources.items()} == {
        "empty": 0,
        "single": 1,
        "repeated": 12,
        "hostile": 12,
    }
    assert sources["repeated"].num_distinct == 1
    assert sources["repeated"].metrics["vendi_score"].value == pytest.approx(1)
    assert sources["repeated"].metrics["template_rate"].value == 1
    assert any("not comparable" in note and "empty, single" in note for note in sampled.notes)
    assert any("fewer than num_instructions=5,000" in note for note in sampled.notes)
    write_diversity(sampled, awkward, tmp_path)
    assert finite(json.loads((tmp_path / "diversity.json").read_text()))
    assert "nan" not in diversity_text(sampled).lower().split()


def test_components_that_dividing_leaves_without_a_sample_are_noted(measure):
    sampled = measure_diversity(measure("mixture.num_samples=24", "sample_divisor=500"))
    assert any("leaves component 'text' without a sample" in note for note in sampled.notes)
    assert "text" not in sampled.texts


def test_pictures_and_page_of_awkward_sources(awkward, tmp_path):
    sampled = measure_diversity(awkward)
    planes = project(sampled, None, 0)
    written = write_pictures(sampled.comparison, planes, tmp_path)
    assert {path.name for path in written} == {
        f"{name}.{kind}" for name in ("t-sne", "pca", "templates", "overlap") for kind in ("png", "pdf")
    }
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 200
        else:
            assert path.read_bytes().startswith(b"%PDF")
    page = write_page(sampled, planes, tmp_path / "page.html", awkward).read_text()
    assert page.count("<script") == page.count("</script>") == 2, "no instruction becomes markup"
    assert not re.search(r"(?:src|href)\s*=|url\(", page), "nothing from outside"
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert HOSTILE in data["texts"][3]
    for plane in data["planes"]:
        assert [len(points) for points in plane["points"]] == [2 * len(texts) for texts in data["texts"]]
        assert all(0 <= place <= 4000 for points in plane["points"] for place in points)
    assert write_page(sampled, planes, tmp_path / "again.html", awkward).read_text() == page


@pytest.mark.parametrize("kept", [["empty"], ["single"], ["repeated"], ["empty", "single"]])
def test_few_or_equal_instructions_can_be_drawn(kept, awkward, tmp_path):
    awkward.source = {name: awkward.source[name] for name in kept}
    sampled = measure_diversity(awkward)
    planes = project(sampled, None, 0)
    write_pictures(sampled.comparison, planes, tmp_path)
    assert "NaN" not in write_page(sampled, planes, tmp_path / "page.html", awkward).read_text().split("<script>")[0]


def test_a_mixture_of_instructions_keeps_its_shares():
    texts = {"a": [f"a{i}" for i in range(50)], "b": [f"b{i}" for i in range(50)], "c": []}
    whole = mixed(texts, {"a": 20, "b": 10, "c": 5}, 30)
    assert len(whole) == 30
    for size in (6, 15, 30):
        assert sum(text.startswith("a") for text in whole[:size]) == pytest.approx(2 * size / 3, abs=1)
    assert len(mixed(texts, {"a": 1000, "b": 10, "c": 0}, 3000)) <= 52, "no more than the shares allow"
    assert mixed({"a": []}, {"a": 3}, 10) == []


def test_contradictions_are_refused_before_data_is_read(settings):
    with pytest.raises(ConfigError) as caught:
        settings(
            "num_instructions=0", "num_in_pictures=0", config_name="diversity", schema=DiversityConfig, small=False
        )
    message = str(caught.value)
    for part in (
        "3 problems",
        "num_instructions: must be at least 1",
        "num_in_pictures",
        "there is nothing to measure",
    ):
        assert part in message
    with pytest.raises(ConfigError, match=r"give the total as mixture\.num_samples"):
        settings("mixture.num_samples=null", "mixture.num_tokens=500", config_name="diversity", schema=DiversityConfig)


def test_missing_files_and_encoders_are_told(measure, awkward, tmp_path):
    awkward.source["single"].files = ["nowhere.json"]
    with pytest.raises(DataError, match=r"nowhere\.json"):
        measure_diversity(awkward)
    with pytest.raises(ConfigError, match=r"embedder\.model"):
        measure_diversity(measure("embedder=mpnet", f"embedder.model={tmp_path}/none"))


def test_every_records_measure_is_kept_and_read_back(settings, tmp_path, monkeypatch):
    prepared = prepare(settings())
    found = diversity_of(prepared.plan, prepared.sources, tmp_path)
    assert set(found.components) == {"video", "text"}
    assert set(found.mixture) == set(METRICS)
    monkeypatch.setattr(diversity_record, "_measure", lambda *_: pytest.fail("measured again"))
    assert diversity_of(prepared.plan, prepared.sources, tmp_path) == found
    record = RunRecord(run_id="x", name="x", command="train", diversity=found)
    record.save(tmp_path)
    assert RunRecord.load(tmp_path).diversity == found


def test_a_measure_that_fails_is_no_failure_of_the_run(settings, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(diversity_record, "sample_instructions", lambda *_, **__: 1 / 0)
    prepared = prepare(settings())
    assert diversity_of(prepared.plan, prepared.sources, tmp_path) is None
    assert "was not measured: ZeroDivisionError" in caplog.text
