"""A run that starts from an experiment's model says so rather than leave its own checkpoint unused."""

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from sparrow.app.parent import check_parent
from sparrow.app.parent import compose_parent as compose_parent_in_app
from sparrow.core.errors import ConfigError


def compose_parent(config):
    with initialize_config_module("sparrow.conf", version_base="1.3"):
        return compose_parent_in_app(config)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["backbone.tiny=false", "backbone.checkpoint=/models/mine"], r"backbone\.tiny=False \(there True\)"),
        (["backbone=smolvlm_256m"], r"backbone\.family=smolvlm \(there idefics3\)"),
    ],
)
def test_another_backbone_than_that_of_the_model_it_starts_from_is_refused(settings, overrides, said):
    with pytest.raises(ConfigError, match=said):
        compose_parent(settings("experiment=quickstart", *overrides, small=False))


def test_overrides_give_both_the_same_backbone(settings):
    config = settings("experiment=quickstart", "backbone=smolvlm_256m", small=False)
    config.start_from.overrides = ["backbone=smolvlm_256m"]
    assert compose_parent(config).backbone.family == "smolvlm"


def test_paths_may_hold_an_apostrophe(settings):
    config = settings("experiment=quickstart", small=False)
    config.paths.cache_root = "/tmp/o'brien, a=b"
    assert compose_parent(config).paths == config.paths


def faults(config):
    with initialize_config_module("sparrow.conf", version_base="1.3"):
        return list(check_parent(config))


@pytest.mark.parametrize(
    ("experiment", "overrides", "said"),
    [
        (
            "world_pretrainin",
            [],
            "experiment=world_pretrainin: there is no such choice; did you mean 'world_pretraining'?",
        ),
        ("world_pretraining", ["mixture.num_sample=4"], "mixture.num_sample: unknown key; did you mean 'num_samples'?"),
        (
            "world_pretraining",
            ["batching.num_epochs=0"],
            "experiment=world_pretraining has 1 problem in the configuration:\n  "
            "batching.num_epochs: must be at least 1, is 0",
        ),
        ("world_pretraining", ["mixture=(", "seed=1"], "Error parsing override 'mixture=('"),
        (
            "quickstart",
            [],
            "experiment=quickstart itself starts from experiment=world_pretraining; name one that starts from none, "
            "or add 'start_from.experiment=null' to start_from.overrides",
        ),
    ],
)
def test_what_is_wrong_with_the_run_it_starts_from_is_a_problem_of_its_settings(settings, experiment, overrides, said):
    config = settings("experiment=quickstart", small=False)
    config.start_from.experiment, config.start_from.overrides = experiment, overrides
    assert faults(config) == [("start_from", said)]


def test_a_gate_of_a_benchmark_that_is_not_asked_there_is_refused(settings):
    config = settings("experiment=scale_model/claim", small=False)
    assert not faults(config)
    config.start_from.gates["world_page"] = 0.5
    [(key, said)] = faults(config)
    assert key == "start_from.gates.world_page"
    assert "is not among the benchmarks of experiment=scale_model_stage0 (" in said
    assert said.endswith("did you mean 'world_pages'?")


def test_gates_of_a_run_that_is_not_asked_after_training_are_refused(settings):
    config = settings("experiment=scale_model/claim", small=False)
    config.start_from.overrides = [*config.start_from.overrides, "evaluation.after=false"]
    [(key, said)] = faults(config)
    assert key == "start_from.gates"
    assert said.endswith("evaluation.after=false in experiment=scale_model_stage0; set it true in start_from.overrides")


@pytest.mark.parametrize(
    ("experiment", "overrides"),
    [
        ("quickstart", []),
        ("scale_model/claim", ["trainer.accelerator=gpu"]),
        ("scale_model/pages", ["seed=3"]),
        ("scale_model/size", ["backbone.tiny_width=4", "trainer.accelerator=gpu"]),
    ],
)
def test_what_an_experiment_starts_from_has_its_backbone_seed_and_accelerator(settings, experiment, overrides):
    config = settings(f"experiment={experiment}", *overrides, small=False)
    parent = compose_parent(config)
    assert (parent.backbone, parent.seed) == (config.backbone, config.seed)
    assert parent.trainer.accelerator == config.trainer.accelerator


def test_the_run_it_starts_from_may_lie_in_a_folder_that_the_command_was_told_of(settings, tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [world_pretraining]\nbatching: {num_epochs: 7}\n"
    )
    typed = ["experiment=quickstart", f"hydra.searchpath=[file://{tmp_path}]"]
    config = settings(*typed, small=False)
    config.start_from.experiment = "mine"
    assert "experiment=mine: there is no such choice" in faults(config)[0][1]
    with initialize_config_module("sparrow.conf", version_base="1.3"):
        monkeypatch.setattr(HydraConfig.instance(), "cfg", compose("train", typed, return_hydra_config=True))
    assert compose_parent(config).batching.num_epochs == 7
