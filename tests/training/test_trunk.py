"""Sizes of a study that share their first steps: the same models as runs by themselves, for fewer steps."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sparrow.commands.train import train
from sparrow.core.errors import ConfigError
from sparrow.runs.record import RunRecord
from sparrow.training.checkpoints import SaveCheckpoints
from tests.conftest import losses_of

SHARED = ["schedule=wsd", "schedule.decay_ratio=0.25", "batching.nested_order=true"]


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def runs(settings, tmp_path_factory):
    """Runs of 3, 5 and 8 steps, in two folders each: sharing steps, and by themselves."""
    root, cache = tmp_path_factory.mktemp("trunk"), tmp_path_factory.mktemp("cache")
    for size in (24, 40, 64):
        config = settings(*SHARED, "study.trunk=true", f"mixture.num_samples={size}", f"paths.cache_root={cache}")
        train(config, root / f"shared_{size}", name="shared")
        train(replace(config, study=replace(config.study, trunk=False)), root / f"alone_{size}", name="alone")
    return root


@pytest.mark.parametrize(("size", "taken_over"), [(24, 0), (40, 2), (64, 3)])
def test_a_size_goes_on_from_the_smaller_one_to_the_model_of_a_run_by_itself(runs, size, taken_over):
    record = RunRecord.load(runs / f"shared_{size}")
    assert (record.num_steps_taken_over, record.num_steps_done) == (taken_over, size // 8)
    own, alone = losses_of(runs / f"shared_{size}"), losses_of(runs / f"alone_{size}")
    assert own.items() <= alone.items() and len(own) == len(alone) - taken_over
    for name, tensor in weights(runs / f"alone_{size}").items():
        assert torch.equal(tensor, weights(runs / f"shared_{size}")[name]), name


def test_a_run_that_is_killed_in_its_decay_resumes_exactly(settings, runs, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    options = [*SHARED, "study.trunk=true", f"paths.cache_root={cache}", "checkpointing.every_n_steps=1"]
    train(settings(*options, "mixture.num_samples=24"), tmp_path / "smaller", name="smaller")
    config = settings(*options, "mixture.num_samples=64")

    def killed_after_seven(self, trainer):
        if trainer.global_step == 7:
            raise KeyboardInterrupt
        save(self, trainer)

    save = SaveCheckpoints.save
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(SaveCheckpoints, "save", killed_after_seven)
        train(config, tmp_path / "larger", name="larger")
    record = train(config, tmp_path / "larger", name="larger")
    assert (record.num_steps_taken_over, record.num_steps_done) == (2, 8)
    for name, tensor in weights(runs / "alone_64").items():
        assert torch.equal(tensor, weights(tmp_path / "larger")[name]), name


def test_other_settings_share_nothing(settings, tmp_path):
    options = [*SHARED, "study.trunk=true", f"paths.cache_root={tmp_path / 'cache'}"]
    train(settings(*options, "mixture.num_samples=24"), tmp_path / "smaller", name="smaller")
    record = train(
        settings(*options, "mixture.num_samples=64", "optimizer.learning_rate=0.001"), tmp_path / "larger", name="other"
    )
    assert record.num_steps_taken_over == 0
    shutil.rmtree(tmp_path / "cache" / "trunks")


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("batching.nested_order=false", "study.trunk.*nested_order=true"),
        ("schedule=cosine", "study.trunk.*schedule=wsd"),
        ("schedule.warmup_steps=null", "study.trunk.*warmup_steps"),
        ("batching.num_epochs=2", "nested_order.*one pass"),
        ("batching=length_grouped", "nested_order.*packed or padded"),
        ("mixture.components.video.repeat=2", "video.*repeat=1"),
    ],
)
def test_what_sizes_cannot_share_is_refused(settings, override, what):
    with pytest.raises(ConfigError, match=f"(?s){what}"):
        settings(*SHARED, "study.trunk=true", override)
