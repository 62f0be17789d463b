"""The jobs of a stored sweep, also of one that a real multirun left."""

import subprocess
import sys

import pytest

from sparrow.app.sweeps import expected_jobs


def stored(folder, params, task):
    lines = ["hydra:", "  sweeper:", "    params:", *(f"      {key}: '{value}'" for key, value in params.items())]
    lines += ["  overrides:", "    task:", *(f"    - '{line}'" for line in task), "study: {name: '${unknown:x}'}"]
    (folder / "multirun.yaml").write_text("\n".join(lines) + "\n")
    return [dict(job.values) for job in expected_jobs(folder)]


def test_jobs_are_the_product_of_the_swept_values(tmp_path):
    jobs = stored(
        tmp_path, {"mixture": "a,b", "mixture.num_samples": "30,60"}, ["+seed=range(0,2)", "x=1", "mixture=c,d"]
    )
    assert len(jobs) == 8
    assert jobs[0] == {"mixture": "c", "mixture.num_samples": 30, "seed": 0}, "typed values replace those of the file"
    assert jobs[-1] == {"mixture": "d", "mixture.num_samples": 60, "seed": 1}


def test_jobs_of_the_world_are_known_by_what_their_records_say(tmp_path):
    jobs = stored(tmp_path, {"mixture": "world/claim_video,world/video"}, ["checkpoint=world/a,world/b"])
    assert [job["mixture"] for job in jobs] == ["claim_video", "claim_video", "world_video", "world_video"]
    assert jobs[0]["checkpoint"] == "world/a", "a path is no choice"


@pytest.mark.parametrize("task", [["seed=1"], ["lr=interval(0,1)"], ["lr=choice("], ["mixture=glob(*)"], []])
def test_what_has_no_list_of_jobs_gives_none(tmp_path, task):
    assert stored(tmp_path, {"seed": "1"}, task) == []


@pytest.mark.parametrize("content", [None, "", "hydra: {", "[1, 2]", "hydra: 3"])
def test_no_or_another_or_a_broken_file_gives_none(tmp_path, content):
    if content is not None:
        (tmp_path / "multirun.yaml").write_text(content)
    assert expected_jobs(tmp_path) == []


def test_hydra_leaves_the_sweep_where_it_is_looked_for(tmp_path):
    app = "import hydra\nhydra.main(version_base='1.3', config_path=None)(lambda config: None)()\n"
    (tmp_path / "app.py").write_text(app)
    given = ["+mixture=a,b", "+seed=range(0,2)", "+x=1", f"hydra.sweep.dir={tmp_path / 'study'}"]
    subprocess.run([sys.executable, "app.py", "-m", *given], cwd=tmp_path, check=True, capture_output=True)
    jobs = [dict(job.values) for job in expected_jobs(tmp_path / "study")]
    assert jobs == [{"mixture": mixture, "seed": seed} for mixture in ("a", "b") for seed in (0, 1)]
