"""Runs on several processes through the commands as typed: shards and copies give what one process gives."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sparrow.commands.train import train
from sparrow.runs.record import RunRecord
from sparrow.training.checkpoints import checkpoints_in
from tests.conftest import SMALL_RUN, losses_of

ROOT = Path(__file__).parents[1]
# Two to four micro-batches a step on each rank, gradients clipped, activations computed again.
BASE = (
    "batching=padded",
    "batching.micro_batch_size_samples=1",
    "optimizer.max_grad_norm=0.5",
    "tuning.activation_checkpointing=true",
)
LORA = ("tuning=lora", "tuning.lora.dropout=0")
TWO_SHARDS = ("strategy=fsdp", "trainer.devices=2")


@pytest.fixture(scope="module")
def command(cache_root):
    """Run a command with tests' own switches; each of them is (module, arguments)."""

    def run(*arguments, module="sparrow train", wait=True, **changes):
        environment = os.environ | {"SPARROW_CACHE_ROOT": str(cache_root), "OMP_NUM_THREADS": "1"} | changes
        process = subprocess.Popen(
            [sys.executable, "-m", *module.split(), *SMALL_RUN, *arguments],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        if not wait:
            return process
        _, errors = process.communicate(timeout=280)
        process.errors = errors
        return process

    run.cache_root = cache_root
    return run


def weights(folder):
    return {
        f"{path.name}:{name}": tensor.float()
        for path in sorted((folder / "model").glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def largest_difference(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def same_run(one, other, tolerance=1e-5):
    expected, found = losses_of(one), losses_of(other)
    assert len(expected) == 3
    assert list(found.values()) == pytest.approx([expected[step] for step in found], rel=tolerance)
    assert largest_difference(one, other) < tolerance


@pytest.mark.parametrize("tuning", [(), pytest.param(LORA, marks=pytest.mark.slow)])
def test_shards_on_two_processes_give_the_losses_and_weights_of_one(command, settings, tmp_path, tuning):
    train(settings(*BASE, *tuning, "trainer.num_threads=1"), tmp_path / "one", name="one")
    done = command(*BASE, *tuning, *TWO_SHARDS, f"hydra.run.dir={tmp_path / 'two'}")
    assert done.returncode == 0, done.errors
    same_run(tmp_path / "one", tmp_path / "two")
    records = [RunRecord.load(tmp_path / name) for name in ("one", "two")]
    assert records[0].run_id == records[1].run_id
    assert {path.name for path in (tmp_path / "one/model").iterdir()} == {
        path.name for path in (tmp_path / "two/model").iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_shards_in_bf16_stay_close(command, settings, tmp_path, precision):
    overrides = (*BASE, f"trainer.precision={precision}")
    train(settings(*overrides, "trainer.num_threads=1"), tmp_path / "one", name="one")
    done = command(*overrides, *TWO_SHARDS, f"hydra.run.dir={tmp_path / 'two'}")
    assert done.returncode == 0, done.errors
    same_run(tmp_path / "one", tmp_path / "two", tolerance=1e-2)


@pytest.mark.slow
def test_shards_not_freed_between_the_passes_and_copies_of_shards_change_nothing(command, settings, tmp_path):
    train(settings(*BASE, "trainer.num_threads=1"), tmp_path / "one", name="one")
    done = command(*BASE, *TWO_SHARDS, "strategy.reshard_after_forward=false", f"hydra.run.dir={tmp_path / 'kept'}")
    assert done.returncode == 0, done.errors
    same_run(tmp_path / "one", tmp_path / "kept")


def answers(folder):
    """The stored answers of a run, without the digest that names its weights."""
    files = sorted((folder / "predictions").rglob("*.jsonl"))
    return {
        str(file.relative_to(folder)): [p | {"prompt_hash": ""} for p in map(json.loads, open(file))] for file in files
    }


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_all_ranks_answer_before_and_after_training_and_a_failed_one_fails_the_run(command, tmp_path, strategy):
    asked = ("benchmark=[world_short]", "evaluation.before=true", "evaluation.blind=true")
    ranks = (*BASE, f"strategy={strategy}", "trainer.devices=2", *asked, f"hydra.run.dir={tmp_path / 'run'}")
    done = command(*ranks, module="tests.train_and_fail train")
    assert done.returncode != 0
    record = RunRecord.load(tmp_path / "run")
    assert (record.status, record.error.type) == ("failed", "RunError")
    assert "rank 1 of 2 failed (RuntimeError: no more answers); the answers so far are kept" in record.error.message
    kept = (tmp_path / "run/predictions/after/world_short.partial-1.jsonl").read_bytes()
    assert kept

    done = command(*ranks)
    assert done.returncode == 0, done.errors
    whole = (tmp_path / "run/predictions/after/world_short.jsonl").read_bytes()
    assert set(kept.splitlines()) < set(whole.splitlines()), "what was answered is not asked again"
    assert not list((tmp_path / "run").rglob("*.partial-*"))

    one = (f"checkpoint={tmp_path / 'run'}", "benchmark=[world_short]", "blind=true", "trainer.num_threads=1")
    alone = subprocess.run(
        [sys.executable, "-m", "sparrow", "evaluate", *one, f"hydra.run.dir={tmp_path / 'one'}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SPARROW_CACHE_ROOT": str(command.cache_root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    assert "not as in" not in alone.stdout + alone.stderr, "the run's own settings are the defaults"
    asked_again = answers(tmp_path / "one")
    assert asked_again == {name: found for name, found in answers(tmp_path / "run").items() if "before" not in name}


@pytest.mark.slow
def test_ranks_that_planned_different_data_end_before_the_first_step(command, tmp_path):
    ranks = (*BASE, "strategy=ddp", "trainer.devices=2", "on_bad_sample=skip", "max_bad_fraction=0.5")
    ranks = (*ranks, f"hydra.run.dir={tmp_path / 'run'}")
    unmeasured = {"SPARROW_CACHE_ROOT": str(tmp_path / "cache")}
    done = command(*ranks, module="tests.train_apart train", **unmeasured)
    assert done.returncode != 0
    record = RunRecord.load(tmp_path / "run")
    assert (record.status, record.num_steps_done) == ("failed", 0)
    assert "ranks planned different data (rank 0: 23 samples, hash " in record.error.message
    assert "; rank 1: 24 samples, hash " in record.error.message
    done = command(*ranks, **unmeasured)
    assert done.returncode == 0, done.errors


@pytest.mark.slow
def test_one_copy_that_runs_out_of_memory_ends_all_with_advice(command, tmp_path):
    ranks = ("strategy=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path}")
    done = command(*BASE, *ranks, module="tests.train_out_of_memory train")
    assert done.returncode == 1, done.errors
    record = RunRecord.load(tmp_path)
    assert (record.status, record.error.type) == ("failed", "RunError")
    assert "out of memory on this rank: the longest micro-batch" in record.error.message
    assert "lower batching.micro_batch_size_samples" in record.error.message
    assert "out of memory on another rank" in done.errors


@pytest.fixture(scope="module")
def killed(command, tmp_path_factory):
    """Run folders of which one rank of two was killed in its third step, by strategy."""

    def run(strategy, rank):
        folder = tmp_path_factory.mktemp("killed")
        done = command(
            *BASE,
            f"strategy={strategy}",
            "trainer.devices=2",
            "checkpointing.every_n_steps=1",
            f"hydra.run.dir={folder}",
            module="tests.train_and_kill train",
            KILLED_RANK=str(rank),
        )
        assert done.returncode != 0
        return folder, done

    return run


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_lost_rank_ends_the_others(killed, command, settings, tmp_path, strategy):
    folder, done = killed(strategy, rank=1)
    record = RunRecord.load(folder)
    # Lightning kills the processes that are left, at the latest five seconds later.
    if done.returncode == -signal.SIGKILL:
        assert record.status == "running"
    else:
        assert "another rank was lost" in done.errors
        assert (record.status, record.error.type) == ("failed", "RunError")
    go_on_and_compare(folder, command, settings, tmp_path, strategy)


@pytest.mark.slow
def test_a_lost_main_rank_is_noticed_when_the_run_goes_on(killed, command, settings, tmp_path):
    folder, done = killed("ddp", rank=0)
    assert done.returncode == -signal.SIGKILL
    assert RunRecord.load(folder).status == "running"
    go_on_and_compare(folder, command, settings, tmp_path, "ddp")
    assert "was killed without a word" in RunRecord.load(folder).notes[0]


def go_on_and_compare(folder, command, settings, tmp_path, strategy):
    """The same ranks go on bit by bit; the checkpoint is that of the second step."""
    whole = command(*BASE, f"strategy={strategy}", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.errors
    done = command(*BASE, f"strategy={strategy}", "trainer.devices=2", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.errors
    assert "step=0000002.ckpt" in done.errors or "step=0000002.ckpt" in (folder / "train.log").read_text()
    assert RunRecord.load(folder).status == "finished"
    assert losses_of(folder)[2] == losses_of(tmp_path / "whole")[2]
    assert largest_difference(folder, tmp_path / "whole") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TWO_SHARDS, ("strategy=fsdp",)),
        (TWO_SHARDS, ("strategy=single",)),
        (TWO_SHARDS, ("strategy=ddp", "trainer.devices=2")),
        (("strategy=single",), TWO_SHARDS),
    ],
    ids=["two shards, one shard", "two shards, one process", "two shards, two copies", "one process, two shards"],
)
def test_a_run_goes_on_in_another_number_of_processes(command, settings, tmp_path, before, after):
    train(settings(*BASE, "trainer.num_threads=1"), tmp_path / "one", name="one")
    folder = tmp_path / "moved"
    stopped = command(
        *BASE,
        *before,
        f"hydra.run.dir={folder}",
        module="tests.train_and_kill train",
        KILLED_RANK="0",
        KILLED_BY="SIGTERM",
    )
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.errors
    assert RunRecord.load(folder).status == "interrupted"
    assert [path.is_dir() for path in checkpoints_in(folder / "checkpoints")] == [before == TWO_SHARDS]
    done = command(*BASE, *after, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.errors
    assert losses_of(folder)[2] == pytest.approx(losses_of(tmp_path / "one")[2], rel=1e-6)
    assert largest_difference(folder, tmp_path / "one") < 1e-6


@pytest.mark.slow
def test_two_nodes_started_by_torchrun(command, settings, tmp_path):
    train(settings(*BASE, "trainer.num_threads=1"), tmp_path / "one", name="one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [
        command(
            *BASE,
            "strategy=fsdp",
            "strategy.hybrid_sharding=true",
            "trainer.num_nodes=2",
            f"hydra.run.dir={tmp_path / 'nodes'}",
            module=f"torch.distributed.run --nnodes 2 --node-rank {rank} --nproc-per-node 1 "
            f"--master-addr 127.0.0.1 --master-port {port} -m sparrow train",
            wait=False,
        )
        for rank in range(2)
    ]
    errors = [node.communicate(timeout=280)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    same_run(tmp_path / "one", tmp_path / "nodes")


IN_A_SLURM_JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "mine", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
IN_A_SLURM_JOB |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NNODES": "1"}


@pytest.mark.slow
def test_ranks_that_nothing_starts_within_a_slurm_job_are_refused(command, tmp_path):
    done = command("strategy=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'run'}", **IN_A_SLURM_JOB)
    assert done.returncode == 1
    assert "ConfigError: trainer.devices=2 on trainer.num_nodes=1 needs 2 processes" in done.errors
    assert "srun --nodes=1 --ntasks-per-node=2" in done.errors
    assert not (tmp_path / "run/run.json").exists()


@pytest.mark.slow
def test_ranks_that_would_each_name_a_folder_by_the_time_are_refused(command):
    done = command("strategy=ddp", "trainer.devices=2", RANK="0", LOCAL_RANK="0", WORLD_SIZE="2")
    assert done.returncode == 1
    assert "is named after the time, which each rank would read by itself" in done.errors
    assert "as in hydra.run.dir=outputs/my_run" in done.errors


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["torchrun", "parallel"])
def test_two_ranks_within_a_slurm_job_give_what_one_process_gives(command, settings, tmp_path, starter):
    train(settings(*BASE, "trainer.num_threads=1"), tmp_path / "one", name="one")
    ranks = (*BASE, "strategy=ddp", "trainer.devices=2", "trainer.num_threads=1")
    if starter == "torchrun":
        module = "torch.distributed.run --standalone --nproc-per-node 2 -m sparrow train"
        done = command(*ranks, f"hydra.run.dir={tmp_path / 'two'}", module=module, **IN_A_SLURM_JOB)
    else:
        sweep = ("seed=0", "hydra/launcher=parallel", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=two")
        done = command(*ranks, *sweep, module="sparrow train -m", **IN_A_SLURM_JOB)
    assert done.returncode == 0, done.errors
    same_run(tmp_path / "one", tmp_path / "two")
