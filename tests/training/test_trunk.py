"""Sizes of a study that share their first steps: the same models as runs by themselves, for fewer steps."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sparrow.commands.train import train
from sparrow.core.errors import ConfigError
from sparrow.runs.record import RunRecord
from sparrow.training import trunk as trunk_module
from sparrow.training.checkpoints import SaveCheckpoints
from sparrow.training.trunk import Trunk
from tests.conftest import SMALL_RUN, losses_of
from tests.forks import run_ranks

SHARED = ["schedule=wsd", "schedule.decay_ratio=0.25", "batching.nested_order=true"]


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def runs(settings, tmp_path_factory):
    """Runs of 3, 5 and 8 steps that share steps, and one of 8 steps by itself."""
    root = tmp_path_factory.mktemp("trunk")
    for size in (24, 40, 64):
        config = settings(*SHARED, "study.trunk=true", f"mixture.num_samples={size}", f"paths.cache_root={root}")
        train(config, root / f"shared_{size}", name="shared")
    train(replace(config, study=replace(config.study, trunk=False)), root / "alone_64", name="alone")
    return root


def test_a_size_goes_on_from_the_smaller_one_to_the_model_of_a_run_by_itself(runs):
    records = [RunRecord.load(runs / f"shared_{size}") for size in (24, 40, 64)]
    assert [(r.num_steps_taken_over, r.num_steps_done) for r in records] == [(0, 3), (2, 5), (3, 8)]
    own, alone = losses_of(runs / "shared_64"), losses_of(runs / "alone_64")
    assert own.items() <= alone.items() and len(own) == 5
    for name, tensor in weights(runs / "alone_64").items():
        assert torch.equal(tensor, weights(runs / "shared_64")[name]), name


@pytest.mark.slow
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


def test_other_settings_share_nothing(settings, runs, tmp_path):
    options = [*SHARED, "study.trunk=true", "mixture.num_samples=64", f"paths.cache_root={runs}"]
    assert train(settings(*options, "optimizer.learning_rate=0.001"), tmp_path, name="other").num_steps_taken_over == 0


@pytest.mark.slow
def test_two_ranks_go_on_from_the_smaller_size(cache_root, runs, tmp_path):
    options = [*SHARED, "study.trunk=true", "strategy=ddp", "trainer.devices=2"]
    for size in (24, 40):
        arguments = [*SMALL_RUN, *options, f"mixture.num_samples={size}", f"hydra.run.dir={tmp_path / str(size)}"]
        for done in run_ranks(2, ("train", *arguments), tmp_path, {"SPARROW_CACHE_ROOT": str(cache_root)}):
            assert done.returncode == 0, done.stderr
    assert RunRecord.load(tmp_path / "40").num_steps_taken_over == 2
    last = max(losses_of(runs / "shared_40").items())
    assert max(losses_of(tmp_path / "40").items()) == pytest.approx(last, rel=1e-4)


@pytest.mark.parametrize("sharded", [False, True])
def test_what_is_shared_is_what_was_planned_and_counted_over_kills(tmp_path, caplog, sharded):
    trunk = Trunk(tmp_path / "trunks", 2, str)
    runs = [tmp_path / name for name in ("smaller", "other", "larger")]
    saved = [run / "checkpoints" / "step=0000002.ckpt" for run in runs]
    for path in saved[:2]:
        path.parent.mkdir(parents=True)
        if sharded:
            path.mkdir()
        (path / "shard" if sharded else path).write_text("weights")
    (runs[0] / "failed-0.jsonl").write_text('{"step": 1}\n')
    trunk.share(saved[0])
    assert "not kept for larger sizes: some samples were not read" in caplog.text
    assert not trunk.folder.exists()
    for _ in range(2):  # two runs that end at once
        trunk_module._link(saved[1], trunk.folder / "step=0000002-2.ckpt")
    assert trunk.join(runs[2], saved[2].parent, is_main=True) == 2
    (runs[2] / trunk_module.DECISION).unlink()  # as after a kill
    assert trunk.join(runs[2], saved[2].parent, is_main=True) == 2
    assert [path.name for path in saved[2].parent.iterdir()] == [saved[2].name]
    longer = saved[2].with_name("step=0000003.ckpt")
    longer.write_text("own")
    (runs[2] / trunk_module.DECISION).unlink()
    assert trunk.join(runs[2], saved[2].parent, is_main=True) == 0, "it has trained further by itself"


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
