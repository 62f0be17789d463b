"""Multiruns as a user types them: refusals before anything starts, jobs at once, ranks, kills, and running again."""

import json
import os
import signal
import subprocess
import sys

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from sparrow.runs.record import RunRecord
from tests.conftest import SMALL_RUN, SMALL_WORLD, losses_of, trains, wait_until

LONG = ["batching.num_epochs=3000", "checkpointing.every_n_steps=100000", "trainer.log_every_n_steps=1000"]


@pytest.fixture
def sweep(tmp_path, cache_root):
    """Start `sparrow train -m ...` in an empty folder."""
    started = []

    def start(*overrides):
        environment = os.environ | {"SPARROW_CACHE_ROOT": str(cache_root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "sparrow", "train", "-m", *SMALL_RUN, "study.name=s", *overrides]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # What a shell runs in the background ignores SIGINT, and so would its children.
        heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **output, **heed)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def ended(process):
    out, errors = process.communicate(timeout=250)
    return process.returncode, out, errors


def status(folder):
    return RunRecord.load(folder).status


MISTYPED = [
    f"hydra.launcher.{setting}"
    for setting in ("timeout_min=12:00:00", "mem_gb=64GB", "cpus_per_task=x", "array_parallelism=0")
]
REFUSED = {
    "several devices in sequence": (["strategy=ddp", "trainer.devices=2", "seed=0,1"], "use hydra/launcher=parallel"),
    "several nodes at once": (
        ["hydra/launcher=parallel", "strategy=ddp", "trainer.num_nodes=2", "seed=0,1"],
        "on this machine only",
    ),
    "a swept sweep": (["experiment=quickstart,real_clips"], "experiment=quickstart is itself a sweep"),
    "a wrong value of one job": (
        ["batching.num_epochs=0,1", "seed=0,1"],
        "2 of 4 jobs cannot run, so that none was started\nnum_epochs-0+seed-0 and 1 more: 1 problem",
    ),
    "a choice that is not there": (["mixture=world/video,world/sparow"], "did you mean 'world/sparrow'?"),
    "unknown launcher": (["hydra/launcher=ray", "seed=0,1"], "sequential"),
    "the launcher of a plugin": (
        ["hydra/launcher=submitit_slurm", "seed=0,1"],
        "hydra/launcher=submitit_slurm: Sparrow has its own in its place: hydra/launcher=slurm",
    ),
    "another of it": (["hydra/launcher=submitit_local", "seed=0,1"], "in its place: hydra/launcher=parallel"),
    "a study outside": (["study.name=../../evil", "seed=0,1"], "study.name: '../../evil' names a folder"),
    "mistyped values of slurm": (
        ["hydra/launcher=slurm", "seed=0,1", *MISTYPED],
        "hydra.launcher.timeout_min: expected int, found '12:00:00'\n"
        "  hydra.launcher.cpus_per_task: expected int or null, found 'x'\n"
        "  hydra.launcher.mem_gb: expected float or null, found '64GB'\n"
        "  hydra.launcher.array_parallelism: must be at least 1, is 0",
    ),
    "no time limit for slurm": (
        ["hydra/launcher=slurm", "hydra.launcher.timeout_min=null", "seed=0,1"],
        "hydra.launcher.timeout_min: expected int, found null",
    ),
    "a mistyped value of parallel": (
        ["hydra/launcher=parallel", "hydra.launcher.n_parallel=two", "seed=0,1"],
        "hydra.launcher.n_parallel: expected int or null, found 'two'",
    ),
    "a setting of another launcher": (
        ["+hydra.launcher.n_parallel=2", "seed=0,1"],
        "hydra.launcher.n_parallel: unknown key",
    ),
    "sbatch missing": (["hydra/launcher=slurm", "seed=0,1"], "sbatch, srun, squeue, scontrol not found"),
}


# Refused as "mistyped values of slurm" are: by the types of the launcher's settings.
VARIANTS = ("no time limit for slurm", "a mistyped value of parallel")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in VARIANTS else []) for name in REFUSED]
)
def test_what_cannot_work_is_refused_before_anything_starts(sparrow, tmp_path, name):
    overrides, expected = REFUSED[name]
    done = sparrow("train", "-m", *SMALL_RUN, "study.name=s", *overrides, PATH=str(tmp_path))
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("run.json"))


