"""The SLURM launcher against stand-ins of SLURM's tools: what is submitted, what is refused, how an end is read."""

import os
import re

import pytest

from tests.conftest import SMALL_RUN, SMALL_WORLD

TOOLS = {
    "sbatch": 'for script; do :; done; cp "$script" submitted.sh; printf "12_0 PENDING\\n12_1 PENDING\\n" > queue; echo job 12',
    "squeue": "cat queue 2>/dev/null || true",
    "srun": "",
    "scontrol": "",
    "sacct": "echo Slurm accounting storage is disabled >&2; exit 1",
}


@pytest.fixture
def sweep(tmp_path, sparrow):
    """Carry out a multirun in an empty folder where SLURM's tools are shell scripts."""
    tools = tmp_path / "tools"
    tools.mkdir()

    def run(command, *overrides, **changes):
        for name, script in (TOOLS | changes).items():
            (tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name).chmod(0o755)
        path = os.pathsep.join([str(tools), os.environ["PATH"]])
        return sparrow(command, "-m", "study.name=s", "hydra/launcher=slurm", *overrides, PATH=path)

    return run


def test_arguments_of_srun_stand_beside_its_own(sweep, tmp_path):
    given = ['hydra.launcher.srun_args=["--container-image=a:b"]']
    given += ["+hydra.launcher.additional_parameters={reservation: mine}"]
    done = sweep("train", *SMALL_RUN, *given, "hydra.launcher.detach=true", "seed=0,1")
    assert done.returncode == 0, done.stderr
    script = (tmp_path / "submitted.sh").read_text()
    assert "--kill-on-bad-exit=1 --container-image=a:b" in script
    assert "--reservation=mine" in script
    assert "--signal=USR1@120" in script


@pytest.mark.parametrize(
    ("given", "asked", "unasked"),
    [
        ("gres=gpu:a100:1", "--gres=gpu:a100:1", "--gpus-per-node"),
        ("gpus_per_node=a100:1", "--gpus-per-node=a100:1", "--gres"),
        ("gres=nvme:1", "--gpus-per-node=1", "--gres=gpu"),
    ],
)
def test_gpus_of_a_type_are_asked_for_in_one_way(sweep, tmp_path, given, asked, unasked):
    gpus = ["trainer.accelerator=gpu", f"hydra.launcher.{given}"]
    done = sweep("train", *SMALL_RUN, *gpus, "hydra.launcher.detach=true", "seed=0,1")
    assert done.returncode == 0, done.stderr
    script = (tmp_path / "submitted.sh").read_text()
    assert asked in script
    assert unasked not in script


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ('signal: "B:USR2@60"', "additional_parameters.signal: .* set hydra.launcher.signal_delay_s"),
        ("no_requeue: true", "additional_parameters.no-requeue: .* set hydra.launcher.max_requeues=0"),
    ],
)
def test_options_by_which_runs_save_and_return_are_not_replaced(sweep, tmp_path, given, remedy):
    done = sweep("train", *SMALL_RUN, f"+hydra.launcher.additional_parameters={{{given}}}", "seed=0,1")
    assert done.returncode == 1
    assert re.search(remedy, done.stderr)
    assert not (tmp_path / "submitted.sh").exists()


def test_jobs_submitted_from_within_a_job_do_not_get_its_size(sweep, tmp_path, monkeypatch):
    for name, value in {"JOB_ID": "7", "MEM_PER_NODE": "512", "NTASKS": "1", "CONF": "/etc/slurm.conf"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    sbatch = f"env > environment; {TOOLS['sbatch']}"
    done = sweep("train", *SMALL_RUN, "hydra.launcher.detach=true", "seed=0,1", sbatch=sbatch)
    assert done.returncode == 0, done.stderr
    given = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    of_slurm = {name: value for name, value in given.items() if name.startswith(("SLURM_", "SBATCH_"))}
    assert of_slurm == {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "mine"}


@pytest.mark.slow
def test_a_queued_sweep_is_known_in_any_order_and_refused_with_other_settings(sweep):
    common = [*SMALL_RUN, "hydra.launcher.detach=true"]
    done = sweep("train", *common, "seed=0,1", "optimizer.learning_rate=0.1")
    assert done.returncode == 0, done.stderr
    done = sweep("train", "optimizer.learning_rate=0.1", "seed=0,1", *common)
    assert done.returncode == 0, done.stderr
    assert "submitted as" not in done.stdout
    done = sweep("train", *common, "seed=0,1", "optimizer.learning_rate=0.2")
    assert done.returncode == 1
    assert "is in the queue as job 12_0 with other settings" in done.stderr


def test_without_accounting_the_exit_codes_that_the_tasks_left_say_how_they_ended(sweep, tmp_path):
    left = 'mkdir -p "$PWD/codes/12_{0}"; echo {1} > "$PWD/codes/12_{0}/12_{0}_0_exit_code"'
    ended = "; ".join([left.format(0, 0), left.format(1, 3), "echo job 12"])
    places = [f"hydra.launcher.submitit_folder={tmp_path / 'codes'}", "hydra.launcher.poll_interval_s=0.1"]
    done = sweep("prepare", *SMALL_WORLD, *places, "mixture=world/sparrow", "seed=0,1,2", sbatch=ended)
    assert done.returncode == 1
    assert "#0 seed-0: finished" in done.stdout
    assert "2 of 3 jobs did not finish" in done.stderr
    assert "SLURM: exit code 3" in done.stderr
    assert "SLURM: a task was gone before it could leave its exit code" in done.stderr


def test_a_sweep_above_the_largest_array_names_the_setting_that_splits_it(sweep):
    done = sweep(
        "train",
        *SMALL_RUN,
        "seed=0,1",
        sbatch="echo sbatch: error: Batch job submission failed: Invalid job array specification >&2; exit 1",
        scontrol="echo MaxArraySize            = 1",
    )
    assert done.returncode == 1
    assert "the sweep has 2 jobs, an array of this cluster at most MaxArraySize=1" in done.stderr
    assert "hydra.sweeper.max_batch_size=1" in done.stderr
    assert "Traceback" not in done.stderr
