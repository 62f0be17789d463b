"""How far a sweep is, from what its launcher begins and ends and from the records of its runs."""

from types import SimpleNamespace

import pytest

from sparrow.app.launching.sweep_bar import SweepBar
from sparrow.core.files import write_json


@pytest.fixture
def jobs(tmp_path):
    """Four jobs, the first of which was finished before."""
    jobs = [SimpleNamespace(number=n, name=f"seed={n}", folder=tmp_path / str(n), restarts=False) for n in range(4)]
    for job in jobs:
        job.folder.mkdir()
    write_json(jobs[0].folder / "run.json", {"status": "finished", "num_steps": 10, "num_steps_done": 10})
    return jobs


def test_the_time_left_follows_from_the_steps_of_the_jobs_at_work(jobs, capsys):
    with SweepBar(jobs, one_by_one=True) as bar:
        bar.start_t = bar._time() - 60  # as if it had begun a minute ago
        bar.tell_of(jobs[1], "started")
        write_json(jobs[1].folder / "run.json", {"status": "running", "num_steps": 10, "num_steps_done": 5})
        assert str(bar) == "job 2 of 4, 05:00 left", "half a job a minute, two and a half jobs are left"
        bar.tell_of(jobs[1], "finished", ended=True)
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["#1 seed=1: started; job 2 of 4, ? left", "#1 seed=1: finished; job 3 of 4, 02:00 left"]
    with SweepBar(jobs) as bar:
        assert str(bar) == "1 of 4 jobs done, ? left", "several at once have no number"


def test_jobs_that_restart_or_were_refused_count_as_what_they_are(jobs):
    jobs[0].restarts = True
    with SweepBar(jobs, one_by_one=True) as bar:
        assert str(bar).startswith("job 1 of 4"), "the finished run is archived when its turn comes"
        write_json(jobs[0].folder / "run.json", {"status": "finished", "num_steps": 12, "num_steps_done": 12})
        assert str(bar).startswith("job 2 of 4")
    with SweepBar(jobs, {3}) as bar:
        assert str(bar).startswith("1 of 4 jobs done"), "a job that was refused is not waited for"
