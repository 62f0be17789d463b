"""Runs on several ranks: shards and copies give what one process gives, and a lost rank is noticed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sparrow.commands.train import train
from sparrow.data import plan_builder
from sparrow.evaluation.predictions import PredictionWriter
from sparrow.planning import run_inputs
from sparrow.runs.record import RunRecord
from sparrow.training import trial
from sparrow.training.checkpoints import checkpoints_in
from sparrow.training.module import FineTuning
from tests.conftest import SMALL_RUN, losses_of, trains, wait_until
from tests.forks import run_ranks

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
TWO_COPIES = ("strategy=ddp", "trainer.devices=2")


@pytest.fixture
def ranks(cache_root, tmp_path):
    """Run `sparrow train ...` on two ranks, each a fork; their outcomes, which are successes unless `check` is false."""

    def run(*arguments, num_ranks=2, prepare=None, check=True, **environment):
        given = {"SPARROW_CACHE_ROOT": str(cache_root)} | environment
        done = run_ranks(num_ranks, ("train", *SMALL_RUN, *arguments), tmp_path, given, prepare)
        assert not check or all(rank.returncode == 0 for rank in done), [rank.stderr for rank in done]
        return done

    return run


@pytest.fixture
def start(cache_root):
    """Start a process of Python's `-m MODULE` with the settings of a small run."""

    def start_process(module, *arguments, **changes):
        environment = os.environ | {"SPARROW_CACHE_ROOT": str(cache_root), "OMP_NUM_THREADS": "1"} | changes
        return subprocess.Popen(
            [sys.executable, "-m", *module.split(), *SMALL_RUN, *arguments],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    return start_process


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


@pytest.mark.parametrize(
    ("common", "sharding", "tolerance"),
    [
        pytest.param((), (), 1e-5, id="full"),
        pytest.param(LORA, (), 1e-5, id="lora", marks=pytest.mark.slow),
        pytest.param(("trainer.precision=bf16-mixed",), (), 1e-2, id="bf16-mixed", marks=pytest.mark.slow),
        pytest.param(("trainer.precision=bf16-true",), (), 1e-2, id="bf16-true", marks=pytest.mark.slow),
        pytest.param((), ("strategy.reshard_after_forward=false",), 1e-5, id="no reshard", marks=pytest.mark.slow),
    ],
)
def test_shards_on_two_ranks_give_the_losses_and_weights_of_one_process(
    ranks, settings, tmp_path, common, sharding, tolerance
):
    train(settings(*BASE, *common, "trainer.num_threads=1"), tmp_path / "one", name="one")
    ranks(*BASE, *common, *TWO_SHARDS, *sharding, f"hydra.run.dir={tmp_path / 'two'}", prepare=measure_on_rank_0_only)
    same_run(tmp_path / "one", tmp_path / "two", tolerance)
    records = [RunRecord.load(tmp_path / name) for name in ("one", "two")]
    assert records[0].run_id == records[1].run_id
    assert {path.name for path in (tmp_path / "one/model").iterdir()} == {
        path.name for path in (tmp_path / "two/model").iterdir()
    }


def answers(folder):
    """The stored answers of a run, without the digest that names its weights."""
    files = sorted((folder / "predictions").rglob("*.jsonl"))
    return {
        str(file.relative_to(folder)): [p | {"prompt_hash": ""} for p in map(json.loads, open(file))] for file in files
    }


def fail_on_rank_1():
    """Let rank 1 fail after its first answer, for which rank 0 waits."""
    original = PredictionWriter.write

    def write(self, *predictions):
        original(self, *predictions)
        if os.environ["LOCAL_RANK"] == "1":
            raise RuntimeError("no more answers")
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in self._path.parent.glob("*.partial-1.jsonl")):
            assert time.monotonic() < deadline, "rank 1 answers nothing"
            time.sleep(0.05)

    PredictionWriter.write = write


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_all_ranks_answer_before_and_after_training_and_a_failed_one_fails_the_run(ranks, sparrow, tmp_path, strategy):
    asked = ("benchmark=[world/short]", "evaluation.before=true", "evaluation.blind=true")
    two = (*BASE, f"strategy={strategy}", "trainer.devices=2", *asked, f"hydra.run.dir={tmp_path / 'run'}")
    done = ranks(*two, prepare=fail_on_rank_1, check=False)
    assert all(rank.returncode != 0 for rank in done)
    record = RunRecord.load(tmp_path / "run")
    assert (record.status, record.error.type) == ("failed", "RunError")
    assert "rank 1 of 2 failed (RuntimeError: no more answers); the answers so far are kept" in record.error.message
    kept = (tmp_path / "run/predictions/after/world_short.partial-1.jsonl").read_bytes()
    assert kept

    ranks(*two)
    whole = (tmp_path / "run/predictions/after/world_short.jsonl").read_bytes()
    assert set(kept.splitlines()) < set(whole.splitlines()), "what was answered is not asked again"
    assert not list((tmp_path / "run").rglob("*.partial-*"))

    one = (f"checkpoint={tmp_path / 'run'}", "benchmark=[world/short]", "blind=true", "trainer.num_threads=1")
    alone = sparrow("evaluate", *one, f"hydra.run.dir={tmp_path / 'one'}")
    assert alone.returncode == 0, alone.stderr
    assert "not as in" not in alone.stdout + alone.stderr, "the run's own settings are the defaults"
    asked_again = answers(tmp_path / "one")
    assert asked_again == {name: found for name, found in answers(tmp_path / "run").items() if "before" not in name}


