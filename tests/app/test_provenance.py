"""Where a setting was written, also where its value refers to another one."""

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from sparrow.app.entry import set_up
from sparrow.app.provenance import is_typed, origin_of
from sparrow.app.remember_sweep import RememberSweep


@pytest.fixture
def typed(monkeypatch):
    """Compose `train` as if overrides had been typed; Hydra's own settings with it."""
    set_up()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.setattr(RememberSweep, "swept_keys", None)

    def compose_train(*overrides):
        with initialize_config_module("sparrow.conf", version_base="1.3"):
            composed = compose("train", overrides=list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        return composed

    return compose_train


def test_values_that_refer_to_others_are_typed_like_any(typed):
    composed = typed("batching.micro_batch_size_samples=${.global_batch_size_samples}", "seed=${oc.env:NOT_SET}")
    assert is_typed("batching.micro_batch_size_samples")
    assert origin_of("seed") == " (on the command line)"
    assert not is_typed("data_seed")
    RememberSweep().on_multirun_start(composed)
    assert RememberSweep.swept_keys == ()
