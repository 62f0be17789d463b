"""Exports for other trainers: their schemas, the way back through Sparrow's converters, and what they cannot hold."""

import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.json
import pytest
from PIL import Image as PILImage

from sparrow.core.errors import DataError, RunError
from sparrow.core.files import inside_root
from sparrow.core.samples import Image, LongText, Message, Sample, Text, Video
from sparrow.data.converters import CONVERTERS, Record
from sparrow.data.encode import Presentation, load_frames
from sparrow.data.plan import Plan, PlanInputs
from sparrow.data.rejecting import BadSamples
from sparrow.data.settings import Source
from sparrow.data.sources import load_source
from sparrow.data.trainer_export import CHUNK, export_mixture
from sparrow.data.trainer_records import DATASET_NAME, EXPORTS
from sparrow.media.images import read_image
from sparrow.media.pages import render_text
from sparrow.media.settings import FramePolicy, TextStyle
from sparrow.planning.run_inputs import prepare


@pytest.fixture(scope="module", params=["pages", "text"])
def prepared(settings, request):
    return prepare(settings(f"mixture.components.text.present_as={request.param}"))


def export(prepared, trainer, folder, **options):
    return export_mixture(prepared.plan, prepared, trainer, folder, **options)


def read_back(trainer, folder, cache):
    form = EXPORTS[trainer]
    source = Source(converter=form.converter, files=[form.file], root=str(folder))
    data = load_source("exported", source, cache_root=cache)
    return {sample.id: sample for sample in data}


def planned(prepared):
    """The used samples by the name that they are exported under, in the order of the first epoch."""
    rows = prepared.plan.ledger.iloc[np.concatenate(prepared.plan.steps)]
    return {
        f"{row.component}/{row.sample_id}": (prepared.sources[row.source][row.row], row) for row in rows.itertuples()
    }


@pytest.mark.parametrize("trainer", EXPORTS)
def test_an_export_read_back_is_the_same_samples(prepared, trainer, tmp_path):
    folder = tmp_path / "out"
    written = export(prepared, trainer, folder)
    samples, back = planned(prepared), read_back(trainer, folder, tmp_path / "cache")
    assert list(back) == list(samples)
    assert written.num_samples == len(samples) == 24
    assert written.num_videos == 16
    for name, (sample, row) in samples.items():
        how, media_root = prepared.presentations[row.component], prepared.sources[row.source].media_roots[0]
        assert [message.role for message in back[name].messages] == [message.role for message in sample.messages]
        expected = shown_as_files(sample, media_root, how)
        assert sum(isinstance(item, np.ndarray) for item in expected) in (0, row.num_frames)
        for part, item in zip(back[name].parts(), expected, strict=True):
            if isinstance(part, Image):
                assert np.array_equal(read_image(folder / part.path)[..., 0], item)
            elif isinstance(part, Video):
                assert inside_root(folder, part.path).read_bytes() == item
            else:
                assert part.text == item


def shown_as_files(sample, media_root, how):
    """Pixels of pages, bytes of videos and words, in order; a long text that stays text begins its question."""
    items = []
    for part in sample.parts():
        if isinstance(part, LongText) and how.present_as == "pages":
            items += render_text(part.text, how.style)
        elif isinstance(part, Video):
            items.append((media_root / part.path).read_bytes())
        elif items and isinstance(items[-1], LongText):
            items[-1] = f"{items[-1].text}\n{part.text}"
        else:
            items.append(part if isinstance(part, LongText) else part.text)
    return items


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("trainer", EXPORTS)
def test_equal_input_gives_equal_bytes(prepared, trainer, tmp_path, monkeypatch):
    export(prepared, trainer, tmp_path / "a")

    def refuse(*_):
        raise OSError("links lead to another file system")

    monkeypatch.setattr(os, "link", refuse)
    export(prepared, trainer, tmp_path / "b", num_workers=2)
    export(prepared, trainer, tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


SAMPLE = Sample(
    "video/clip 1",
    "clips",
    (
        Message("user", (Image("a.png"), Text("Before "), Image("b.png"), Text("\nand after?"))),
        Message("assistant", (Text("Rain."),)),
        Message("user", (Text("Sure?"),)),
        Message("assistant", (Text("Yes.\nQuite."),)),
    ),
)


def test_messages_records_have_placeholders_and_both_columns():
    assert EXPORTS["llamafactory"].record is EXPORTS["ms_swift"].record
    assert EXPORTS["ms_swift"].record(SAMPLE) == {
        "id": "video/clip 1",
        "messages": [
            {"role": "user", "content": "<image>Before <image>\nand after?"},
            {"role": "assistant", "content": "Rain."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes.\nQuite."},
        ],
        "images": ["a.png", "b.png"],
        "videos": [],
    }


def test_llava_records_write_image_for_a_video_too():
    assert EXPORTS["llava"].record(SAMPLE)["image"] == ["a.png", "b.png"]
    sample = Sample(
        "1", "clips", (Message("user", (Video("a.mp4"), Text("What?"))), Message("assistant", (Text("Rain."),)))
    )
    assert EXPORTS["llava"].record(sample) == {
        "id": "1",
        "video": "a.mp4",
        "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Rain."}],
    }


