"""What a task of a SLURM job does once its run has ended."""

import json
import signal

import pytest
import submitit

from sparrow.app.launching import rank

AT_LIMIT, TERMINATED = 128 + signal.SIGUSR1, 128 + signal.SIGTERM


class Place:
    global_rank, local_rank, node, num_tasks, hostnames, raw_job_id, job_id = 0, 0, 0, 1, ["here"], "13", "12_0"


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Carry out a task whose run ends with a code, where `scontrol` is a shell script or missing."""

    def carry_out(code, scontrol=None):
        if scontrol is not None:
            (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{scontrol}\n")
            (tmp_path / "scontrol").chmod(0o755)
        with pytest.raises(SystemExit) as ended:
            monkeypatch.setattr(rank, "run_rank", lambda arguments: code)
            rank.run_slurm_task(["train"], max_requeues=1)
        return ended.value.code

    Place.paths = type("Paths", (), {"folder": tmp_path})
    monkeypatch.setattr(submitit, "JobEnvironment", Place)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "0")
    return carry_out


@pytest.mark.parametrize("code", [AT_LIMIT, TERMINATED])
@pytest.mark.parametrize(
    ("scontrol", "why"), [(None, "No such file or directory: 'scontrol'"), ("echo no answer >&2; exit 1", "no answer")]
)
def test_a_job_that_cannot_be_requeued_says_so_with_the_remedy_and_keeps_its_exit_code(
    task, tmp_path, caplog, code, scontrol, why
):
    assert task(code, scontrol) == code
    assert "job 12_0 was not requeued" in caplog.text
    assert why in caplog.text
    assert "mount scontrol, slurm.conf and the socket of munge" in caplog.text
    assert json.loads((tmp_path / "12_0_0_exit_code").read_text()) == code


def test_a_requeued_job_leaves_no_exit_code_and_one_that_ends_does(task, tmp_path, caplog):
    left = tmp_path / "12_0_0_exit_code"
    assert task(0) == 0
    assert json.loads(left.read_text()) == 0
    assert task(AT_LIMIT, f'echo "$@" >> {tmp_path}/asked') == 0
    assert (tmp_path / "asked").read_text() == "requeue 12_0\n"
    assert not left.exists(), "what an earlier start left says nothing of this one"
    assert not caplog.records


RUNNING = "JobId=13 JobState=RUNNING Partition=low PreemptTime=2024-05-01T10:00:00"
KEPT, REQUEUES = "PartitionName=low PreemptMode=CANCEL", "PartitionName=low PreemptMode=GANG,REQUEUE"
NOT_PREEMPTED = RUNNING.replace("2024-05-01T10:00:00", "None")
CANCELLED = RUNNING.replace("RUNNING", "CANCELLED")


@pytest.mark.parametrize(
    ("code", "restarts", "job", "partition", "requeued"),
    [
        (0, "0", RUNNING, REQUEUES, False),
        (1, "0", RUNNING, REQUEUES, False),
        (AT_LIMIT, "0", NOT_PREEMPTED, KEPT, True),
        (AT_LIMIT, "1", NOT_PREEMPTED, KEPT, False),
        (AT_LIMIT, "2", RUNNING, REQUEUES, False),
        (TERMINATED, "0", RUNNING, REQUEUES, True),
        (TERMINATED, "5", RUNNING, REQUEUES, True),  # who is preempted is not to blame for it
        (TERMINATED, "0", RUNNING, KEPT, False),
        (TERMINATED, "0", NOT_PREEMPTED, REQUEUES, False),
        (TERMINATED, "0", "JobId=13 JobState=RUNNING Partition=low", REQUEUES, False),
        (TERMINATED, "0", CANCELLED, REQUEUES, False),
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_a_job_is_requeued_at_its_time_limit_and_when_it_is_preempted_by_rank_0_alone(
    task, tmp_path, monkeypatch, number, code, restarts, job, partition, requeued
):
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    monkeypatch.setattr(Place, "global_rank", number)
    scontrol = f"""case "$*" in
        requeue*) echo "$@" >> {tmp_path}/asked ;;
        "--oneliner show job 12_0") echo "{job}" ;;
        "--oneliner show partition low") echo "{partition}" ;;
        *) exit 1 ;;
    esac"""
    assert task(code, scontrol) == (0 if requeued else code)
    assert (tmp_path / f"12_0_{number}_exit_code").exists() is not requeued
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 12_0\n" if requeued and number == 0 else "")
