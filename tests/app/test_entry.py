"""What an entry point does when its work is over."""

import sys

from sparrow.app.callbacks import RememberSweep
from sparrow.app.entry import run_app
from tests.runs.report.run_folders import add_exact_run


def test_a_sweep_whose_runs_lie_in_folders_of_folders_ends_with_its_report(tmp_path, monkeypatch):
    add_exact_run(tmp_path / "experiment=sub/mine", {"seed": 0}, {"clips": {"after": 20}})
    monkeypatch.setattr(RememberSweep, "folders", [tmp_path])
    monkeypatch.setattr(sys, "argv", ["sparrow train"])
    run_app(lambda: None)
    assert "clips" in (tmp_path / "report.md").read_text()