def measure_on_rank_0_only():
    """Let rank 1 fail where it looks at a media file or measures a sample."""
    if os.environ["LOCAL_RANK"] == "1":
        plan_builder.measure_samples = None


def read_a_killed_starts_plan_on_rank_1():
    """Let rank 1 find the plan of an earlier start, of other data."""
    original = run_inputs.shared_plan

    def shared_plan(*arguments):
        plan = original(*arguments)
        return replace(plan, content_hash="0" * 16)

    if os.environ["LOCAL_RANK"] == "1":
        run_inputs.shared_plan = shared_plan


@pytest.mark.slow
def test_ranks_with_different_plans_end_before_the_first_step(ranks, tmp_path):
    two = (*BASE, *TWO_COPIES, f"hydra.run.dir={tmp_path / 'run'}")
    done = ranks(*two, prepare=read_a_killed_starts_plan_on_rank_1, check=False)
    assert all(rank.returncode != 0 for rank in done)
    record = RunRecord.load(tmp_path / "run")
    assert (record.status, record.num_steps_done) == ("failed", 0)
    assert "ranks have different plans (rank 0: 24 samples, hash " in record.error.message
    assert "; rank 1: 24 samples, hash 0000" in record.error.message
    ranks(*two)


def run_out_of_memory_on_rank_0():
    """Let rank 0 run out of memory in the trial of the longest micro-batch."""
    original = trial.segment_losses

    def segment_losses(backbone, micro_batch):
        if os.environ["LOCAL_RANK"] == "0":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return original(backbone, micro_batch)

    trial.segment_losses = segment_losses


@pytest.mark.slow
def test_one_copy_that_runs_out_of_memory_ends_all_with_advice(ranks, tmp_path):
    two = (*BASE, *TWO_COPIES, f"hydra.run.dir={tmp_path}")
    done = ranks(*two, prepare=run_out_of_memory_on_rank_0, check=False)
    assert [rank.returncode for rank in done] == [1, 1], [rank.stderr for rank in done]
    record = RunRecord.load(tmp_path)
    assert (record.status, record.error.type) == ("failed", "RunError")
    assert "out of memory on this rank: the longest micro-batch" in record.error.message
    assert "lower batching.micro_batch_size_samples" in record.error.message
    assert "out of memory on another rank" in done[1].stderr


