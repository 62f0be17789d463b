"""A run that starts from an experiment's model says so rather than leave its own checkpoint unused."""

import pytest
from hydra import initialize_config_module

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
