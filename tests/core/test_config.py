from dataclasses import fields, replace

import pytest

from sparrow.core import config
from sparrow.core.settings import run_id
from sparrow.media.settings import FramePolicy, TextStyle
from sparrow.settings import ExperimentConfig
from sparrow.world import WorldSettings


@pytest.mark.parametrize(
    ("settings", "used"),
    [(config.World, WorldSettings), (config.TextToImage, TextStyle), (config.FramesSettings, FramePolicy)],
)
def test_settings_are_those_of_the_type_they_are_for(settings, used):
    def plain(value):
        return list(value) if isinstance(value, tuple) else value

    assert {name: plain(value) for name, value in vars(settings()).items()} == {
        f.name: plain(getattr(used(), f.name)) for f in fields(used)
    }


def test_run_id_holds_what_determines_the_result_and_nothing_else():
    base = ExperimentConfig()
    where = replace(base, paths=config.Paths(data_root="a", output_root="b", cache_root="c"))
    faster = replace(base, trainer=replace(base.trainer, devices=8), batching=replace(base.batching, num_workers=9))
    assert run_id(base) == run_id(where) == run_id(faster)
    others = [
        replace(base, seed=1),
        replace(base, data_seed=1),
        replace(base, optimizer=replace(base.optimizer, learning_rate=1e-4)),
        replace(base, trainer=replace(base.trainer, precision="32-true")),
        replace(base, mixture=config.Mixture(num_samples=5)),
    ]
    assert len({run_id(c) for c in [base, *others]}) == len(others) + 1
