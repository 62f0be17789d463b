"""Ranks that wait for what rank 0 does alone."""

import pytest

from sparrow.analysis.scores import Score
from sparrow.core.errors import RunError
from sparrow.runs import record as record_module
from sparrow.runs import status as outcome
from sparrow.runs.record import RunRecord

NUMBERS = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "chance": 0.25}
COUNTS = {"num_questions": 40, "num_correct": 20, "num_unanswered": 0}


def test_other_ranks_wait_for_the_scores_of_the_first(tmp_path, monkeypatch):
    record = RunRecord(run_id="a", name="n", command="train")

    def scored():
        record.scores["short"] = {"before": Score(**NUMBERS, **COUNTS)}
        record.save(tmp_path)

    happenings = iter([lambda: None, lambda: record.save(tmp_path), scored])
    monkeypatch.setattr(outcome.time, "sleep", lambda _: next(happenings)())
    outcome.wait_for_scores(tmp_path, ["short"], "before")
    assert next(happenings, None) is None


def test_other_ranks_do_not_wait_for_a_run_that_failed(tmp_path, monkeypatch):
    record = RunRecord(run_id="a", name="n", command="train")
    record.save(tmp_path)
    monkeypatch.setattr(outcome.time, "sleep", lambda _: record.end(tmp_path, "failed", ValueError("no")))
    with pytest.raises(RunError, match=r"rank 0 of .* is failed"):
        outcome.wait_for_scores(tmp_path, ["short"], "before")


def test_other_ranks_see_that_a_run_failed_whatever_the_clock_says(tmp_path, monkeypatch):
    record = RunRecord(run_id="a", name="n", command="train")
    record.end(tmp_path, "interrupted")
    monkeypatch.setattr(record_module, "utc_now", lambda: "2001-01-01T00:00:00+00:00")
    happenings = iter(
        [lambda: record.end(tmp_path, "running"), lambda: record.end(tmp_path, "failed", ValueError("no"))]
    )
    monkeypatch.setattr(outcome.time, "sleep", lambda _: next(happenings)())
    with pytest.raises(RunError, match=r"rank 0 of .* is failed"):
        outcome.wait_for_scores(tmp_path, ["short"], "before")


def test_the_main_process_is_that_of_rank_0_wherever_slurm_started_it(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert outcome.is_main_process()
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert not outcome.is_main_process()
    monkeypatch.setenv("RANK", "0")
    assert outcome.is_main_process(), "torchrun numbers nodes by itself"
    monkeypatch.setenv("RANK", "1")
    assert not outcome.is_main_process()
