"""What a sample shows and says: times before the frames of its videos, planned as they are encoded."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from sparrow.core.errors import MediaError
from sparrow.core.hashing import content_hash
from sparrow.core.samples import Image, LongText, Message, Sample, Text, Video
from sparrow.data.encode import Presentation, encode, load_frames, measure
from sparrow.data.sample_costs import measure_samples
from sparrow.data.settings import Source
from sparrow.data.sources import load_source
from sparrow.media.frames import read_frames
from sparrow.media.settings import FramePolicy, TextStyle
from sparrow.models.loading import load_backbone
from sparrow.models.registry import FAMILIES, NATIVE_VIDEO
from tests.evaluation.benchmark_folders import write_video

TIMED = Presentation(frames=FramePolicy(max_frames=4, timestamps=True))
UNTIMED = replace(TIMED, frames=FramePolicy(max_frames=4))


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A video, a folder of frames and a picture."""
    root = tmp_path_factory.mktemp("media")
    write_video(root / "a.mp4", seconds=8)
    (root / "frames").mkdir()
    for i in range(6):
        Picture.fromarray(np.full((48, 64, 3), 40 * i, dtype=np.uint8)).save(root / "frames" / f"{i}.png")
    Picture.fromarray(np.zeros((30, 40, 3), dtype=np.uint8)).save(root / "a.png")
    return root


@pytest.fixture(scope="module")
def load(tiny_checkpoint):
    return lambda family, **options: load_backbone(str(tiny_checkpoint(family)), with_model=False, **options)


def sample(*parts) -> Sample:
    return Sample("s", "b", (Message("user", (*parts, Text("Why?"))), Message("assistant", (Text("So."),))))


def words(backbone, encoded) -> str:
    """The text of a sample, frames left out."""
    placeholders = {backbone.image_token_id, getattr(backbone.tokenizer, "image_token_id", None)}
    if backbone.native_video:
        placeholders.add(backbone.video_token_id)
    return backbone.tokenizer.decode([i for i in encoded.input_ids.tolist() if i not in placeholders])


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_each_frame_of_a_video_stands_after_its_time_and_nothing_else_does(load, media, family):
    backbone = load(family)
    page = replace(TIMED, present_as="pages")
    shown = sample(Video("a.mp4", 2.0, 5.0), Image("a.png"), LongText("A long tale. " * 20))
    encoded = encode(shown, media, backbone, page)
    _, times = read_frames(media / "a.mp4", TIMED.frames, 2.0, 5.0)
    expected = [backbone.time_words(time).strip() for time in times]
    text = words(backbone, encoded)
    begins = [text.index(time) for time in expected]
    assert begins == sorted(begins)
    assert 2.0 <= times[0] < times[-1] < 5.0
    assert text.count(" seconds>") + text.count("Frame from") == len(times)
    planned, num_frames, num_pages, *_ = measure(shown, media, backbone, page)
    assert planned.input_ids.tolist() == encoded.input_ids.tolist()
    assert num_frames == len(encoded.frames) == 4 + 1 + 1
    assert num_pages == 1
    plain = encode(shown, media, backbone, replace(page, frames=UNTIMED.frames))
    assert encoded.num_visual_tokens == plain.num_visual_tokens < len(plain.input_ids) < len(encoded.input_ids)


@pytest.mark.parametrize("family", NATIVE_VIDEO)
def test_a_video_is_one_native_video_while_pictures_and_pages_stay_images(load, media, family):
    backbone = load(family, native_video=True)
    shown = sample(Image("a.png"), Video("a.mp4", 2.0, 5.0), LongText("A long tale. " * 20))
    how = replace(UNTIMED, present_as="pages")
    encoded = encode(shown, media, backbone, how)
    (video,) = encoded.frames.videos
    assert (video.first, video.num_frames) == (1, 4)
    assert video.interval_s == pytest.approx(2 / 3)
    assert len(encoded.frames.images()) == 2
    planned, num_frames, num_pages, *_ = measure(shown, media, backbone, how)
    assert planned.input_ids.tolist() == encoded.input_ids.tolist()
    assert planned.num_visual_tokens == encoded.num_visual_tokens
    assert (num_frames, num_pages) == (6, 1)


