"""A whole run of every family: video, pages and plain text mixed, trained, evaluated, saved, exported."""

import pandas as pd
import pytest

from sparrow.commands.export import export
from sparrow.commands.train import train
from sparrow.models.loading import load_backbone
from sparrow.models.registry import WITHOUT_PACKING
from sparrow.runs.record import RunRecord


def test_videos_go_in_the_familys_own_way(video_family, settings, tmp_path):
    config = settings(
        f"backbone.family={video_family}",
        "backbone.native_video=true",
        "frames.max_frames=3",
        "mixture.num_samples=16",
        "benchmark=[world/short]",
        "benchmark.world_short.num_questions=4",
    )
    train(config, tmp_path / "run", name=video_family)
    record = RunRecord.load(tmp_path / "run")
    backbone = load_backbone(str(tmp_path / "run" / "model"), with_model=False, native_video=True)
    ledger = pd.read_parquet(tmp_path / "run" / "ledger.parquet")
    videos, pages = (ledger[ledger["component"] == name] for name in ("video", "text"))
    assert set(videos["num_frames"]) == {2, 3}
    tokens = [backbone.visual_tokens((64, 64), count) for count in videos["num_frames"]]
    assert videos["visual_tokens"].tolist() == tokens
    image = len(backbone.frame_token_ids(backbone.prepared_size((64, 64))))
    assert (pages["visual_tokens"] == image * pages["num_frames"]).all()
    assert (videos["visual_tokens"] < image * videos["num_frames"]).all()
    assert record.status == "finished"
    assert record.scores["world_short"]["after"].num_unanswered == 0


@pytest.mark.slow
def test_a_run_of_each_family(family, settings, tmp_path):
    config = settings(
        f"backbone.family={family}",
        "mixture.num_samples=32",
        "mixture.components.video.fraction=0.5",
        "mixture.components.text.fraction=0.25",
        "+mixture.components.plain={source: world_event_texts, fraction: 0.25, present_as: text}",
        f"batching={'padded' if family in WITHOUT_PACKING else 'packed'}",
        "batching.micro_batch_size_samples=2",
        "benchmark=[world/short]",
        "tuning=lora",
        "tuning.vision.mode=trained",
        "tuning.vision.learning_rate_multiplier=0.1",
    )
    train(config, tmp_path / "run", name=family)
    record = RunRecord.load(tmp_path / "run")
    assert record.status == "finished"
    assert record.data["plain"].used == 8
    assert record.scores["world_short"]["after"].num_unanswered == 0
    export(tmp_path / "run", tmp_path / "model", name="model")
    assert load_backbone(str(tmp_path / "model")).family == family
