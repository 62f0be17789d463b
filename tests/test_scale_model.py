"""The scale model's study in small, as typed: two arms that share a stage 0, a sweep that goes on, a clean report."""

import os
import subprocess
import sys

import pytest

from sparrow.runs.record import RunRecord

STAGE_0 = (
    "mixture.num_samples=320",
    "world.num_stills=240",
    "world.num_pages=100",
    "world.num_benchmark_clips=32",
    "trainer.progress_bar=false",
)
SMALL = (
    f"start_from.overrides={list(STAGE_0)}",
    "start_from.gates={world_pages:0.1,world_stills:0.1}",
    "mixture.num_samples=240",
    "world.num_clips=280",
    "world.num_clips_all_kinds=280",
    "world.num_event_texts=160",
    "world.num_benchmark_clips=32",
    "trainer.progress_bar=false",
    "hydra/launcher=parallel",
    "seed=0",
)
BENCHMARKS = {"common", "rare", "absent"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Run a command in the folder of the study; its output."""
    folder = tmp_path_factory.mktemp("scale_model")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "sparrow", *arguments],
            cwd=folder,
            env=os.environ | {"SPARROW_CACHE_ROOT": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=800,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    run.records = lambda: {
        path.parent.name: RunRecord.load(path.parent)
        for path in sorted((folder / "outputs/scale_model/claim").glob("*/run.json"))
    }
    return run


@pytest.mark.exhaustive  # the quickstart's arms share a stage 0 too, and smaller sweeps go on and are reported
@pytest.mark.timeout(1800)
def test_a_study_in_small_goes_on_and_is_reported(study):
    study("train", "-m", "experiment=scale_model/claim", *SMALL, "mixture=world/claim_video")
    (video,) = study.records().values()
    study("train", "-m", "experiment=scale_model/claim", *SMALL, "mixture=world/claim_video,world/claim_sparrow")
    records = {record.config["mixture"]["components"].keys() >= {"text"}: record for record in study.records().values()}
    assert set(records) == {False, True}
    sparrow = records[True]
    assert records[False].ended_at == video.ended_at, "what is finished is not trained again"

    assert {record.status for record in records.values()} == {"finished"}
    assert sparrow.parent == video.parent, "the arms of a seed start from one checkpoint"
    stage_0 = [RunRecord.load(path.parent) for path in (study.folder / "cache/runs").glob("*/run.json")]
    assert [record.run_id for record in stage_0] == [video.parent]
    assert set(stage_0[0].scores) == {"world_pages", "world_stills"}
    assert sparrow.num_samples == video.num_samples == 240
    for record in records.values():
        assert {name.split("_")[1] for name in record.scores} == BENCHMARKS
        for phases in record.scores.values():
            assert set(phases) == {"after", "blind", "one_frame"}

    printed = study("report", "outputs/scale_model/claim")
    text = (study.folder / "outputs/scale_model/claim/report.md").read_text()
    assert "claim_video" in text and "claim_sparrow" in text
    assert "Undeclared differences" not in text, "the arms differ in what is declared only"
    assert "world_rare_long" in printed
    for name in ("report.csv", "report.png"):
        assert (study.folder / "outputs/scale_model/claim" / name).stat().st_size > 0