def signal_in_step(step, rank, number):
    """Patch training so that this rank sends itself the signal at the start of a step."""

    def prepare():
        original = FineTuning.training_step

        def training_step(self, batch, batch_idx):
            if batch.step == step and self.trainer.global_rank == rank:
                os.kill(os.getpid(), number)
            return original(self, batch, batch_idx)

        FineTuning.training_step = training_step

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "rank"), [("ddp", 0), ("ddp", 1), ("fsdp", 1)])
def test_a_lost_rank_ends_the_other_and_the_run_goes_on_bit_by_bit(ranks, tmp_path, strategy, rank):
    two = (*BASE, f"strategy={strategy}", "trainer.devices=2", "checkpointing.every_n_steps=1")
    folder = tmp_path / "killed"
    killing = signal_in_step(2, rank, signal.SIGKILL)
    done = ranks(*two, f"hydra.run.dir={folder}", prepare=killing, check=False)
    assert done[rank].returncode == -signal.SIGKILL
    assert "another rank was lost" in done[1 - rank].stderr
    record = RunRecord.load(folder)
    if rank == 0:
        assert record.status == "running", "nobody was left to say that it failed"
    else:
        assert (record.status, record.error.type) == ("failed", "RunError")

    ranks(*two, f"hydra.run.dir={tmp_path / 'whole'}")
    ranks(*two, f"hydra.run.dir={folder}")
    assert "step=0000002.ckpt" in (folder / "train.log").read_text()
    record = RunRecord.load(folder)
    assert record.status == "finished"
    assert ("was killed without a word" in " ".join(record.notes)) == (rank == 0)
    assert losses_of(folder)[2] == losses_of(tmp_path / "whole")[2]
    assert largest_difference(folder, tmp_path / "whole") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TWO_SHARDS, ("strategy=fsdp",)),
        (TWO_SHARDS, ("strategy=single",)),
        (TWO_SHARDS, TWO_COPIES),
        (("strategy=single",), TWO_SHARDS),
    ],
    ids=["two shards, one shard", "two shards, one process", "two shards, two copies", "one process, two shards"],
)
def test_a_run_goes_on_in_another_number_of_processes(ranks, settings, tmp_path, before, after):
    train(settings(*BASE, "trainer.num_threads=1"), tmp_path / "one", name="one")
    folder = tmp_path / "moved"

    def num_ranks(options):
        return 2 if "trainer.devices=2" in options else 1

    stopping = signal_in_step(1, 0, signal.SIGTERM)
    there = f"hydra.run.dir={folder}"
    stopped = ranks(*BASE, *before, there, num_ranks=num_ranks(before), prepare=stopping, check=False)
    assert {rank.returncode for rank in stopped} == {128 + signal.SIGTERM}, [rank.stderr for rank in stopped]
    assert RunRecord.load(folder).status == "interrupted"
    assert [path.is_dir() for path in checkpoints_in(folder / "checkpoints")] == [before == TWO_SHARDS]
    ranks(*BASE, *after, there, num_ranks=num_ranks(after))
    assert losses_of(folder)[2] == pytest.approx(losses_of(tmp_path / "one")[2], rel=1e-6)
    assert largest_difference(folder, tmp_path / "one") < 1e-6


