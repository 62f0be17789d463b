from dataclasses import replace

import pytest

from sparrow.core.errors import ConfigError
from sparrow.core.settings import identity, run_id, validated
from sparrow.data.settings import Mixture, Source
from sparrow.models.settings import BackboneSettings
from sparrow.runs.settings import Paths
from sparrow.settings import ExperimentConfig


def test_run_id_holds_what_determines_the_result_and_nothing_else():
    base = ExperimentConfig()
    where = replace(base, paths=Paths(data_root="a", output_root="b", cache_root="c"))
    faster = replace(base, trainer=replace(base.trainer, devices=8), batching=replace(base.batching, num_workers=9))
    assert run_id(base) == run_id(where) == run_id(faster)
    others = [
        replace(base, seed=1),
        replace(base, data_seed=1),
        replace(base, optimizer=replace(base.optimizer, learning_rate=1e-4)),
        replace(base, trainer=replace(base.trainer, precision="32-true")),
        replace(base, mixture=Mixture(num_samples=5)),
    ]
    assert len({run_id(c) for c in [base, *others]}) == len(others) + 1


def test_a_setting_added_later_enters_the_run_id_only_where_it_is_set():
    base = ExperimentConfig(backbone=BackboneSettings(family="idefics3"))
    assert run_id(replace(base, backbone=replace(base.backbone, tiny_width=1))) == run_id(base)
    assert run_id(replace(base, backbone=replace(base.backbone, tiny_width=2))) != run_id(base)


def test_settings_made_by_hand_report_all_their_problems_at_once():
    with pytest.raises(
        ConfigError, match=r"converter: 'llama' is not one of .*\nuse_world: expected bool, found 'maybe'"
    ):
        Source("llama", root=".", use_world="maybe")


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"sed": 1}, {"source": {"a": {"converter": "alpaca"}}}])
def test_code_of_ones_own_is_not_imported_beside_other_wrong_values(tmp_path, monkeypatch, wrong):
    (tmp_path / "slow_backbone.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    paths = dict.fromkeys(("data_root", "output_root", "cache_root"), ".")
    own = {"paths": paths, "backbone": {"family": "slow_backbone.Own"}}
    (beside,) = validated(ExperimentConfig, own | wrong)
    assert beside.key in ("seed", "sed", "source.a.root")
    (alone,) = validated(ExperimentConfig, own)
    assert "the backbone family 'slow_backbone.Own' cannot be imported (ZeroDivisionError" in alone.what


def test_the_old_place_of_settings_still_finds_them_with_a_warning():
    with pytest.warns(FutureWarning, match=r"sparrow\.core\.config\.Source is now sparrow\.data\.settings\.Source"):
        from sparrow.core.config import Source as Moved
    assert Moved is Source


def test_a_default_that_changed_enters_the_run_id_as_the_former_one():
    base = ExperimentConfig()
    engines = {name: replace(base.text_to_image, layout_engine=name) for name in ("auto", "basic", "raqm")}
    ids = {name: run_id(replace(base, text_to_image=style)) for name, style in engines.items()}
    assert base.text_to_image.layout_engine == "auto"
    assert run_id(base) == ids["auto"] == ids["basic"] != ids["raqm"]
    assert identity(base)["text_to_image"]["layout_engine"] == "basic"
    assert identity(base, whole=True)["text_to_image"]["layout_engine"] == "auto"
    assert "augment" not in identity(base)["text_to_image"]