FOR_LAUNCHER = "# @package _global_\ndefaults:\n- override /mixture: world/video\n- override /hydra/launcher: {}\n"


def install_plugin():
    """What `hydra-submitit-launcher` stores once Hydra has found it."""
    store = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}
    ConfigStore.instance().store(group="hydra/launcher", name="submitit_slurm", node=store)


def test_the_launcher_of_an_experiment_is_taken_and_that_of_a_plugin_refused(sparrow, tmp_path):
    (tmp_path / "c/experiment").mkdir(parents=True)
    for name, launcher in (("many", "parallel"), ("plugin", "submitit_slurm")):
        (tmp_path / f"c/experiment/{name}.yaml").write_text(FOR_LAUNCHER.format(launcher))
    shown = ("--cfg", "hydra", "--package", "hydra.launcher")
    assert "ParallelLauncher" in sparrow("train", "--config-dir", "c", "experiment=many", *shown).stdout
    typed = sparrow("train", "--config-dir", "c", "experiment=many", "hydra/launcher=sequential", *shown)
    assert "SequentialLauncher" in typed.stdout
    for prepare in (None, install_plugin):
        done = sparrow("train", "-m", "--config-dir", "c", "experiment=plugin", "seed=0,1", prepare=prepare)
        assert "hydra/launcher=submitit_slurm: Sparrow has its own in its place: hydra/launcher=slurm" in done.stderr
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    done = sparrow("train", "-m", "--config-dir", "c", "experiment=many,real_clips", "scale=tiny")
    assert "experiment=many asks for hydra/launcher=parallel" in done.stderr


def test_a_group_is_swept_and_its_value_names_the_folder(sparrow, tmp_path):
    done = sparrow("prepare", "-m", *SMALL_RUN, "study.name=s", "backbone=idefics3,smolvlm_256m")
    assert done.returncode == 0, done.stderr
    folders = {path.parent.name for path in (tmp_path / "outputs/prepare/s").glob("*/manifest.json")}
    assert folders == {"backbone-idefics3", "backbone-smolvlm_256m"}


def test_submitit_missing_is_said_with_its_remedy(sparrow):
    def uninstall():
        sys.modules["submitit"] = None

    done = sparrow("train", "-m", *SMALL_RUN, "hydra/launcher=slurm", "seed=0,1", prepare=uninstall)
    assert done.returncode == 1
    assert "pip install submitit" in done.stderr


def test_devices_swept_under_slurm_are_refused_with_the_reason(sparrow, tmp_path):
    for tool in ("sbatch", "srun", "squeue", "scontrol"):
        (tmp_path / tool).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    swept = ("hydra/launcher=slurm", "strategy=ddp", "trainer.devices=1,2")
    done = sparrow("train", "-m", *SMALL_RUN, *swept, PATH=str(tmp_path))
    assert done.returncode == 1
    assert "trainer.devices=1,2" in done.stderr
    assert "the jobs of an array are all of one size" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--config-dir", "--config-path"])
def test_jobs_at_once_have_the_settings_of_the_config_that_was_named(sparrow, tmp_path, flag):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/lab.yaml").write_text("defaults: [prepare, _self_]\nmixture: {num_samples: 16}\n")
    settings = [
        *SMALL_WORLD,
        "scale=tiny",
        "mixture=world/sparrow",
        "sample_divisor=1",
        "study.name=s",
        "data_seed=5,6",
    ]
    search = "hydra.searchpath=[pkg://sparrow.conf]"
    named = ["prepare", flag, str(tmp_path / "conf"), "--config-name", "lab", "-m"]
    done = sparrow(*named, "hydra/launcher=parallel", search, *settings)
    assert done.returncode == 0, done.stderr
    manifests = [json.loads(path.read_text()) for path in tmp_path.rglob("manifest.json")]
    assert [manifest["num_samples"] for manifest in manifests] == [16, 16]