@pytest.mark.slow
def test_two_nodes_started_by_torchrun(start, settings, tmp_path):
    train(settings(*BASE, "trainer.num_threads=1"), tmp_path / "one", name="one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [
        start(
            f"torch.distributed.run --nnodes 2 --node-rank {rank} --nproc-per-node 1 "
            f"--master-addr 127.0.0.1 --master-port {port} -m sparrow train",
            *BASE,
            "strategy=fsdp",
            "strategy.hybrid_sharding=true",
            "trainer.num_nodes=2",
            f"hydra.run.dir={tmp_path / 'nodes'}",
        )
        for rank in range(2)
    ]
    errors = [node.communicate(timeout=280)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    same_run(tmp_path / "one", tmp_path / "nodes")


@pytest.mark.slow
def test_a_rank_killed_among_those_that_lightning_started_ends_the_run(start, tmp_path):
    folder = tmp_path / "run"
    endless = ("batching.num_epochs=3000", "checkpointing.every_n_steps=100000", f"hydra.run.dir={folder}")
    process = start("sparrow train", *BASE, *TWO_COPIES, *endless)
    try:
        wait_until(lambda: trains(folder))
        (other,) = [int(pid) for pid in children_of(process.pid) if b"LOCAL_RANK=1" in environment_of(pid)]
        os.kill(other, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    record = RunRecord.load(folder)
    # Lightning kills the processes that are left, at the latest five seconds later.
    if process.returncode == -signal.SIGKILL:
        assert record.status == "running"
    else:
        assert "another rank was lost" in errors
        assert (record.status, record.error.type) == ("failed", "RunError")


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def environment_of(pid):
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


IN_A_SLURM_JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "mine", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
IN_A_SLURM_JOB |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NNODES": "1"}


def test_ranks_that_nothing_starts_within_a_slurm_job_are_refused(sparrow, tmp_path):
    two = (*SMALL_RUN, *TWO_COPIES, f"hydra.run.dir={tmp_path / 'run'}")
    done = sparrow("train", *two, **IN_A_SLURM_JOB)
    assert done.returncode == 1
    assert "ConfigError: trainer.devices=2 on trainer.num_nodes=1 needs 2 processes" in done.stderr
    assert "srun --nodes=1 --ntasks-per-node=2" in done.stderr
    assert not (tmp_path / "run/run.json").exists()


def test_ranks_that_would_each_name_a_folder_by_the_time_are_refused(sparrow):
    done = sparrow("train", *SMALL_RUN, *TWO_COPIES, RANK="0", LOCAL_RANK="0", WORLD_SIZE="2")
    assert done.returncode == 1
    assert "is named after the time, which each rank would read by itself" in done.stderr
    assert "as in hydra.run.dir=outputs/my_run" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["torchrun", "parallel"])
def test_two_ranks_within_a_slurm_job_give_what_one_process_gives(start, settings, tmp_path, starter):
    train(settings(*BASE, "trainer.num_threads=1"), tmp_path / "one", name="one")
    two = (*BASE, *TWO_COPIES, "trainer.num_threads=1")
    if starter == "torchrun":
        module = "torch.distributed.run --standalone --nproc-per-node 2 -m sparrow train"
        process = start(module, *two, f"hydra.run.dir={tmp_path / 'two'}", **IN_A_SLURM_JOB)
    else:
        sweep = ("seed=0", "hydra/launcher=parallel", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=two")
        process = start("sparrow train -m", *two, *sweep, **IN_A_SLURM_JOB)
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_two_hosts_that_share_a_folder_carry_out_its_run_once(tmp_path, cache_root):
    apart = ["unshare", "--net", "--uts"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("unshare: network and UTS namespaces of one's own are not allowed here")
    environment = os.environ | {"SPARROW_CACHE_ROOT": str(cache_root), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "sparrow", "train", *SMALL_RUN, f"hydra.run.dir={tmp_path / 'run'}"]
    hosts = [
        subprocess.Popen(
            [*apart, "sh", "-c", 'hostname "$0" && exec "$@"', host, *run],
            **{
                "cwd": tmp_path,
                "env": environment,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.STDOUT,
                "text": True,
            },
        )
        for host in ("node-a", "node-b")
    ]
    told = [host.communicate(timeout=250)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], told
    assert sum("is finished already; its stored result is kept" in text for text in told) == 1
    assert RunRecord.load(tmp_path / "run").status == "finished"
    assert len(losses_of(tmp_path / "run")) == 3
