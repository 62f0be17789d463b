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


@pytest.mark.parametrize("experiment", ["quickstart", "scale_model/claim"])
def test_the_experiments_have_the_backbone_of_what_they_start_from(settings, experiment):
    config = settings(f"experiment={experiment}", small=False)
    assert compose_parent(config).backbone == config.backbone