def test_records_load_as_one_table_and_are_described(prepared, tmp_path):
    export(prepared, "llamafactory", tmp_path / "out")
    described = json.loads((tmp_path / "out/dataset_info.json").read_text())[DATASET_NAME]
    table = pyarrow.json.read_json(tmp_path / "out" / described["file_name"])
    assert set(described["columns"].values()) < set(table.column_names)
    assert table.num_rows == 24


@pytest.fixture
def literal(tmp_path):
    """A plan of records in the form of typed messages, and what it is built from."""

    def make(*contents, system=None, further=()):
        media = tmp_path / "media"
        (media / "frames").mkdir(parents=True, exist_ok=True)
        for name in ("a.png", "b.png"):
            PILImage.new("RGB", (8, 8), "red").save(media / name)
        for i in range(1, 13):
            PILImage.new("RGB", (8, 8), (i, 0, 0)).save(media / "frames" / f"{i}.png")
        (media / "a.mp4").write_bytes(b"opened by nobody here")
        turns = [[{"role": "system", "content": system}] if system else [] for _ in contents]
        records = [
            {
                "id": f"r{i}",
                "messages": [
                    *turns[i],
                    {"role": "user", "content": content},
                    {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
                    *further,
                ],
            }
            for i, content in enumerate(contents)
        ]
        (tmp_path / "records.json").write_text(json.dumps(records))
        source = Source(converter="messages", files=["records.json"], root=str(tmp_path), media_root="media")
        data = load_source("literal", source, cache_root=tmp_path / "cache")
        rows = range(len(data))
        ledger = pd.DataFrame({"component": "c", "source": "literal", "row": rows, "showing": 0})
        return Plan(ledger, [np.arange(len(data))], "hash"), PlanInputs(
            {"literal": data}, {"c": Presentation()}, backbone=None
        )

    return make


GOOD = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "Is it red?"}]
VIDEO = {"type": "video", "video": "a.mp4"}
ASKED = {"type": "text", "text": "Is it?"}
EVERYONE = tuple(EXPORTS)
CANNOT_HOLD = {
    "placeholder": ([{"type": "text", "text": "What is <image>?"}], EVERYONE, "holds '<image>'"),
    "other placeholder": ([{"type": "text", "text": "an <audio> tag"}], EVERYONE, "holds '<audio>'"),
    "clip": ([{**VIDEO, "video_start": 1}, ASKED], EVERYONE, "shown in part"),
    "pictures and video": ([{"type": "image", "image": "a.png"}, VIDEO, ASKED], ("llava",), "pictures and a video"),
    "two videos": ([VIDEO, VIDEO, ASKED], ("llava",), "several videos"),
}


