"""Components drawn by their selection: nested, cached, part of what a run is, and refused where misspelt."""

import json

import numpy as np
import pytest

from sparrow.core.errors import ConfigError
from sparrow.core.settings import run_id
from sparrow.data.settings import Component, Source
from sparrow.data.sources import load_source
from sparrow.instructions.selection import SELECTIONS
from sparrow.planning import order as selecting
from sparrow.planning.order import selected_rows
from sparrow.planning.run_inputs import load_sources, prepare

ANSWER = {"role": "assistant", "content": "It stays."}
METHODS = ["hash", *SELECTIONS]


def rows_of(config):
    ledger = prepare(config).plan.ledger
    return {name: rows["sample_id"].tolist() for name, rows in ledger.groupby("component")}


def selected(settings, method, number, *more):
    each = [f"mixture.components.{name}.selection={method}" for name in ("video", "text")]
    return settings(*each, f"mixture.num_samples={number}", *more)


@pytest.mark.parametrize("method", METHODS)
def test_a_smaller_mixture_lies_inside_a_larger_one(method, settings):
    small, large = (rows_of(selected(settings, method, number)) for number in (12, 24))
    for name, ids in small.items():
        assert len(set(ids)) == len(ids)
        assert ids == large[name][: len(ids)]


def test_selections_draw_differently_and_are_part_of_the_run(settings):
    configs = [selected(settings, method, 48, "embedder.duplicate_similarity=0.6") for method in METHODS]
    assert len({run_id(config) for config in configs}) == len(METHODS)
    assert len({tuple(rows_of(config)["video"]) for config in configs}) == len(METHODS)


@pytest.mark.parametrize("method", SELECTIONS)
def test_an_order_is_read_from_the_cache(method, settings, tmp_path, monkeypatch):
    config = selected(settings, method, 24, f"paths.cache_root={tmp_path}")
    component = config.mixture.components["video"]
    data = load_sources(config, config.mixture.sources)[component.source]
    order = selected_rows(component, {component.source: data}, config)
    first = [next(order) for _ in range(5)]
    order.close()
    whole = list(selected_rows(component, {component.source: data}, config))
    assert whole[:5] == first
    assert sorted(whole) == list(range(len(data)))
    monkeypatch.setattr(selecting, "select", lambda *_, **__: pytest.fail("ordered again"))
    assert list(selected_rows(component, {component.source: data}, config)) == whole
    (file,) = (tmp_path / "selections").iterdir()
    assert np.load(file).tolist() == whole


@pytest.mark.parametrize("method", SELECTIONS)
def test_records_in_another_order_are_drawn_alike(method, settings, tmp_path):
    config = settings(f"paths.cache_root={tmp_path / 'cache'}")
    component = Component(source="asked", num_samples=1, selection=method)

    def drawn(numbers):
        records = [
            {
                "id": f"r{i}",
                "messages": [{"role": "user", "content": f"What does number {i % 17} do{' now' * i}?"}, ANSWER],
            }
            for i in numbers
        ]
        (tmp_path / "asked.json").write_text(json.dumps(records))
        source = Source(root=str(tmp_path), files=["asked.json"], converter="messages")
        data = load_source("asked", source, cache_root=tmp_path / "cache")
        return [data.ids[row] for row in selected_rows(component, {component.source: data}, config)]

    assert drawn(range(30)) == drawn(reversed(range(30)))


def test_components_of_one_source_share_nothing_whatever_their_selections(settings):
    other = "{source: world_clips, num_samples: null, fraction: 0.3333333333333333, selection: hash}"
    config = settings(f"mixture.components.text={other}".replace(" ", ""), "mixture.components.video.selection=kcenter")
    ids = rows_of(config)
    assert len(ids["video"]) + len(ids["text"]) == 24
    assert not set(ids["video"]) & set(ids["text"])


def test_wrong_settings_are_refused_together(settings):
    with pytest.raises(ConfigError) as caught:
        selected(
            settings, "best", 24, "embedder.name=word2vec", "embedder.pooling=max", "embedder.duplicate_similarity=2"
        )
    message = str(caught.value)
    assert "5 problems" in message
    for part in (
        "'best' is not one of kcenter, cluster_balanced, dedup, hash",
        "'word2vec'",
        "'max'",
        "duplicate_similarity: must be at most 1",
    ):
        assert part in message


def test_the_experiment_plans_each_selection_at_the_same_budget(settings, tmp_path):
    first = "mixture.components.video.selection"
    plans = {}
    for method in METHODS:
        config = settings("experiment=ablation/selection", "scale=tiny", f"{first}={method}", small=False)
        assert {component.selection for component in config.mixture.components.values()} == {method}
        config.batching.num_workers = 0
        plans[method] = prepare(config).plan
    assert len({tuple(plan.ledger.groupby("component").size().items()) for plan in plans.values()}) == 1
    assert len({plan.content_hash for plan in plans.values()}) > 1
