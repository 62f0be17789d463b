"""How the jobs of a study stand, also of those that left no record."""

import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from sparrow.cli import run as run_command
from sparrow.core.errors import RunError
from sparrow.core.files import write_json
from sparrow.report.progress import ExpectedJob, status_table, status_text
from sparrow.runs.record import Failure, RunRecord
from tests.report.run_folders import add_exact_run

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(seconds):
    return (NOW - timedelta(seconds=seconds)).isoformat()


def aged(folder, seconds):
    """The folder as if nothing in it had changed for so long."""
    time = (NOW - timedelta(seconds=seconds)).timestamp()
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (time, time))


def add(root, name, **changes):
    add_exact_run(root / name, {"mixture": name}, {}, num_steps=50, started_at=ago(3600), **changes)
    aged(root / name, 3600)
    return root / name


def rows(root, expected=()):
    return {row[0].rpartition("/")[2]: row[1:] for row in status_table(root, expected, NOW).rows}


def test_each_status_has_its_row(tmp_path):
    add(tmp_path, "a")
    add(tmp_path, "b", status="running", num_steps_done=20, heartbeat_at=ago(45))
    add(tmp_path, "c", status="running", num_steps_done=20, heartbeat_at=ago(1200))
    add(tmp_path, "d", status="interrupted", heartbeat_at=ago(200), error=Failure("Interrupted", "stopped by SIGTERM"))
    add(tmp_path, "e", status="failed", heartbeat_at=ago(100), error=Failure("RuntimeError", "first\nout of memory"))
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "run.json").write_text("{")
    found = rows(
        tmp_path, [ExpectedJob({"mixture": "a"}, tmp_path), ExpectedJob({"mixture": "g", "seed": 1}, tmp_path)]
    )
    assert found["a"] == ("done", "50 / 50", "-", "")
    assert found["b"] == ("running", "20 / 50", "45s ago", "")
    assert found["c"][:3] == ("lost", "20 / 50", "20m 00s ago")
    assert "run the study again" in found["c"][3]
    assert found["d"] == ("interrupted", "0 / 50", "3m 20s ago", "Interrupted: stopped by SIGTERM")
    assert found["e"] == ("failed", "0 / 50", "1m 40s ago", "RuntimeError: out of memory")
    assert found["f"][0] == "unreadable" and "not valid JSON" in found["f"][3]
    assert found["mixture=g seed=1"] == ("missing", "-", "-", "no run.json yet")
    assert len(found) == 7
    assert status_table(tmp_path, [], NOW).title.endswith(
        "1 done, 1 failed, 1 interrupted, 1 lost, 1 running, 1 unreadable"
    )


def test_a_run_that_writes_answers_is_not_lost_without_a_heartbeat(tmp_path):
    folder = add(tmp_path, "a", status="running", heartbeat_at=ago(7200))
    assert rows(tmp_path)["a"][0] == "lost"
    (folder / "predictions").mkdir()
    (folder / "predictions" / "part.jsonl").write_text("{}")
    aged(folder, 30)
    assert rows(tmp_path)["a"][0::2] == ("running", "30s ago")


def test_a_checkpoint_after_the_last_heartbeat_counts(tmp_path):
    folder = add(tmp_path, "a", status="interrupted", num_steps_done=20)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step=0000030.ckpt").write_text("")
    assert rows(tmp_path)["a"][1] == "30 / 50"


def test_values_are_compared_as_written_or_as_meant(tmp_path):
    add_exact_run(tmp_path / "a", {"mixture": "a", "lr": 0.001, "seed": 0}, {})
    jobs = [ExpectedJob({"mixture": "a", "lr": 1e-3, "seed": value}, tmp_path) for value in (0, "0", 1)]
    assert [row[1] for row in status_table(tmp_path, jobs, NOW).rows] == ["done", "missing"]


@pytest.mark.parametrize("name", ["mixture-a+seed-0", "mixture=a,seed=0"])
def test_a_job_whose_record_cannot_be_read_is_not_missing_too(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "run.json").write_text("{")
    jobs = [ExpectedJob({"mixture": "a", "seed": value}, tmp_path) for value in (0, 1)]
    assert [row[:2] for row in status_table(tmp_path, jobs, NOW).rows] == [
        (f"{tmp_path.name}/{name}", "unreadable"),
        ("mixture=a seed=1", "missing"),
    ]


def test_a_folder_without_run_or_sweep_is_one_clear_message(tmp_path, capsys):
    with pytest.raises(RunError, match="nothing has been run there yet"):
        status_table(tmp_path, [])
    assert run_command("report", [str(tmp_path), "--status"]) == 1
    assert capsys.readouterr().err.startswith("RunError: no run.json")
    jobs = [ExpectedJob({"mixture": "a"}, tmp_path)]
    assert [row[1] for row in status_table(tmp_path, jobs).rows] == ["missing"]


