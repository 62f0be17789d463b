"""Every stage on real video files and real long texts, where they are at hand (`SPARROW_TEST_DATA`)."""

from sparrow.commands.preview import write_preview
from sparrow.commands.train import train
from sparrow.planning.run_inputs import prepare
from sparrow.runs.record import RunRecord

SMALLER = [
    "mixture.components.text.num_samples=6",
    "backbone.frame_size_px=64",
    "batching.num_epochs=1",
    "batching.num_workers=0",
    "trainer.progress_bar=false",
]


def test_real_clips_and_tales_are_planned_trained_on_and_asked_about(settings, test_data, tmp_path):
    config = settings("experiment=real_clips", f"paths.data_root={test_data}", *SMALLER, small=False)
    train(config, tmp_path / "run", name="real")
    record = RunRecord.load(tmp_path / "run")
    assert record.status == "finished"
    assert {name: counts.used for name, counts in record.data.items()} == {"video": 17, "text": 6}
    assert record.data["video"].frames == 17 * 8
    for phase in ("before", "after", "blind"):
        assert record.scores["multiple_choice"][phase].num_questions == 10
    page = write_preview(prepare(config), tmp_path / "preview.html", 4, config)
    assert "clips-0" in page.read_text(encoding="utf-8")
