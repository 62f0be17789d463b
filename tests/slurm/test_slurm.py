"""Multiruns on a real SLURM: what ends how, who is told, and that exactly one party requeues."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparrow.runs.record import RunRecord
from tests.conftest import SMALL_RUN, losses_of, trains, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SLURM = ["hydra/launcher=slurm", "hydra.launcher.poll_interval_s=1", "hydra.launcher.timeout_min=20"]
LONG = ["checkpointing.every_n_steps=100000", "trainer.log_every_n_steps=1000"]


@pytest.fixture
def sweep(tmp_path, cache_root, slurm):
    started = []

    def start(*overrides):
        environment = os.environ | slurm | {"SPARROW_CACHE_ROOT": str(cache_root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "sparrow", "train", "-m", *SMALL_RUN, "study.name=s", *overrides]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **output))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
    subprocess.run(["scancel", "--me"], env=os.environ | slurm, check=False, timeout=60)


@pytest.fixture
def ask(slurm):
    def run(*command):
        done = subprocess.run(command, env=os.environ | slurm, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    return run


def ended(process, seconds=500):
    out, errors = process.communicate(timeout=seconds)
    return process.returncode, out, errors


def job_id(run):
    return json.loads((run / "slurm.json").read_text())["job_id"]


def tasks_of(job):
    """Processes that carry out tasks of a job."""
    array, _, place = job.partition("_")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        wanted = {f"SLURM_ARRAY_JOB_ID={array}".encode(), f"SLURM_ARRAY_TASK_ID={place}".encode()}
        if b"submitit.core._submit" in words and b"srun" not in words and wanted <= set(environment):
            found.append(int(folder.name))
    return found


def test_an_unknown_partition_is_said_with_the_known_ones(sweep, tmp_path):
    code, _, errors = ended(sweep(*SLURM, "hydra.launcher.partition=nowhere", "seed=0,1"))
    assert code == 1
    assert "invalid partition specified: nowhere" in errors
    assert "hydra.launcher.partition can be cancelling, graceful, local, urgent" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("run.json"))


def test_two_tasks_a_job_and_a_job_that_raises(sweep, tmp_path):
    common = ["mixture=world/video", "strategy=ddp", "study.factors=[mixture.num_samples]"]
    process = sweep(*SLURM, *common, "trainer.devices=2", "mixture.num_samples=5000,16")
    code, _, errors = ended(process)
    study = tmp_path / "outputs/s"
    good, bad = study / "num_samples-16", study / "num_samples-5000"
    assert code == 1
    assert f"{bad}: DataError: " in errors
    assert (RunRecord.load(good).status, RunRecord.load(bad).status) == ("finished", "failed")
    assert "num_samples=5000" in (study / "report.md").read_text()
    submitted = job_id(good)

    alone = sweep("study.name=alone", *common, "mixture.num_samples=16", f"hydra.sweep.dir={tmp_path / 'alone'}")
    code, out, errors = ended(sweep(*SLURM, *common, "trainer.devices=2", "mixture.num_samples=16"))
    assert code == 0, errors
    assert "submitted" not in out, "a finished run is not submitted again"
    assert job_id(good) == submitted
    assert ended(alone)[0] == 0
    (one,) = [path.parent for path in (tmp_path / "alone").rglob("run.json")]
    assert len(losses_of(good)) == 2
    assert list(losses_of(good).values()) == pytest.approx(list(losses_of(one).values()), rel=1e-5)


def test_scancel_kill_and_a_launching_process_that_dies(sweep, tmp_path, ask):
    epochs = ["batching.num_epochs=5000,5001,1"]
    process = sweep(*SLURM, *LONG, *epochs, "hydra.launcher.detach=true")
    code, out, errors = ended(process)
    assert code == 0, errors
    assert "detached" in out
    cancelled, killed, finished = (tmp_path / f"outputs/s/num_epochs-{n}" for n in (5000, 5001, 1))
    submitted = [job_id(run) for run in (cancelled, killed, finished)]

    sweep(*SLURM, *LONG, *epochs).kill()
    process = sweep(*SLURM, *LONG, *epochs)
    wait_until(lambda: trains(cancelled) and trains(killed))
    ask("scancel", job_id(cancelled))
    for pid in tasks_of(job_id(killed)):
        os.kill(pid, signal.SIGKILL)
    code, out, errors = ended(process)
    assert code == 1
    assert [job_id(run) for run in (cancelled, killed, finished)] == submitted, "what was queued was waited for"
    assert "submitted as" not in out
    assert RunRecord.load(cancelled).status == "interrupted"
    assert list((cancelled / "checkpoints").glob("*.ckpt"))
    assert RunRecord.load(killed).status == "failed"
    assert "cut off" in RunRecord.load(killed).error.message
    assert RunRecord.load(finished).status == "finished"
    assert "2 of 3 jobs did not finish" in errors
    assert str(cancelled) in errors and str(killed) in errors
    assert "CANCELLED" in ask("sacct", "-X", "-n", "-D", "-o", "State", "-j", job_id(cancelled))
    assert "REQUEUED" not in ask("sacct", "-X", "-n", "-D", "-o", "State")


def test_a_time_limit_requeues_once_each_time_and_ends_with_the_loss_of_an_undisturbed_run(sweep, tmp_path, ask):
    slow = f"hydra.launcher.python={sys.executable} {Path(__file__).parent / 'slow_python.py'}"
    length = ["batching.num_epochs=110", *LONG]
    limit = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=30", slow]
    process = sweep(*SLURM, *limit, *length, "seed=0")
    undisturbed = sweep("study.name=undisturbed", *length, "seed=0")
    code, _, errors = ended(process, 580)
    assert code == 0, errors
    assert ended(undisturbed)[0] == 0
    (run,) = (path.parent for path in (tmp_path / "outputs/s").rglob("run.json"))
    (other,) = (path.parent for path in (tmp_path / "outputs/undisturbed").rglob("run.json"))
    assert RunRecord.load(run).status == "finished"
    assert RunRecord.load(run).final_loss == RunRecord.load(other).final_loss
    assert (run / "model/model.safetensors").read_bytes() == (other / "model/model.safetensors").read_bytes()
    states = ask("sacct", "-X", "-n", "-D", "-o", "State", "-j", job_id(run)).split()
    log = "".join(path.read_text() for path in (run.parent / ".submitit").rglob("*_log.out"))
    assert states[-1] == "COMPLETED"
    assert states.count("REQUEUED") == len(states) - 1 >= 1
    assert log.count("resuming") == log.count("stopped by SIGUSR1 after step") == states.count("REQUEUED")


def test_a_run_goes_on_while_the_daemon_of_its_node_is_killed_and_started_again(sweep, tmp_path, ask, slurm):
    slow = f"hydra.launcher.python={sys.executable} {Path(__file__).parent / 'slow_python.py'}"
    process = sweep(*SLURM, *LONG, slow, "batching.num_epochs=30", "study.factors=[seed]", "seed=0")
    run = tmp_path / "outputs/s/seed-0"
    wait_until(lambda: trains(run))
    folder = Path(slurm["SLURM_CONF"]).parent
    daemon = int((folder / "run/slurmd.started").read_text())
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{daemon}").exists() or "Z" in Path(f"/proc/{daemon}/stat").read_text())
    with open(folder / "log/slurmd-again.log", "w") as log:
        environment = os.environ | slurm | {"PATH": os.environ["PATH"] + ":/usr/sbin"}
        again = subprocess.Popen(["slurmd", "-D", "-N", "localhost"], env=environment, stdout=log, stderr=log)
    (folder / "run/slurmd.started").write_text(f"{again.pid}\n")
    code, _, errors = ended(process)
    assert code == 0, errors
    assert RunRecord.load(run).status == "finished"
    assert "REQUEUED" not in ask("sacct", "-X", "-n", "-D", "-o", "State", "-j", job_id(run))


@pytest.mark.exhaustive  # what is requeued by whom is tested for every answer of scontrol in test_slurm_task.py
@pytest.mark.parametrize("partition", ["local", "graceful"])
def test_a_preempted_job_saves_is_requeued_once_and_ends_with_the_loss_of_an_undisturbed_run(
    sweep, tmp_path, ask, partition
):
    slow = f"hydra.launcher.python={sys.executable} {Path(__file__).parent / 'slow_python.py'}"
    place = ["trainer.devices=2", "strategy=ddp", f"hydra.launcher.partition={partition}", slow]
    length = ["batching.num_epochs=30", *LONG, "study.factors=[seed]", "seed=0"]
    process = sweep(*SLURM, *place, *length)
    undisturbed = sweep("study.name=undisturbed", *length)
    run = tmp_path / "outputs/s/seed-0"
    wait_until(lambda: trains(run))
    ask("sbatch", "--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 5")
    wait_until(lambda: RunRecord.load(run).status == "interrupted", 30)
    assert list((run / "checkpoints").glob("*.ckpt"))
    code, _, errors = ended(process)
    assert code == 0, errors
    assert ended(undisturbed)[0] == 0
    record, other = RunRecord.load(run), RunRecord.load(tmp_path / "outputs/undisturbed/seed-0")
    assert record.status == "finished"
    assert record.final_loss == pytest.approx(other.final_loss, rel=1e-5)
    states = ask("sacct", "-X", "-n", "-D", "-o", "State%20", "-j", job_id(run)).split()
    assert states == [{"local": "PREEMPTED", "graceful": "REQUEUED"}[partition], "COMPLETED"]
    log = "".join(path.read_text() for path in (run.parent / ".submitit").rglob("*_0_log.out"))
    assert log.count("resuming") == log.count("stopped by SIGTERM after step") == 1


@pytest.mark.exhaustive
def test_a_preempted_job_saves_and_is_not_requeued_where_its_partition_cancels(sweep, tmp_path, ask):
    place = ["hydra.launcher.partition=cancelling", "study.factors=[seed]", "seed=0"]
    process = sweep(*SLURM, *place, *LONG, "batching.num_epochs=5000")
    run = tmp_path / "outputs/s/seed-0"
    wait_until(lambda: trains(run))
    ask("sbatch", "--partition=urgent", "--cpus-per-task=8", "--output=/dev/null", "--wrap=sleep 5")
    code, _, errors = ended(process)
    assert code == 1
    assert f"{run}: interrupted: " in errors
    assert RunRecord.load(run).status == "interrupted"
    assert list((run / "checkpoints").glob("*.ckpt"))
    (state,) = ask("sacct", "-X", "-n", "-D", "-o", "State", "-j", job_id(run)).split()
    assert state in ("FAILED", "PREEMPTED"), "it ended within its minute, and did not return"