def test_the_command_prints_several_studies_and_writes_nothing(tmp_path, capsys):
    for name in ("one", "two"):
        add_exact_run(tmp_path / name / "a", {"mixture": "a"}, {})
    sweep = "hydra: {sweeper: {params: {mixture: 'a,b'}}, overrides: {task: []}}"
    (tmp_path / "two" / "multirun.yaml").write_text(sweep)
    assert run_command("report", [str(tmp_path / "one"), str(tmp_path / "two"), "--status"]) == 0
    printed = capsys.readouterr().out
    assert "one: 1 done\n" in printed and "two: 1 done, 1 missing\n" in printed and "mixture=b" in printed
    assert not list(tmp_path.rglob("report.*"))
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "multirun.yaml").write_text("hydra: {job: {config_name: prepare}, " + sweep[8:])
    assert run_command("report", [str(tmp_path), "--status"]) == 0
    printed = capsys.readouterr().out
    assert "2 done, 1 missing\n" in printed and "two: mixture=b " in printed, "also of all studies at once"


def test_slurm_jobs_have_their_ids_and_failed_ones_the_log_that_holds_their_error(tmp_path):
    study, logs = tmp_path / "study", tmp_path / "elsewhere"
    logs.mkdir()
    for number, (name, status) in enumerate([("a", "running"), ("b", "failed"), ("c", "interrupted")]):
        folder = add(study, name, status=status, heartbeat_at=ago(45))
        write_json(folder / "slurm.json", {"job_id": f"12_{number}", "output": str(logs / f"12_{number}_0_log.out")})
        aged(folder, 45)
    record = RunRecord.load(study / "b")
    record.error = Failure("RuntimeError", "CUDA error:\nout of memory")
    record.save(study / "b")
    (logs / "12_1_0_log.out").write_text("step 1\nRuntimeError: CUDA error:\nout of memory\n")
    (logs / "12_1_0_log.err").write_text("a warning, written last\n")
    (study / "mixture=d").mkdir()
    write_json(study / "mixture=d" / "slurm.json", {"job_id": "12_3"})
    jobs = [ExpectedJob({"mixture": name}, study) for name in ("d", "e")]
    queue = {"12_0": "RUNNING", "12_2": "PENDING", "12_3": "PENDING"}
    found = {row[0].rpartition("/")[2]: row[1:] for row in status_table(study, jobs, NOW, queue).rows}
    assert found["a"][0::2] == ("running", "45s ago") and found["a"][3] == "SLURM job 12_0 is running"
    assert found["b"][3] == "RuntimeError: out of memory"
    assert found["c"] == ("pending", "0 / 50", "45s ago", "SLURM job 12_2 is pending")
    assert found["mixture=d"] == ("pending", "-", "-", "SLURM job 12_3 is pending")
    assert found["mixture=e"][3] == "no run.json yet"
    assert status_text(study, jobs, queue).splitlines()[-1] == f"log of study/b: {logs / '12_1_0_log.out'}"
    assert "log of study/c" not in status_text(study, jobs, queue), "it was asked to stop"
    gone = dict(row[0::4] for row in status_table(study, jobs, NOW, {}).rows)
    assert gone["mixture=d"].startswith("SLURM job 12_3 has left the queue")
    unknown = dict(row[0::4] for row in status_table(study, jobs, NOW, None).rows)
    assert "whose queue cannot be read here" in unknown["study/a"]


def test_submitted_jobs_without_a_record_are_listed_whether_their_sweep_is_known_or_not(tmp_path):
    study, output = tmp_path / "study", "/logs/12_0_0_log.out"
    for number, name in enumerate(
        ["mixture-a+seed-0", "mixture-a+seed-1", "mixture-b+archived/archived-2026/mixture-c"]
    ):
        (study / name).mkdir(parents=True)
        write_json(study / name / "slurm.json", {"job_id": f"12_{number}", "output": output})
    queue, jobs = {"12_1": "PENDING"}, [ExpectedJob({"mixture": "a", "seed": seed}, study) for seed in (1, 2)]
    assert [row[0::4] for row in status_table(study, jobs, NOW, queue).rows] == [
        ("mixture-a+seed-0", f"SLURM job 12_0 has left the queue; its output: {output}"),
        ("mixture=a seed=1", "SLURM job 12_1 is pending"),
        ("mixture=a seed=2", "no run.json yet"),
    ]
    assert len(status_table(tmp_path, [], NOW, queue).rows) == 2, "also from a folder of several studies"


def test_a_silent_job_that_slurm_still_holds_is_to_be_ended_first(tmp_path):
    folder = add(tmp_path, "a", status="running", heartbeat_at=ago(7200))
    write_json(folder / "slurm.json", {"job_id": "7"})
    aged(folder, 7200)
    (row,) = status_table(tmp_path, [], NOW, {"7": "RUNNING"}).rows
    assert row[1] == "lost" and "scancel 7 and run the study again" in row[4]


def test_watching_prints_again_and_needs_a_terminal(tmp_path, capsys, monkeypatch):
    add(tmp_path, "a")
    with pytest.raises(SystemExit):
        run_command("report", [str(tmp_path), "--status", "--watch"])
    assert "--watch SECONDS needs --status, a terminal" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("sparrow.commands.report.time", SimpleNamespace(sleep=pause))
    assert run_command("report", [str(tmp_path), "--status", "--watch", "3"]) == 130
    assert pauses == [3, 3]
    assert capsys.readouterr().out.count(": 1 done\n") == 2
