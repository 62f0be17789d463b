"""What stands around the work of a command, as a user types it: what the machine or Hydra refuses is one message."""

import sys

import pytest

from sparrow.app.entry import run_app
from sparrow.app.remember_sweep import RememberSweep
from tests.conftest import SMALL_RUN
from tests.report.run_folders import add_exact_run


@pytest.mark.parametrize(
    "given",
    [["hydra.run.dir=taken/x"], ["-m", "hydra.sweep.dir=taken/x", "seed=0,1"], ["paths.cache_root=taken/x"]],
    ids=["run", "sweep", "cache"],
)
def test_a_folder_that_cannot_be_made_is_one_message_with_its_path_and_a_remedy(sparrow, tmp_path, given):
    (tmp_path / "taken").touch()
    done = sparrow("prepare", *given, *SMALL_RUN)
    assert done.returncode == 1
    assert "taken/x" in done.stderr
    assert "a file stands where a folder is needed: choose another folder (paths.output_root" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_variable_that_is_not_set_is_one_message(sparrow):
    done = sparrow("prepare", *SMALL_RUN, "seed=${oc.env:NOT_SET}")
    assert done.returncode == 1
    assert "seed: KeyError" in done.stderr
    assert "'NOT_SET' not found\" (on the command line)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_whose_runs_lie_in_folders_of_folders_ends_with_its_report(tmp_path, monkeypatch):
    add_exact_run(tmp_path / "experiment=sub/mine", {"seed": 0}, {"clips": {"after": 20}})
    monkeypatch.setattr(RememberSweep, "folders", [tmp_path])
    monkeypatch.setattr(sys, "argv", ["sparrow"])
    monkeypatch.setattr("hydra.main", lambda **_: lambda task: lambda: None)
    run_app("train", [], "train")
    assert "clips" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_flags_may_stand_between_overrides(sparrow, tmp_path):
    (tmp_path / "a=b/mixture").mkdir(parents=True)
    (tmp_path / "a=b/mixture/mine.yaml").write_text("defaults: [world/video]\nnum_samples: 5\n")
    done = sparrow("prepare", *SMALL_RUN, "-m", "seed=3", "--config-dir", "a=b", "mixture=mine", "hydra.mode=RUN")
    assert done.returncode == 0, done.stderr