def test_pages_as_a_native_video_share_patches_in_time(load, media):
    """Two pages take the tokens of one on Qwen2.5-VL; what is planned is what is encoded."""
    backbone = load("qwen2_5_vl", native_video=True)
    shown = sample(Image("a.png"), LongText("A long tale. " * 150), Video("a.mp4", 2.0, 5.0))
    pages, video = (
        replace(UNTIMED, present_as="pages", style=TextStyle(fallback_fonts=(), as_video=as_video))
        for as_video in (False, True)
    )
    images, encoded = (encode(shown, media, backbone, how) for how in (pages, video))
    of_pages, of_clip = encoded.frames.videos
    assert (of_pages.first, of_pages.num_frames, of_pages.interval_s) == (1, 4, 1.0)
    assert (of_clip.first, of_clip.num_frames) == (5, 4)
    per_page = backbone.visual_tokens((448, 448), 1)
    assert images.num_visual_tokens - encoded.num_visual_tokens == 2 * per_page
    planned, num_frames, num_pages, *_ = measure(shown, media, backbone, video)
    assert planned.input_ids.tolist() == encoded.input_ids.tolist()
    assert (num_frames, num_pages) == (9, 4)


def test_frames_are_planned_at_the_size_at_which_they_are_shown(load, media):
    backbone = load("qwen2_5_vl")
    for policy in (replace(UNTIMED.frames, frame_size_px=40), replace(UNTIMED.frames, max_pixels=4 * 40 * 40)):
        how = replace(UNTIMED, frames=policy)
        frames = load_frames(sample(Video("a.mp4")), media, how)
        assert all(frame.shape[0] * frame.shape[1] <= 40 * 40 for frame in frames)
        encoded = encode(sample(Video("a.mp4")), media, backbone, how)
        assert (
            measure(sample(Video("a.mp4")), media, backbone, how).chat.input_ids.tolist() == encoded.input_ids.tolist()
        )


def test_a_picture_that_cannot_be_shown_is_rejected_not_raised(load, media, tmp_path):
    Picture.fromarray(np.zeros((2000, 3, 3), dtype=np.uint8)).save(media / "strip.png")
    turns = [{"from": "human", "value": "<image>\nWhy?"}, {"from": "gpt", "value": "So."}]
    records = [{"id": image, "image": image, "conversations": turns} for image in ("strip.png", "a.png")]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    read = Source(converter="llava", files=["a.jsonl"], root=str(tmp_path), media_root=str(media))
    source = load_source("s", read, cache_root=tmp_path)
    table = measure_samples(source, [0, 1], load("qwen2_5_vl"), UNTIMED)
    assert table["status"].tolist() == ["rejected", "used"]
    assert "3 x 2000 px cannot be shown" in table["reason"][0]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_turn_that_is_not_to_be_learnt_has_no_labels(load, media, family):
    backbone = load(family)

    def learnt(*supervised):
        turns = [
            message
            for number, is_learnt in enumerate(supervised)
            for message in (
                Message("user", (Text(f"Why {number}?"),)),
                Message("assistant", (Text(f"Since {number}."),), is_learnt),
            )
        ]
        encoded = encode(Sample("s", "b", tuple(turns)), media, backbone, UNTIMED)
        return encoded.input_ids, encoded.labels >= 0

    (ids, whole), (same_ids, first), (_, last) = learnt(True, True), learnt(True, False), learnt(False, True)
    assert ids.tolist() == same_ids.tolist()
    assert first.any() and last.any() and not (first & last).any()
    assert (first | last).tolist() == whole.tolist()
    assert "Since 1" in backbone.tokenizer.decode(ids[last]) and "Since 0" not in backbone.tokenizer.decode(ids[last])


def frames_of(source, backbone):
    """The grey values of the frames that each sample of a source shows."""
    table = measure_samples(source, range(len(source)), backbone, UNTIMED)
    assert table["status"].tolist() == ["used"] * len(source), table["detail"].tolist()
    return [[int(frame[0, 0, 0]) for frame in load_frames(one, source.media_roots, UNTIMED)] for one in source]


def asking(mark, **fields):
    return {"conversations": [{"from": "human", "value": f"{mark}Why?"}, {"from": "gpt", "value": "So."}], **fields}


