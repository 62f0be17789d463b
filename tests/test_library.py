"""The guide for notebooks: what it shows runs, what it names is there."""

import importlib
import json
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from sparrow.analysis import read_predictions, score
from tests.media.video_clips import write_clip
from tests.report.run_folders import add_exact_run

GUIDE = (Path(__file__).parents[1] / "docs" / "library.md").read_text()


def test_what_the_guide_shows_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4")
    (tmp_path / "texts.jsonl").write_text(json.dumps({"instruction": "Sum up.", "input": "Words.", "output": "Few."}))
    add_exact_run(tmp_path / "outputs" / "study" / "a", {"mixture": "a"}, {"clips": {"after": 30}})
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1], names)
    assert names["frames"].shape[0] == len(names["times_s"]) == 8
    assert names["frames"].dtype == names["pages"][0].dtype == np.uint8
    assert names["pages"][0].shape == (448, 448)
    assert len(names["texts"]) == 1
    assert names["after"]["score"].tolist() == [0.75]


def test_every_name_of_the_guide_is_there():
    rows = re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
    assert len(rows) == 8
    for row in rows:
        first, *others = re.findall(r"`([\w.]+)`", row)
        module, _, name = first.rpartition(".")
        assert all(hasattr(importlib.import_module(module), name) for name in (name, *others)), row


# What the packages offered before the settings became pydantic's; a name that is renamed warns.
FORMER = {
    "analysis": ("Predictions", "paired_difference", "read_predictions", "score"),
    "data": ("build_plan", "load_source"),
    "evaluation": ("read_benchmark", "read_choice", "read_predictions"),
    "media": ("FramePolicy", "TextStyle", "read_frames", "render_text"),
    "models": ("load_backbone",),
    "runs": ("load_runs",),
    "world": ("TABLES", "Table", "WorldSettings", "ensure_world", "world_texts"),
}
RENAMED = {("world", "Table"): "WorldTable"}


@pytest.mark.parametrize(("package", "name"), [(package, name) for package, names in FORMER.items() for name in names])
def test_former_names_are_there_or_name_the_new_one(package, name):
    module = importlib.import_module(f"sparrow.{package}")
    renamed = RENAMED.get((package, name))
    with pytest.warns(FutureWarning, match=f"it is now sparrow.{package}.{renamed}") if renamed else nullcontext():
        assert getattr(module, name) is getattr(module, renamed or name)


def test_the_former_seed_of_a_score_is_named_as_gone(tmp_path):
    folder = tmp_path / "run"
    add_exact_run(folder, {}, {"clips": {"after": 30}})
    predictions = read_predictions(next(folder.rglob("*.jsonl")))
    with pytest.warns(FutureWarning, match="its seed is fixed"):
        assert score(predictions, seed=0) == score(predictions)