def test_a_turn_that_is_not_learnt_is_marked_or_the_sample_left_out(literal, tmp_path):
    plan = literal(
        GOOD, further=({"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "No.", "loss": 0})
    )
    for trainer in ("llamafactory", "llava"):
        with pytest.raises(DataError, match="sample 'r0': an answer is not to be learnt, this trainer learns all"):
            export_mixture(*plan, trainer, tmp_path / trainer)
    export_mixture(*plan, "ms_swift", tmp_path / "ms_swift")
    record = json.loads((tmp_path / "ms_swift/data.jsonl").read_text())
    assert [turn.get("loss", True) for turn in record["messages"]] == [True, True, True, False]
    assert next(CONVERTERS["messages"].read(Record(record))).messages[-1].supervised is False


@pytest.mark.parametrize("case", CANNOT_HOLD)
def test_what_a_trainer_cannot_hold_is_refused_or_left_out_and_counted(literal, case, tmp_path):
    content, trainers, reason = CANNOT_HOLD[case]
    for trainer in EXPORTS:
        plan = literal(GOOD, content, GOOD)
        folder = tmp_path / trainer
        if trainer not in trainers:
            assert export_mixture(*plan, trainer, folder).num_left_out == 0
            continue
        with pytest.raises(DataError, match=rf"source 'literal', sample 'r1': .*{reason}.*on_bad_sample=skip"):
            export_mixture(*plan, trainer, folder)
        with pytest.raises(DataError, match=r"1 of 3 samples, more than max_bad_fraction=0\.1"):
            export_mixture(*plan, trainer, folder, bad_samples=BadSamples("skip", 0.1), num_workers=1)
        assert not folder.exists()
        export_mixture(*plan, trainer, folder, bad_samples=BadSamples("skip", 0.5))
        told = json.loads((folder / "export.json").read_text())
        assert (told["num_samples"], list(told["left_out"].values())) == (2, [["c/r1"]])
        assert set(read_back(trainer, folder, tmp_path / "cache")) == {"c/r0", "c/r2"}


def test_llava_has_no_system_turn_and_the_others_have(literal, tmp_path):
    with pytest.raises(DataError, match="system turn"):
        export_mixture(*literal(GOOD, system="Be brief."), "llava", tmp_path / "llava")
    export_mixture(*literal(GOOD, system="Be brief."), "ms_swift", tmp_path / "ms_swift")
    (sample,) = read_back("ms_swift", tmp_path / "ms_swift", tmp_path / "cache").values()
    assert sample.messages[0] == Message("system", (Text("Be brief."),))


def test_the_progress_bar_knows_its_end(prepared, tmp_path, monkeypatch):
    seen = []

    def bar(batches, total, desc, unit):
        seen.append((total, desc))
        return iter(batches)

    monkeypatch.setattr("sparrow.data.trainer_export.Bar", bar)
    written = export(prepared, "ms_swift", tmp_path / "out")
    assert seen == [(-(-written.num_samples // CHUNK), "export")]


def test_questions_about_one_picture_share_its_file(literal, tmp_path):
    written = export_mixture(*literal(GOOD, GOOD), "ms_swift", tmp_path / "out")
    assert written.num_images == 2
    assert [path.name for path in tmp_path.glob("out/media/literal/*")] == ["a.png"]


@pytest.mark.parametrize("trainer", EXPORTS)
def test_a_folder_of_frames_becomes_the_pictures_that_are_shown_of_it(literal, trainer, tmp_path):
    clip = {"type": "video", "video": "frames", "fps": 2, "video_start": 1, "video_end": 5.5}
    plan, inputs = literal([clip, ASKED])
    how = Presentation(frames=FramePolicy(max_frames=3))
    export_mixture(plan, replace(inputs, presentations={"c": how}), trainer, tmp_path / "out")
    (sample,) = read_back(trainer, tmp_path / "out", tmp_path / "cache").values()
    *pictures, asked = sample.parts()[:-1]
    expected = load_frames(inputs.sources["literal"][0], tmp_path / "media", how)
    assert [read_image(tmp_path / "out" / picture.path)[0, 0, 0] for picture in pictures] == [
        frame[0, 0, 0] for frame in expected
    ]
    assert len(pictures) == 3
    assert asked == Text("Is it?")


def test_questions_about_one_text_share_its_pages(tmp_path):
    style = TextStyle(words_per_page=10)
    records = [{"id": q, "context": "word " * 35, "question": q, "answer": "Yes."} for q in ("Is it?", "Was it?")]
    (tmp_path / "tales.json").write_text(json.dumps(records))
    source = Source(converter="context_qa", files=["tales.json"], root=str(tmp_path))
    data = load_source("tales", source, cache_root=tmp_path / "cache")
    ledger = pd.DataFrame({"component": "c", "source": "tales", "row": [0, 1], "showing": 0})
    inputs = PlanInputs({"tales": data}, {"c": Presentation(style=style, present_as="pages")}, backbone=None)
    export_mixture(Plan(ledger, [np.arange(2)], "hash"), inputs, "llava", tmp_path / "out")
    one, other = (sample.parts()[:-2] for sample in read_back("llava", tmp_path / "out", tmp_path / "cache").values())
    assert one == other
    assert sorted(path.name for path in tmp_path.glob("out/pages/*/*/*")) == [f"0000{i}.png" for i in range(4)]
    assert [part.path.rpartition("/")[2] for part in one] == [f"0000{i}.png" for i in range(4)]


def test_a_repeated_sample_is_written_as_often(literal, tmp_path):
    plan, inputs = literal(GOOD)
    twice = pd.concat([plan.ledger, plan.ledger.assign(showing=1)], ignore_index=True)
    export_mixture(
        Plan(twice, [np.array([1]), np.array([0]), np.array([0, 1])], "hash"), inputs, "llava", tmp_path / "out"
    )
    assert list(read_back("llava", tmp_path / "out", tmp_path / "cache")) == ["c/r0#2", "c/r0"]


def test_a_file_that_vanished_after_planning_is_named(literal, tmp_path):
    plan = literal(GOOD)
    (tmp_path / "media/a.png").unlink()
    with pytest.raises(DataError, match=r"sample 'r0': the file '.*a\.png' is no longer there; put it back"):
        export_mixture(*plan, "ms_swift", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_export_is_left_alone(literal, tmp_path):
    (tmp_path / "llava").mkdir()
    (tmp_path / "llava/mine.txt").write_text("precious")
    with pytest.raises(RunError, match="no export of Sparrow"):
        export_mixture(*literal(GOOD), "llava", tmp_path / "llava")
    assert (tmp_path / "llava/mine.txt").read_text() == "precious"