def test_media_that_a_data_set_holds_as_bytes_are_shown(load, media, tmp_path):
    """As the `Image` feature of `datasets` and lists of it write them, and as plain bytes."""
    import pyarrow
    import pyarrow.parquet

    pictures = [(media / "frames" / f"{i}.png").read_bytes() for i in range(3)]
    records = [
        asking("<image>", images=[{"bytes": pictures[2], "path": "x.png"}]),
        asking("<image>", images=[{"bytes": None, "path": "frames/1.png"}]),
        asking("<video>", videos=[[{"bytes": picture, "path": None} for picture in pictures]]),
        asking("<image>", image=pictures[1]),
        asking("<video>", video={"bytes": (media / "a.mp4").read_bytes(), "path": "a.mp4"}),
    ]
    fields = {field for record in records for field in record}
    table = pyarrow.Table.from_pylist([{field: record.get(field) for field in fields} for record in records])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    read = Source(converter="llava", files=["a.parquet"], root=str(tmp_path), media_root=str(media))
    source = load_source("s", read, cache_root=tmp_path / "cache")
    *shown, clip = frames_of(source, load("qwen2_5_vl"))
    assert shown == [[80], [40], [0, 40, 80], [40]]
    assert len(clip) == 4
    assert len([path for path in (source.folder / "media").rglob("*") if path.is_file()]) == 5  # one with two endings

    import datasets

    datasets.Dataset(table).save_to_disk(str(tmp_path / "saved"))
    saved = load_source("s", replace(read, files=["hf:saved"]), cache_root=tmp_path / "cache")
    assert saved.content_hash == source.content_hash
    assert frames_of(saved, load("qwen2_5_vl")) == [*shown, clip]


def test_absolute_paths_and_links_may_end_in_any_media_root(load, media, tmp_path):
    """A cache of the Hub is made of links to files without endings that lie elsewhere."""
    hub, elsewhere = tmp_path / "hub", tmp_path / "elsewhere"
    (hub / "snapshot/frames").mkdir(parents=True)
    elsewhere.mkdir()
    for i in range(4):
        (elsewhere / f"blob{i}").write_bytes((media / "frames" / f"{i}.png").read_bytes())
        (hub / "snapshot/frames" / f"{i}.png").symlink_to(elsewhere / f"blob{i}")
    records = [
        asking("<image>", image="frames/2.png"),
        asking("<image>", image=str(hub / "snapshot/frames/1.png")),
        asking("<image>", image=str(elsewhere / "blob3")),
        asking("<video>", video="frames"),
        asking("<video>", videos=[["frames/3.png", str(elsewhere / "blob0")]]),
    ]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    read = Source(converter="llava", files=["a.jsonl"], root=str(tmp_path), media_root="hub/snapshot")
    outside = load_source("s", read, cache_root=tmp_path)
    backbone = load("qwen2_5_vl")
    rejected = measure_samples(outside, range(5), backbone, UNTIMED)
    assert set(rejected["status"]) == {"rejected"}
    assert "name the folder that holds it in the source's media_roots" in rejected["detail"][0]
    inside = load_source("s", replace(read, media_roots=["elsewhere"]), cache_root=tmp_path)
    assert frames_of(inside, backbone) == [[80], [40], [120], [0, 40, 80, 120], [120, 0]]
    absolute = [asking("<image>", image=str(elsewhere / "blob3"))]
    (tmp_path / "a.jsonl").write_text(json.dumps(absolute[0]))
    own = load_source("s", replace(read, media_root="elsewhere"), cache_root=tmp_path)
    assert frames_of(own, backbone) == [[120]]


def test_frames_without_a_clock_have_no_time_to_write(load, media):
    folder, clocked = sample(Video("frames")), sample(Video("frames", fps=2.0))
    images, native = load("qwen2_5_vl"), load("qwen2_5_vl", native_video=True)
    for work in (encode, measure):
        for backbone, how in ((images, TIMED), (native, UNTIMED)):
            with pytest.raises(MediaError, match=r"frame rate is not known, .* no times.*give the record its fps"):
                work(folder, media, backbone, how)
            work(clocked, media, backbone, how)
        work(folder, media, images, UNTIMED)
        work(folder, media, load("llava_onevision", native_video=True), UNTIMED)


def test_settings_that_came_later_leave_the_hash_of_a_plan_alone():
    before = content_hash([{"policy": "uniform", "max_frames": 24, "fps": None, "timestamps": False}, "video", None])
    assert Presentation().fingerprint() == before
    assert Presentation(FramePolicy(verify="frames")).fingerprint() == before
    assert Presentation(FramePolicy(hdr="tone_map")).fingerprint() != before
