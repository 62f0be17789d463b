"""The README's first command, whole: what the table says must be there to be seen."""

import os
import subprocess
import sys

import pytest

from sparrow.analysis.intervals import chance_bound
from sparrow.runs.record import RunRecord


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    done = subprocess.run(
        [sys.executable, "-m", "sparrow", "train", "experiment=quickstart", "trainer.progress_bar=false"],
        cwd=folder,
        env=os.environ | {"SPARROW_CACHE_ROOT": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=1700,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_both_arms_finish_and_end_in_a_table_and_a_picture(quickstart):
    folder, printed = quickstart
    records = [RunRecord.load(path.parent) for path in folder.rglob("run.json")]
    assert [record.status for record in records] == ["finished"] * 3, "two arms and the model they start from"
    arms = [record for record in records if record.study.name == "quickstart"]
    assert len({record.num_samples for record in arms}) == 1
    assert len({record.parent for record in arms}) == 1
    for part in ("world_short", "world_long", "chance", "blind", "tensorboard --logdir", "report.png"):
        assert part in printed
    for name in ("report.csv", "report.md", "report.png"):
        assert (folder / "outputs/quickstart" / name).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mixture", ["world_video", "world_sparrow"])
@pytest.mark.parametrize("kind", ["colour", "shape"])
def test_what_short_clips_show_is_seen(quickstart, mixture, kind):
    """Above what guessing exceeds in 5 % of cases, and above the interval of the same model without frames."""
    scores = RunRecord.load(quickstart[0] / "outputs/quickstart" / f"mixture-{mixture}").scores["world_short"]
    after, blind = scores["after"].by_category[kind], scores["blind"].by_category[kind]
    assert after.accuracy > chance_bound(after.chance, after.num_questions)
    assert after.accuracy > blind.high
