"""`run.json`: round trip, what is refused, and the helpers that fill it."""

import json
import math
import subprocess
import time

import pytest

from sparrow.analysis.scores import Accuracy, Score
from sparrow.core.errors import RunError
from sparrow.runs import record as record_module
from sparrow.runs.record import (
    FILE_NAME,
    DataCounts,
    GitRevision,
    RunRecord,
    Tokens,
    git_revision,
    package_versions,
)
from sparrow.runs.settings import Study


def example(**changes) -> RunRecord:
    numbers = {"low": 0.4, "high": 0.6, "chance": 0.25, "num_questions": 40, "num_correct": 20, "num_unanswered": 1}
    return RunRecord(
        run_id="0123456789ab",
        name="mixture=video_only",
        command="train",
        config={"seed": 0, "mixture": {"num_samples": None}},
        study=Study(name="s", factors=["mixture"], published={"Some-8B": {"x": {"y": 1.5}}}),
        factors={"mixture": "video_only"},
        git=GitRevision("abc", dirty=True),
        data={"clips": DataCounts(3, 2, 1, {"unreadable": 1}, 48, 100, 50, 20)},
        tokens=Tokens(100, 50, 20),
        time_s={"train": 1.5},
        scores={
            "short": {
                "after": Score(
                    accuracy=0.5,
                    **numbers,
                    by_category={"count": Accuracy(accuracy=0.5, **numbers)},
                    scoring="generate",
                    predictions="predictions/after/short.jsonl",
                )
            }
        },
        **changes,
    )


def test_a_record_survives_the_disk(tmp_path):
    example().save(tmp_path)
    assert RunRecord.load(tmp_path) == example(started_at=RunRecord.load(tmp_path).started_at)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_what_is_saved_within_a_stage_holds_its_seconds_so_far(tmp_path):
    record = example()
    with record.timed("train"):
        time.sleep(0.01)
        record.beat(tmp_path, 1)
        killed = RunRecord.load(tmp_path).time_s["train"]
    assert killed > 1.51
    assert record.time_s["train"] > killed
    assert record.gpu_hours is None
    record.peak_memory_bytes = {"cuda": 1}
    record.throughput = {"gpu_hours": 1e-9}
    record.config["trainer"] = {"devices": 2, "num_nodes": 1}
    assert record.gpu_hours == record.time_s["train"] * 2 / 3600


def test_numbers_that_are_not_finite_become_null(tmp_path):
    record = example(final_loss=math.nan, throughput={"samples_per_s": math.inf, "tokens_per_s": 2.0})
    record.scores["short"]["after"].accuracy = math.nan
    record.save(tmp_path)
    json.loads((tmp_path / FILE_NAME).read_text(), parse_constant=pytest.fail)
    loaded = RunRecord.load(tmp_path)
    assert loaded.final_loss is None
    assert loaded.throughput == {"samples_per_s": None, "tokens_per_s": 2.0}
    assert loaded.scores["short"]["after"].accuracy is None


def test_a_nan_that_another_writer_left_in_a_record_is_a_number_that_is_not_there(tmp_path):
    example(final_loss=0.125).save(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace("0.125", "NaN"))
    assert RunRecord.load(tmp_path).final_loss is None
    path.write_text(path.read_text().replace('"num_steps": ', '"num_steps": NaN, "was": '))
    with pytest.raises(RunError, match="not a run record of this version of Sparrow"):
        RunRecord.load(tmp_path)


def test_the_end_of_a_run_is_recorded(tmp_path):
    record = example()
    record.beat(tmp_path, 3)
    beaten = RunRecord.load(tmp_path)
    assert (beaten.status, beaten.ended_at, beaten.heartbeat_at) == ("running", None, record.heartbeat_at)
    record.end(tmp_path, "failed", RuntimeError("first line\n  the last line\n"))
    ended = RunRecord.load(tmp_path)
    assert (ended.status, ended.ended_at) == ("failed", record.ended_at)
    assert ended.error.last_line == "RuntimeError: the last line"


def edited(change) -> str:
    from dataclasses import asdict

    raw = asdict(example())
    change(raw)
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ('{"run_id": "a", ', "not valid JSON"),
        ("[1]", "schema version None"),
        (edited(lambda raw: raw.update(schema_version=99)), "schema version 99, this version of Sparrow reads 1"),
        (edited(lambda raw: raw.pop("run_id")), "run_id: is missing"),
        (edited(lambda raw: raw.update(extra=1)), "extra: unknown key"),
        (edited(lambda raw: raw.update(status="done")), "status: 'done' is not one of running, finished"),
        (edited(lambda raw: raw.update(num_steps="many")), "num_steps: expected int, found 'many'"),
        (edited(lambda raw: raw.update(num_steps=True)), "num_steps: expected int, found True"),
        (edited(lambda raw: raw.update(data=[])), r"data: expected settings, found \[\]"),
        (edited(lambda raw: raw["data"]["clips"].update(used=None)), r"data\.clips\.used: expected int, found null"),
        (edited(lambda raw: raw["scores"]["short"].update(later={})), r"scores\.short\.later.*: 'later' is not one of"),
    ],
)
def test_what_is_not_a_run_record_is_refused(tmp_path, text, message):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(RunError, match=message):
        RunRecord.load(tmp_path)


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"run\.json: there is no such file"):
        RunRecord.load(tmp_path)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (DataCounts(3, 2, 1, {"unreadable": 1}), True),
        (DataCounts(3, 2, 0), False),
        (DataCounts(3, 2, 1, {"unreadable": 2}), False),
        (DataCounts(4, 2, 1, {"unreadable": 1, "while training: gone": 1}, failed=1), True),
        (DataCounts(4, 3, 1, {"unreadable": 1}, failed=1), False),
    ],
)
def test_counts_reconcile_only_when_every_sample_is_accounted_for(counts, expected):
    assert counts.reconciles is expected


def test_the_revision_is_that_of_the_checkout_the_code_is_tracked_in(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "runs").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(record_module, "__file__", str(package / "runs" / "record.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*arguments: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        command = ["git", "-C", str(tmp_path), *settings, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_revision() is None
    git("init")
    assert git_revision() is None, "the package lies in a repository that does not track it"
    git("add", ".")
    git("commit", "-m", "first")
    assert git_revision() == GitRevision(git("rev-parse", "HEAD"), dirty=False)
    (package / "new.py").write_text("")
    untracked = git_revision()
    assert (untracked.revision, untracked.dirty) == (git("rev-parse", "HEAD"), True)
    (package / "new.py").write_text("other = 1")
    (package / "__init__.py").write_text("changed = 1")
    others = {untracked.changes, git_revision().changes}
    (package / "__init__.py").write_text("changed = 2")
    assert len(others | {git_revision().changes} - {None}) == 3, "each state of a changed checkout is told apart"


def test_versions_are_those_of_this_process():
    import numpy

    versions = package_versions()
    assert versions["numpy"] == numpy.__version__
    assert {"python", "sparrow-video", "torch"} <= versions.keys()
