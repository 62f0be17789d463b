"""Strategies: shards of every family, and who may act on a signal of SLURM."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from sparrow.core.errors import ConfigError
from sparrow.core.settings import run_id
from sparrow.models.registry import FAMILIES, NATIVE_VIDEO
from sparrow.runs.settings import Trainer
from sparrow.training.checkpoints import Chooser
from sparrow.training.settings import Strategy
from sparrow.training.strategies import cluster_environment, gradients_stay_apart, trainer_options
from tests.models.published_checkpoints import ONE_A_FAMILY, OWN_TURNS, write_checkpoint

ROOT = Path(__file__).parents[2]


def on_two_ranks(script, *arguments):
    """Run a script of this folder under torchrun; what it prints."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(str(ROOT / "tests/training" / script), *arguments),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_texts_images_and_videos_mix_in_any_order_on_any_strategy(tiny_checkpoint):
    printed = on_two_ranks("mixed_samples_of_families.py", *(str(tiny_checkpoint(family)) for family in FAMILIES))
    assert printed.split("\n")[:-1] == [
        f"{family} {way}"
        for family in FAMILIES
        for way in (("images", "native video") if family in NATIVE_VIDEO else ("images",))
    ]


@pytest.mark.slow
def test_every_family_is_read_by_shards_and_put_together_to_the_same_files(tiny_checkpoint, tmp_path):
    folders = [str(tiny_checkpoint(family)) for family in FAMILIES]
    on_two_ranks("shards_of_families.py", str(tmp_path), *folders)
    for folder in folders:
        whole = tmp_path / f"{Path(folder).name}-whole"
        for other in (tmp_path / f"{Path(folder).name}-shards-{hybrid}" for hybrid in (False, True)):
            assert {path.name for path in whole.iterdir()} == {path.name for path in other.iterdir()}
            for path in whole.iterdir():
                assert path.read_bytes() == (other / path.name).read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize("names", [ONE_A_FAMILY[:4], ONE_A_FAMILY[4:]], ids="+".join)
def test_published_layouts_are_read_by_shards_trained_and_put_together_tensor_by_tensor(names, tmp_path):
    folders = []
    for name in names:
        template = OWN_TURNS if name == "granite_docling" else None
        folders.append(str(write_checkpoint(name, tmp_path / name, template=template)))
    assert on_two_ranks("published_shards.py", *folders).split() == list(names)


def test_gradients_of_shards_are_shards_after_every_micro_batch(one_rank):
    model = fully_shard(nn.Linear(4, 4), mesh=init_device_mesh("cpu", (1,)))
    sums = []
    for _ in range(2):
        with gradients_stay_apart(model):
            model(torch.ones(1, 4)).sum().backward()
        assert isinstance(model.weight.grad, DTensor), "the gradient of the whole model is kept"
        sums.append(model.weight.grad.full_tensor().sum().item())
    assert sums == [16, 32]


def test_gradients_of_copies_are_averaged_where_asked(one_rank):
    model = DistributedDataParallel(nn.Linear(4, 4))
    averaged = []
    model.register_comm_hook(None, lambda _, bucket: averaged.append(1) or default_hooks.allreduce_hook(None, bucket))
    for apart in (True, False):
        with gradients_stay_apart(model) if apart else nullcontext():
            model(torch.ones(1, 4)).sum().backward()
        assert bool(averaged) is not apart


@pytest.mark.parametrize("name", ["single", "ddp", "fsdp"])
def test_lightning_does_not_queue_a_slurm_job_again(monkeypatch, name):
    monkeypatch.setattr(SLURMEnvironment, "detect", staticmethod(lambda: True))
    plugins = trainer_options(Strategy(name=name), Trainer(), Chooser(print))["plugins"]
    (environment,) = [plugin for plugin in plugins if isinstance(plugin, SLURMEnvironment)]
    assert not environment.auto_requeue


@pytest.fixture
def within_slurm(monkeypatch):
    """Stand in a job of SLURM, with further variables."""

    def stand(**variables):
        for name in ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"):
            monkeypatch.delenv(name, raising=False)
        job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "mine", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
        for name, value in (job | variables).items():
            monkeypatch.setenv(name, value)

    return stand


def test_ranks_that_slurm_does_not_start_are_refused(within_slurm):
    within_slurm()
    assert cluster_environment(Trainer())
    for job in ({}, {"SLURM_NTASKS": "2"}, {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4"}):
        within_slurm(**job)
        with pytest.raises(ConfigError, match=r"needs 2 processes, but SLURM started [14] \(job 7\); .*/launcher=par"):
            cluster_environment(Trainer(devices=2))


def test_who_started_the_processes_within_a_slurm_job_gives_them_their_places(within_slurm):
    within_slurm(SLURM_STEP_NUM_TASKS="2", SLURM_NTASKS="2", SLURM_NTASKS_PER_NODE="2")
    assert [type(found) for found in cluster_environment(Trainer(devices=2))] == [SLURMEnvironment]
    within_slurm(LOCAL_RANK="1")
    assert [type(found) for found in cluster_environment(Trainer(devices=2))] == [LightningEnvironment]
    within_slurm(LOCAL_RANK="1", TORCHELASTIC_RUN_ID="a")
    assert cluster_environment(Trainer(devices=2)) == [], "Lightning sees torchrun first"
    for name in ("bash", "interactive"):
        within_slurm(SLURM_JOB_NAME=name)
        assert cluster_environment(Trainer(devices=2)) == [], "Lightning starts the processes"


def test_settings_that_do_not_go_together_are_refused(settings):
    with pytest.raises(ConfigError, match="needs strategy=ddp or strategy=fsdp"):
        settings("trainer.devices=2")
    with pytest.raises(ConfigError, match=r"checkpointing.every_n_minutes: must be above 0"):
        settings("checkpointing.every_n_minutes=0")
    with pytest.raises(ConfigError, match="weights in four bits cannot be sharded"):
        settings("strategy=fsdp", "tuning=qlora")
    with pytest.raises(ConfigError, match=r"optimizer.name: .* cannot step shards .*; use optimizer=adamw, or .*=ddp"):
        settings("strategy=fsdp", "optimizer=adafactor")
    with pytest.raises(ConfigError, match=r"optimizer.name: .* not been tried on shards; use optimizer=adamw"):
        settings("strategy=fsdp", "optimizer=adamw_8bit")


def test_how_a_run_is_sharded_leaves_its_identity_alone(settings):
    ways = [(), ("strategy=fsdp",), ("strategy=fsdp", "strategy.hybrid_sharding=true", "trainer.num_nodes=2")]
    assert len({run_id(settings(*way, "checkpointing.every_n_minutes=5")) for way in ways}) == 1
