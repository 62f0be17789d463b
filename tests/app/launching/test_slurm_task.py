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
