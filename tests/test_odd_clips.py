"""A folder of one odd file of each kind: a plan and an epoch account for all of them, and none ends a run."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from sparrow.commands.train import train
from sparrow.data.batching import StepDataset
from sparrow.media.frames import read_clip
from sparrow.planning.run_inputs import prepare
from sparrow.runs.record import RunRecord
from tests.media.test_video_reader import DATA, odd, sequential, with_exif
from tests.media.video_clips import write_clip

UNREADABLE = {"trunc.webm", "hdr_pq.mp4", "photo.heic", "text.mp4"}
DAMAGED = {"flip_fast.mp4", "zero_fast.mp4"}  # their headers are whole
SEQUENTIAL = {"paff.mp4", "inter.mp4", "xvid.mp4", "cut_open_h264.mkv"}  # their headers prove nothing


def folder_of_odd_clips(folder: Path) -> list[str]:
    """All odd files and some good ones, a record each in `clips.json`."""
    media = folder / "media"
    media.mkdir()
    for file in DATA.iterdir():
        (media / file.name).write_bytes(file.read_bytes())
    write_clip(media / "good.mp4")
    with_exif(media / "camera.mov", 6)
    (media / "text.mp4").write_text("no video")
    (media / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    names = sorted(file.name for file in media.iterdir())
    turns = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "red"}]
    records = [{"id": name, "video": name, "conversations": turns} for name in names]
    (folder / "clips.json").write_text(json.dumps(records))
    return names


def overrides(folder: Path, count: int) -> list[str]:
    return [
        "mixture=world_video",
        "source.world_clips.use_world=false",
        "source.world_clips.files=[clips.json]",
        f"source.world_clips.root={folder}",
        "source.world_clips.media_root=media",
        f"mixture.num_samples={count}",
        "frames.max_frames=8",
        "on_bad_sample=skip",
        "max_bad_fraction=0.5",
    ]


@odd
@pytest.mark.parametrize("verify", ["auto", "frames"])
def test_a_plan_accounts_for_every_odd_file(settings, tmp_path, caplog, verify):
    names = folder_of_odd_clips(tmp_path)
    with caplog.at_level(logging.INFO):
        prepared = prepare(settings(*overrides(tmp_path, len(names)), f"frames.verify={verify}"))
    ledger = prepared.plan.ledger.set_index("sample_id")
    rejected = UNREADABLE | (DAMAGED if verify == "frames" else set())
    assert set(ledger.index[ledger["status"] == "rejected"]) == rejected
    assert (ledger.loc[list(rejected), "reason"] != "").all()
    used = ledger[ledger["status"] == "used"]
    assert set(used.index[used["num_sequential"] == 1]) == SEQUENTIAL | {"intra_refresh.mp4"}
    assert set(used.index[used["num_interlaced"] == 1]) == {"paff.mp4", "inter.mp4"}
    assert set(used.index[used["num_verified"] == 1]) == (SEQUENTIAL if verify == "auto" else set(used.index))
    told = caplog.text
    if verify == "auto":
        assert (
            f"{len(names)} videos: {len(names) - 8} planned by their header; 4 to be decoded whole, 236 frames" in told
        )
        assert "about 1 s on one core; 4 cannot be opened" in told
    else:
        assert "frames.verify=frames, so that all frames to be shown are decoded now" in told
    dataset = StepDataset(prepared.plan, prepared)
    for position, row in enumerate(prepared.plan.ledger.itertuples()):
        if row.status == "used" and row.sample_id not in DAMAGED:
            assert (
                len(dataset.encode(position).frames)
                == row.num_frames
                == (5 if row.sample_id in ("camera.mov", "hdr_pq.mp4") else 8)
            )
            clip = read_clip(tmp_path / "media" / row.sample_id, prepared.presentations["video"].frames)
            expected = [*sequential(tmp_path / "media" / row.sample_id).values()]
            if row.sample_id not in ("circle_sar.mp4", "camera.mov"):
                for index, frame in zip(clip.indices, clip.frames, strict=True):
                    assert np.abs(frame.astype(int) - expected[index]).mean() < 2


@odd
@pytest.mark.slow
def test_an_epoch_over_odd_files_names_those_that_fail(settings, tmp_path):
    names = folder_of_odd_clips(tmp_path)
    train(settings(*overrides(tmp_path, len(names)), "evaluation.after=false"), tmp_path / "run", name="odd")
    record = RunRecord.load(tmp_path / "run")
    assert record.status == "finished"
    (counts,) = record.data.values()
    assert counts.requested == len(names) == counts.used + counts.rejected + counts.failed
    assert (counts.rejected, counts.failed) == (len(UNREADABLE), len(DAMAGED))
    assert record.num_samples == counts.used
    assert sum("while training" in reason for reason in counts.rejected_by_reason) == 1