@pytest.mark.slow
def test_jobs_at_once_a_failing_one_and_ranks_of_their_own_and_again_with_a_value_more(sweep, tmp_path):
    study = tmp_path / "outputs/s"
    alone = ["hydra/launcher=parallel", "mixture=world/video"]
    code, _, errors = ended(sweep(*alone, "mixture.num_samples=5000,16"))
    assert code == 1
    assert f"{study}/num_samples-5000: DataError: " in errors
    assert "1 of 2 jobs did not finish" in errors
    good, bad = study / "num_samples-16", study / "num_samples-5000"
    assert (status(good), status(bad)) == ("finished", "failed")
    record = RunRecord.load(good)
    assert (record.name, record.factors) == ("num_samples-16", {"mixture.num_samples": 16})
    assert "num_samples=16" in (study / "report.md").read_text()
    files = good / "run.json", good / "rank-0.log"
    before = [file.read_bytes() for file in files], list((good / ".hydra").iterdir())

    two_ranks = ["strategy=ddp", "trainer.devices=2"]
    code, _, errors = ended(sweep(*alone, *two_ranks, "mixture.num_samples=16,8"))
    assert code == 0, errors
    assert status(study / "num_samples-8") == "finished"
    assert (study / "num_samples-8/rank-1.log").is_file()
    assert RunRecord.load(study / "num_samples-8").config["trainer"]["devices"] == 2
    after = [file.read_bytes() for file in files], list((good / ".hydra").iterdir())
    assert after == before, "the finished run was left alone"
    assert len(losses_of(good)) == 2

    code, _, errors = ended(sweep(*alone, "mixture.num_samples=16,8", "optimizer.learning_rate=0.1"))
    assert code == 1
    assert errors.count("optimizer.learning_rate: 0.0015 -> 0.1") >= 2
    assert files[0].read_bytes() == before[0][0]


@pytest.mark.slow
def test_kills_of_the_launching_process_and_of_a_job_and_ctrl_c(sweep, tmp_path):
    runs = [tmp_path / f"outputs/s/seed-{seed}" for seed in (0, 1)]
    process = sweep("hydra/launcher=parallel", "seed=0,1", *LONG)
    wait_until(lambda: all(trains(run) for run in runs))
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: all(status(run) == "interrupted" for run in runs), 60)
    assert all(list((run / "checkpoints").glob("*.ckpt")) for run in runs)

    process = sweep("hydra/launcher=parallel", "seed=0,1", *LONG)
    wait_until(lambda: all(trains(run) for run in runs))
    assert all("resuming" in (run / "rank-0.log").read_text() for run in runs)
    (victim,) = [pid for pid in children_of(process.pid) if "seed=0" in command_of(pid)]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: status(runs[0]) == "failed", 60)
    error = json.loads((runs[0] / "run.json").read_text())["error"]["message"]
    assert "rank 0 was killed by SIGKILL" in error
    assert status(runs[1]) == "running", "the other job is unharmed"
    process.send_signal(signal.SIGINT)
    code, _, errors = ended(process)
    assert code == 130
    assert "Traceback" not in errors
    assert status(runs[1]) == "interrupted"


def children_of(pid):
    return [int(child) for child in (open(f"/proc/{pid}/task/{pid}/children").read()).split()]


def command_of(pid):
    return open(f"/proc/{pid}/cmdline").read().split("\0")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["sequential", "parallel"])
def test_optuna_searches_for_the_highest_score(sweep, tmp_path, launcher):
    searched = ["hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "optimizer.learning_rate=interval(0.001,0.01)"]
    searched += ["hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"]
    asked = ["study.metric=world_short", "benchmark=[world/short]", "benchmark.world_short.num_questions=6"]
    code, _, errors = ended(sweep(f"hydra/launcher={launcher}", *searched, *asked))
    assert code == 0, errors
    study = tmp_path / "outputs/s"
    scores = {}
    for path in study.glob("*/run.json"):
        record = RunRecord.load(path.parent)
        scores[record.factors["optimizer.learning_rate"]] = record.scores["world_short"]["after"].accuracy
    found = OmegaConf.load(study / "optimization_results.yaml")
    assert len(scores) == 3
    assert found.best_value == max(scores.values()) == scores[found.best_params["optimizer.learning_rate"]]
    assert "learning_rate=" in (study / "report.md").read_text()
