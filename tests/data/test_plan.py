import json
import os
import shutil
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from sparrow.core.errors import ConfigError, DataError, MachineError, MediaError
from sparrow.core.settings import run_id
from sparrow.data import PlanInputs, build_plan, rejecting, video_headers
from sparrow.data import sample_costs as measuring
from sparrow.data.batching import StepDataset
from sparrow.data.encode import measure
from sparrow.data.mixture import Selection
from sparrow.data.rejecting import UnusableSamples, missing_media, missing_text
from sparrow.data.settings import Batching
from sparrow.media.fonts import SHIPPED_FONT
from sparrow.media.frames import look_at_header
from sparrow.planning.manifest import manifest_table, reasons
from sparrow.planning.run_inputs import prepare
from sparrow.runs.folder import settings_difference
from tests.media.video_clips import write_clip


@pytest.fixture(scope="module")
def prepared(settings):
    return prepare(settings())


def test_counts_reconcile_and_every_used_sample_is_in_one_step(prepared):
    manifest = prepared.plan.manifest()
    assert {name: c["requested"] for name, c in manifest["components"].items()} == {"video": 16, "text": 8}
    for counts in manifest["components"].values():
        assert counts["requested"] == counts["used"] + counts["rejected"]
        assert counts["frames"] > 0
        assert 0 < counts["supervised_tokens"] < counts["text_tokens"]
    positions = np.concatenate(prepared.plan.steps)
    assert sorted(positions) == list(range(24))
    assert [len(step) for step in prepared.plan.steps] == [8, 8, 8]


def test_planned_tokens_are_those_that_are_encoded(prepared):
    dataset = StepDataset(prepared.plan, prepared)
    for position, row in enumerate(prepared.plan.ledger.itertuples()):
        sample = dataset.encode(position)
        assert len(sample.input_ids) == row.visual_tokens + row.text_tokens
        assert sample.num_visual_tokens == row.visual_tokens
        assert int((sample.labels >= 0).sum()) == row.supervised_tokens
        assert len(sample.frames) == row.num_frames


def test_the_same_settings_give_the_same_hash_and_others_another(settings, prepared):
    assert prepare(settings()).plan.content_hash == prepared.plan.content_hash
    for override in ("data_seed=1", "frames.max_frames=1", "mixture.num_samples=23", "text_to_image.words_per_page=3"):
        assert prepare(settings(override)).plan.content_hash != prepared.plan.content_hash, override


def test_a_smaller_plan_uses_a_part_of_the_larger_ones_samples(settings, prepared):
    small = set(prepare(settings("mixture.num_samples=12")).plan.ledger["sample_id"])
    assert len(small) == 12
    assert small < set(prepared.plan.ledger["sample_id"])


def test_epochs_repeat_the_samples_in_another_order(settings):
    steps = prepare(settings("batching.num_epochs=2")).plan.steps
    first, second = np.concatenate(steps[:3]), np.concatenate(steps[3:])
    assert sorted(first) == sorted(second)
    assert first.tolist() != second.tolist()


def test_manifest_and_ledger_are_written(prepared, tmp_path):
    prepared.plan.write(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["content_hash"] == prepared.plan.content_hash
    ledger = pd.read_parquet(tmp_path / "ledger.parquet")
    assert set(ledger["status"]) == {"used"}
    assert set(ledger["first_step"]) == {0, 1, 2}


def test_too_long_a_sample_is_planned_out_and_never_cut(settings):
    with pytest.raises(DataError, match=r"at most 60; .*max_seq_len_tokens"):
        prepare(settings("batching.max_seq_len_tokens=60"))
    plan = prepare(settings("batching.max_seq_len_tokens=60", "on_bad_sample=skip", "max_bad_fraction=1.0")).plan
    rejected = plan.ledger[plan.ledger["status"] == "rejected"]
    assert 0 < len(rejected) < 24
    assert set(rejected["reason"]) == {"longer than 60 tokens"}
    assert max(plan.lengths[np.concatenate(plan.steps)]) <= 60
    assert plan.num_samples == 24 - len(rejected)


def test_an_unreadable_video_is_rejected_while_planning_and_never_replaced(settings, tmp_path, test_broken_clips):
    overrides = test_broken_clips(tmp_path)
    with pytest.raises(DataError, match=r"sample 'bad-1'.*1 of 4 samples cannot be used.*on_bad_sample=skip"):
        prepare(settings(*overrides))
    with pytest.raises(DataError, match=r"more than max_bad_fraction=0\.1: bad-1"):
        prepare(settings(*overrides, "on_bad_sample=skip", "max_bad_fraction=0.1"))
    plan = prepare(settings(*overrides, "on_bad_sample=skip", "max_bad_fraction=0.5")).plan
    status = dict(zip(plan.ledger["sample_id"], plan.ledger["status"], strict=True))
    assert status == {"good-0": "used", "bad-1": "rejected", "good-2": "used", "good-3": "used"}


def test_all_missing_media_are_listed(settings, tmp_path, test_broken_clips):
    overrides = test_broken_clips(tmp_path)
    gone = [(tmp_path / "media" / f"good-{number}.mp4").resolve() for number in (2, 3)]
    for file in gone:
        file.unlink()
    with pytest.raises(UnusableSamples, match=r"3 of 4 samples cannot be used") as caught:
        prepare(settings(*overrides))
    assert caught.value.missing == gone
    assert str(caught.value).endswith("\n".join(["2 media files are missing:", *(f"  {file}" for file in gone)]))
    skipping = prepare(settings(*overrides, "on_bad_sample=skip", "max_bad_fraction=0.9"))
    assert missing_media(skipping.plan.ledger, skipping.sources) == gone
    with pytest.raises(UnusableSamples, match=r"more than max_bad_fraction=0\.1") as caught:
        prepare(settings(*overrides, "on_bad_sample=skip", "max_bad_fraction=0.1"))
    assert caught.value.missing == gone


@pytest.mark.parametrize(("num_bad", "bearable"), [(1, True), (2, True), (3, False)])
def test_as_many_bad_samples_as_max_bad_fraction_says_are_allowed(monkeypatch, num_bad, bearable):
    monkeypatch.setattr(rejecting, "missing_media", lambda *_: [])
    ledger = pd.DataFrame({"source": "s", "sample_id": [f"s-{i}" for i in range(8)], "reason": "long", "detail": ""})
    ledger["status"] = ["rejected" if i < num_bad else "used" for i in range(8)]
    with nullcontext() if bearable else pytest.raises(UnusableSamples, match=r"3 of 8 .* max_bad_fraction=0\.25"):
        rejecting.enforce_policy(ledger, {}, rejecting.BadSamples("skip", 0.25))


def test_of_many_missing_files_the_first_are_told():
    files = [Path(f"/media/{number:03}.mp4") for number in range(30)]
    lines = missing_text(files).splitlines()
    assert lines[:3] == ["", "30 media files are missing:", "  /media/000.mp4"]
    assert lines[-2:] == ["  /media/009.mp4", "  ... and 20 more"]
    assert missing_text(files[:1]) == "\n1 media file is missing:\n  /media/000.mp4"


@pytest.fixture
def test_broken_clips(settings, cache_root):
    """Overrides for a source of four records, one with a damaged video."""
    from sparrow.planning.run_inputs import with_world

    def make(folder):
        config = settings()
        world = with_world(config.source["world_clips"], config.world, config.data_seed, str(cache_root))
        records = json.loads((folder_of(world) / world.files[0]).read_text())[:4]
        (folder / "media").mkdir()
        for i, record in enumerate(records):
            content = (folder_of(world) / world.media_root / record["video"]).read_bytes()
            record["id"] = f"good-{i}"
            if i == 1:
                record["id"], content = "bad-1", b"this is not a video"
            record["video"] = f"{record['id']}.mp4"
            (folder / "media" / record["video"]).write_bytes(content)
        (folder / "clips.json").write_text(json.dumps(records))
        return [*clips_source(folder), "mixture.num_samples=4"]

    return make


def clips_source(folder):
    """Overrides for a mixture of the records in `clips.json` alone."""
    return [
        "mixture=world/video",
        "source.world_clips.use_world=false",
        "source.world_clips.files=[clips.json]",
        f"source.world_clips.root={folder}",
        "source.world_clips.media_root=media",
    ]


def folder_of(source):
    return Path(source.root)


BATCHINGS = ("padded", "packed", "length_grouped", "packed_epoch")


@pytest.fixture(scope="module", params=BATCHINGS)
def batched(request, settings):
    """A plan of each batching, with rows that a few samples fill."""
    return prepare(settings(f"batching={request.param}", "batching.max_seq_len_tokens=220"))


def steps_of(prepared, **options):
    dataset = StepDataset(prepared.plan, prepared, **options)
    return [dataset[number] for number in range(len(dataset))]


def test_ranks_split_the_steps_and_change_nothing_else(batched):
    for world_size in (1, 2, 3, 5):
        of_ranks = [steps_of(batched, rank=rank, world_size=world_size) for rank in range(world_size)]
        for number, shares in enumerate(zip(*of_ranks, strict=True)):
            assert len({len(batch.micro_batches) for batch in shares}) == 1
            planned = [of_ranks[0][0].sample_ids and batched.plan.ledger.iloc[p] for p in batched.plan.steps[number]]
            names = sorted(f"{row.component}/{row.sample_id}" for row in planned)
            assert sorted(name for batch in shares for name in batch.sample_ids) == names


def test_packed_rows_hold_no_more_than_they_may(batched):
    frame = batched.backbone.visual_tokens((64, 64), 1)
    for batch in steps_of(batched):
        for micro_batch in batch.micro_batches:
            lengths = (micro_batch.segments >= 0).sum(dim=1)
            filling = frame if -1 in micro_batch.components else 0
            assert int(lengths.max()) <= 220 + filling
            assert (len(lengths) == 1) == (micro_batch.attention_mask is None)


def test_a_batch_says_what_it_takes(batched):
    """Tokens computed, the plan's efficiency, and the operations of the samples."""
    batches = steps_of(batched)
    for batch in batches:
        assert batch.num_computed_tokens == sum(m.input_ids.numel() for m in batch.micro_batches) >= batch.num_tokens
    share = sum(batch.num_tokens for batch in batches) / sum(batch.num_computed_tokens for batch in batches)
    assert batched.plan.manifest()["packing_efficiency"] == pytest.approx(share, abs=1e-4)
    flops = batched.plan.ledger["flops"]
    assert sum(batch.flops for batch in batches) == pytest.approx(flops.sum())
    assert sum(b.flops for r in range(3) for b in steps_of(batched, rank=r, world_size=3)) == pytest.approx(flops.sum())


def test_which_samples_share_a_step(settings):
    plans = {name: prepare(settings(f"batching={name}", "batching.max_seq_len_tokens=220")).plan for name in BATCHINGS}
    steps = {name: [sorted(step.tolist()) for step in plan.steps] for name, plan in plans.items()}
    hashes = {name: plan.content_hash for name, plan in plans.items()}
    assert steps["packed"] == steps["padded"]
    assert hashes["packed"] == hashes["padded"]
    assert len({str(steps[name]) for name in BATCHINGS}) == len(set(hashes.values())) == 3
    for name in BATCHINGS:
        assert sorted(position for step in steps[name] for position in step) == list(range(24))
    assert plans["length_grouped"].packing_efficiency() > plans["padded"].packing_efficiency()


def text_source(folder, texts):
    """Overrides for a mixture of the given long texts alone."""
    lines = [
        json.dumps({"id": f"t-{i}", "context": t, "question": "What?", "answer": "red"}) for i, t in enumerate(texts)
    ]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    return [
        "mixture=real_clips",
        "~mixture.components.video",
        f"mixture.components.text.num_samples={len(texts)}",
        "source.fairytale.converter=context_qa",
        "source.fairytale.files=[texts.jsonl]",
        f"source.fairytale.root={folder}",
        "source.fairytale.use_world=false",
        "mixture.num_samples=null",
    ]


def test_characters_that_no_font_has_are_counted_by_component(settings, tmp_path):
    overrides = text_source(tmp_path, ["a red circle", "a \ue123\ue124 circle \ue123"])
    (counts,) = prepare(settings(*overrides)).plan.manifest()["components"].values()
    assert counts["missing_characters"] == 3


def test_a_component_has_frames_and_pages_of_its_own(settings, tmp_path):
    """What differs is in the counts, the manifest, the identity and the limits; a wrong key or value is refused."""
    own = ("mixture.components.text.frames.max_frames=2", "mixture.components.text.text_to_image.words_per_page=1")
    added = [f"+{override}" for override in own]
    plain, changed = (prepare(settings(*overrides)) for overrides in ((), added))
    plans = [each.plan.manifest()["components"] for each in (plain, changed)]
    assert plans[0]["video"]["frames"] == plans[1]["video"]["frames"]
    assert plans[0]["text"]["pages"] < plans[1]["text"]["pages"]
    assert "changes" not in plans[0]["text"] and "changes" not in plans[1]["video"]
    assert plans[1]["text"]["changes"] == {"frames.max_frames": 2, "text_to_image.words_per_page": 1}
    assert "text: shown with text_to_image.words_per_page=1" in reasons(plans[1])
    assert plain.plan.content_hash != changed.plan.content_hash
    assert run_id(settings(*added)) != run_id(settings())
    limited = [*text_source(tmp_path, ["a b c d e f g h i j"]), "mixture.components.text.max_pages=4"]
    assert prepare(settings(*limited)).plan.num_samples == 1
    with pytest.raises(DataError, match="left out: more than 4 pages"):
        prepare(settings(*limited, f"+{own[1]}"))
    key = "mixture.components.text"
    with pytest.raises(ConfigError) as caught:
        settings(f"+{key}.frames.max_fram=2", f"+{key}.text_to_image.font_size_px=x", f"+{key}.frames.policy=fps")
    for message in (
        "frames.max_fram: unknown key; did you mean 'max_frames'",
        "text_to_image.font_size_px: expected int",
    ):
        assert f"{key}.{message}" in str(caught.value)
    with pytest.raises(ConfigError, match=f"{key}.text_to_image.as_video: needs backbone.native_video=true"):
        settings(f"+{key}.text_to_image.as_video=true")


def test_videos_are_planned_and_read_without_icu(settings, monkeypatch):
    for name in ("icu4py", "icu4py.breakers"):
        monkeypatch.setitem(sys.modules, name, None)
    prepared = prepare(settings("mixture=world_video", "mixture.num_samples=4"))
    assert StepDataset(prepared.plan, prepared)[0].num_visual_tokens > 0


def test_texts_that_are_shaped_are_counted_and_change_the_hash(settings, tmp_path):
    """A run that was planned where they were drawn letter by letter does not go on with other pages."""
    texts = ["a red circle", "a red cercle\u0301"]
    hashes = []
    for text in texts:
        plan = prepare(settings(*text_source(tmp_path, [text] * 2))).plan
        hashes.append(plan.content_hash)
        counts = plan.manifest()["components"]["text"]
    assert counts["complex_characters"] == 2
    assert "text: 2 characters are shaped by raqm or composed (NFC)" in reasons({"text": counts})
    told = "\n".join(reasons({"text": counts | {"sequential": 1, "interlaced": 1, "fallback": 2}}))
    for line in ("1 video is decoded from the beginning", "1 video is interlaced", "2 videos are read by PyAV"):
        assert f"text: {line}" in told
    with pytest.raises(UnusableSamples, match=r"the text has Arabic that must be shaped, and .*basic does not"):
        prepare(settings(*text_source(tmp_path, ["سلام"]), "text_to_image.layout_engine=basic"))


def test_the_manifest_names_the_fonts_that_may_draw_its_pages(settings, tmp_path):
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    shutil.copy(SHIPPED_FONT, fonts / "NotoSansThai-Regular.ttf")
    overrides = [*text_source(tmp_path, ["a red circle"]), f"text_to_image.fonts_root={fonts}"]
    before = prepare(settings(*overrides)).plan
    assert list(before.fonts) == ["LiberationSans-Regular.ttf", "NotoSansThai-Regular.ttf"]
    (tmp_path / "none").mkdir()
    after = prepare(settings(*overrides[:-1], f"text_to_image.fonts_root={tmp_path / 'none'}")).plan
    assert after.content_hash != before.content_hash
    before.write(tmp_path)
    changed = settings_difference(tmp_path / "manifest.json", after.manifest())
    assert [
        line for line in changed if line.startswith("fonts.NotoSansThai-Regular.ttf: ") and line.endswith("-> None")
    ]
    assert prepare(settings("mixture=world_video", "mixture.num_samples=4")).plan.fonts == {}


def test_pages_are_counted_without_the_pictures_beside_them(settings, tmp_path):
    overrides = text_source(tmp_path, ["a red circle"])
    PIL.Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    asked = [
        {"type": "image", "image": "a.png"},
        {"type": "long_text", "text": "red"},
        {"type": "text", "text": "What?"},
    ]
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": "a circle"}]
    (tmp_path / "texts.jsonl").write_text(json.dumps({"id": "both", "messages": turns}))
    plan = prepare(settings(*overrides, "source.fairytale.converter=messages")).plan
    (counts,) = plan.manifest()["components"].values()
    assert (counts["frames"], counts["pages"]) == (2, 1)
    assert plan.ledger["num_pages"].tolist() == [1]


def test_all_missing_files_of_all_sources_are_listed_together(settings, tmp_path):
    with pytest.raises(DataError, match="2 files are missing") as caught:
        prepare(
            settings("mixture=real_clips", "use_world=false", f"paths.data_root={tmp_path}", "mixture.num_samples=null")
        )
    assert "clips_instruct.json" in str(caught.value)
    assert "fairytale_longalpaca_schema_40.json" in str(caught.value)


def test_cached_frames_are_the_frames(settings, prepared, cache_root):
    cached = prepare(settings("batching.cache_frames=true"))
    assert cached.plan.content_hash == prepared.plan.content_hash
    parts = (cached.plan, cached)
    plain = (prepared.plan, prepared)
    for _ in range(2):
        ours = StepDataset(*parts)[0].micro_batches[0]
        theirs = StepDataset(*plain)[0].micro_batches[0]
        assert (ours.frames.pixels == theirs.frames.pixels).all()
    assert list((cache_root / "frames").rglob("*.npz"))


def in_their_schemas(i):
    """Record i of every source of the paper's mixture, as its publisher writes it, by source."""
    text = f"Tale {i}: a red circle moved left, then a blue square came."
    ask = {"from": "human", "value": f"<video>\nWhat moves in clip {i}?"}
    book = (
        f"Below is some paragraphs in the book, T. Memorize the content and answer my question after the book.\n{text}"
    )
    return {
        "sharegemini": {"video": "clip.mp4", "conversations": [ask, {"from": "gpt", "value": f"Circle {i}."}]},
        "video_chatgpt": {"q": f"What moves, {i}?", "a": f"Circle {i}.", "video_id": "clip"},
        "longalpaca": {"instruction": f"{book}\nNow the material ends. What moved?", "output": f"Circle {i}."},
        "longqlora": {"input": f"{text}\n\nQ: What moved?\nA:", "output": f"Circle {i}."},
        "long_nq": {
            "prompt": f"{text}\n\nQuestion: what moved\n",
            "completion": f"Answer: Circle {i}\nLong Answer: Circle {i} moved.\nGold Document ID: 1",
        },
    }


def test_the_papers_mixtures_lie_inside_each_other_in_the_publishers_schemas(settings, tmp_path):
    """30K inside 60K inside 100K through each source's own converter, at a five-hundredth of the size."""
    write_clip(tmp_path / "clip.mp4", 4, width=64, height=64)
    records = [in_their_schemas(i) for i in range(80)]
    overrides = ["scale=tiny", "mixture=sparrow", "sample_divisor=500", "+source.long_nq.min_context_words=5"]
    for source in records[0]:
        (tmp_path / f"{source}.jsonl").write_text("\n".join(json.dumps(record[source]) for record in records))
        overrides += [
            f"source.{source}.use_world=false",
            f"source.{source}.root={tmp_path}",
            f"source.{source}.files=[{source}.jsonl]",
            f"source.{source}.media_root=.",
        ]
    drawn = []
    for total in (30_000, 60_000, 100_000):
        plan = prepare(settings(*overrides, f"mixture.num_samples={total}")).plan
        counts = plan.ledger.groupby("component").size()
        videos = counts["sharegemini"] + counts["video_chatgpt"]
        assert len(plan.ledger) == total // 500
        assert set(plan.ledger["source"]) == set(records[0]) - ({"long_nq"} if total == 30_000 else set())
        assert abs(videos - 2 / 3 * len(plan.ledger)) <= 1
        drawn.append(set(plan.ledger["component"] + "/" + plan.ledger["sample_id"]))
    assert drawn[0] < drawn[1] < drawn[2]


@pytest.fixture
def measured_ids(monkeypatch):
    """Ids of the samples that are measured from now on; those in `broken` fail."""
    ids, broken = [], set()

    def counted(sample, *arguments):
        ids.append(sample.id)
        if sample.id in broken:
            raise MediaError("the video cannot be decoded")
        return measure(sample, *arguments)

    monkeypatch.setattr(measuring, "measure", counted)
    return ids, broken


def test_a_sample_is_measured_once_whatever_else_is_drawn(settings, measured_ids):
    """Also where a total in tokens decides how many are drawn, and when one file is replaced."""
    ids, _ = measured_ids
    overrides = ("mixture=world/video", "frames.max_frames=3")
    for total in (6, 12, 12):
        prepared = prepare(settings(*overrides, f"mixture.num_samples={total}"))
    assert sorted(ids) == sorted(prepared.plan.ledger["sample_id"])
    video = prepared.sources["world_clips"].media_roots[0] / prepared.sources["world_clips"][0].parts()[0].path
    ids.clear()
    prepare(settings(*overrides, "mixture.num_samples=null", "mixture.num_tokens=2000"))
    assert len(ids) == len(set(ids)) == len(prepared.sources["world_clips"]) - 12
    os.utime(video)
    ids.clear()
    prepare(settings(*overrides, "mixture.num_samples=null", "mixture.num_tokens=2000"))
    assert ids == [prepared.sources["world_clips"].ids[0]]


def test_questions_about_one_video_have_it_probed_once(settings, tmp_path, monkeypatch):
    probed = []

    def look(path, policy):
        probed.append(path.name)
        return look_at_header(path, policy)

    monkeypatch.setattr(video_headers, "look_at_header", look)
    records = []
    (tmp_path / "media").mkdir()
    for name in [f"{i}.mp4" for i in range(70)]:
        if not records:
            write_clip(tmp_path / "media" / name, 4, width=64, height=64)
        else:
            (tmp_path / "media" / name).hardlink_to(tmp_path / "media" / "0.mp4")
        for i in range(2):
            turns = [{"from": "human", "value": f"<video>What {i}?"}, {"from": "gpt", "value": "red"}]
            records.append({"id": f"{name} {i}", "video": name, "conversations": turns})
    (tmp_path / "clips.json").write_text(json.dumps(records))
    plan = prepare(settings(*clips_source(tmp_path), "mixture.num_samples=140")).plan
    assert plan.num_samples == 140
    assert sorted(probed) == sorted({record["video"] for record in records})


def test_what_failed_once_is_measured_anew(settings, measured_ids):
    ids, broken = measured_ids
    overrides = ("mixture=world/video", "frames.max_frames=5", "mixture.num_samples=6")
    lenient = (*overrides, "on_bad_sample=skip", "max_bad_fraction=1.0")
    broken.add(prepare(settings("mixture=world/video", "mixture.num_samples=6")).plan.ledger["sample_id"][0])
    assert prepare(settings(*lenient)).plan.num_samples == 5
    ids.clear()
    victims = set(broken)
    broken.clear()
    assert prepare(settings(*lenient)).plan.num_samples == 6
    assert set(ids) == victims


def test_what_was_measured_before_the_machine_failed_is_kept(settings, measured_ids, monkeypatch):
    ids, _ = measured_ids
    monkeypatch.setattr(measuring, "CHUNK", 2)
    overrides = ("mixture=world/video", "frames.max_frames=7", "mixture.num_samples=6")
    with monkeypatch.context() as failing:
        done = []

        def fails(sample, *arguments):
            if len(done) == 5:
                raise MachineError("too many files are open")
            done.append(sample.id)
            return measure(sample, *arguments)

        failing.setattr(measuring, "measure", fails)
        with pytest.raises(MachineError):
            prepare(settings(*overrides))
    assert prepare(settings(*overrides)).plan.num_samples == 6
    assert len(ids) == 2


def test_the_hash_counts_what_is_shown_and_nothing_else(settings, tmp_path):
    def content_hash(*overrides):
        return prepare(settings(*overrides)).plan.content_hash

    fonts = [
        f"text_to_image.fallback_fonts=[{shutil.copy(SHIPPED_FONT, tmp_path / name)}]" for name in ("a.ttf", "b.ttf")
    ]
    text = [*text_source(tmp_path, [f"circle {i}" for i in range(6)]), "mixture.components.text.num_samples=3"]
    shown = prepare(settings(*text)).plan
    assert content_hash(*text, fonts[0]) == content_hash(*text, fonts[1]) != shown.content_hash
    videos = ("mixture=world/video", "mixture.num_samples=4")
    assert content_hash(*videos) == content_hash(*videos, "text_to_image.words_per_page=3")
    lines = (tmp_path / "texts.jsonl").read_text().splitlines()
    drawn = set(shown.ledger["sample_id"])
    fewer = [line for line in lines if json.loads(line)["id"] in drawn]
    (tmp_path / "texts.jsonl").write_text("\n".join(fewer))
    assert content_hash(*text) == shown.content_hash
    (tmp_path / "texts.jsonl").write_text("\n".join(fewer).replace("circle", "square"))
    assert content_hash(*text) != shown.content_hash


def test_the_planned_frames_of_a_folder_are_looked_at_like_pictures(settings, tmp_path):
    """Those that are not shown may be damaged."""
    records = []
    for name, damaged in (("shown", 6), ("not-shown", 5)):
        frames = tmp_path / "media" / name
        frames.mkdir(parents=True)
        for i in range(10):
            PIL.Image.new("RGB", (64, 64), "red").save(frames / f"{i}.png")
        (frames / f"{damaged}.png").write_text("no picture")
        turns = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "red"}]
        records.append({"id": name, "video": name, "conversations": turns})
    (tmp_path / "clips.json").write_text(json.dumps(records))
    overrides = [*clips_source(tmp_path), "frames.max_frames=2", "mixture.num_samples=2"]  # frames 2 and 6
    with pytest.raises(DataError, match=r"sample 'shown': .*6.png: the file is not a picture"):
        prepare(settings(*overrides))
    plan = prepare(settings(*overrides, "on_bad_sample=skip", "max_bad_fraction=1.0")).plan
    assert dict(zip(plan.ledger["sample_id"], plan.ledger["status"], strict=True)) == {
        "shown": "rejected",
        "not-shown": "used",
    }


def test_the_manifest_accounts_for_records_samples_and_what_is_held_out(settings, tmp_path):
    """Three meetings of four queries, each with a NUL, and two broken records."""
    overrides = text_source(tmp_path, [])
    records = [
        {
            "meeting_transcripts": [{"speaker": "A", "content": f"a red circle \0 {i}"}],
            "specific_query_list": [{"query": f"What {query}?", "answer": "red"} for query in range(4)],
        }
        for i in range(3)
    ]
    records[1]["note"] = "noted"
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, [*records, {"bad": 1}, {"bad": 2}])))
    plan = prepare(
        settings(
            *overrides,
            "source.fairytale.converter=qmsum",
            "mixture.components.text.num_samples=6",
            "validation.num_samples=2",
            "text_to_image.tokenizer=treebank",
            "on_bad_sample=skip",
            "max_bad_fraction=0.4",
        )
    ).plan
    manifest = plan.manifest()
    counts = manifest["components"]["text"]
    assert (counts["records_read"], counts["records_used"], counts["samples_available"]) == (5, 3, 12)
    num_left_out = sum(counts["records_left_out"].values())
    assert counts["records_read"] == counts["records_used"] + counts["records_rejected"] + num_left_out
    assert counts["unknown_fields"]["note"] == {"num_records": 1, "first": "texts.jsonl, line 2"}
    assert counts["records_rejected_by_reason"] == {"field 'meeting_transcripts' is missing": 2}
    assert counts["num_replaced_chars"] == 3
    assert manifest["held_out"] == {"text": {"requested": 2, "used": 2, "rejected": 0, "rejected_by_reason": {}}}
    assert "alters the text" in counts["alters_text"]
    told = " ".join(manifest_table(manifest).split())
    for line in (
        "component source records used rejected left out samples skipped requested shown",
        "text fairytale 5 3 2 0 12 0 6 6 0 ",
        "text: 2 unread field 'bad' (first: texts.jsonl, line 4)",
        "text: 1 unread field 'note' (first: texts.jsonl, line 2)",
        "text: 2 records rejected: field 'meeting_transcripts' is missing",
        "text: 3 records give 12 samples",
        "text: 3 NULs and lone surrogates became U+FFFD",
        "text: the tokenizer 'treebank' alters the text",
        "text, for validation: 2 requested, 2 used, 0 rejected",
    ):
        assert line in told


def test_the_former_call_of_build_plan_gives_the_same_plan_with_a_warning(prepared):
    ledger = prepared.plan.ledger
    drawn = [
        Selection(name, rows["source"].iloc[0], rows["row"].tolist()) for name, rows in ledger.groupby("component")
    ]
    sizes = {"global_batch_size_samples": 8, "max_seq_len_tokens": 4096}
    parts = prepared.sources, prepared.backbone, prepared.presentations
    with pytest.warns(FutureWarning, match=r"write build_plan\(selections, PlanInputs\("):
        former = build_plan(drawn, *parts, data_seed=3, batching="length_grouped", **sizes)
    batching = Batching("length_grouped", micro_batch_size_samples=1, num_workers=0, sample_timeout_s=0, **sizes)
    inputs = PlanInputs(prepared.sources, prepared.presentations, prepared.backbone)
    plan = build_plan(drawn, inputs, batching, data_seed=3)
    assert (former.content_hash, former.batching) == (plan.content_hash, plan.batching)


def shown(plan):
    rows = plan.ledger.iloc[np.concatenate(plan.steps)]
    return list(zip(rows["component"], rows["sample_id"], strict=True))


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.7, 0.3), (0.9171, 0.0829)])
def test_in_nested_order_a_smaller_mixture_is_the_beginning_of_a_larger_one(settings, fractions):
    shares = [f"mixture.components.{n}.fraction={f}" for n, f in zip(("video", "text"), fractions, strict=True)]
    plans = [
        prepare(settings("batching.nested_order=true", f"mixture.num_samples={size}", *shares)).plan
        for size in (16, 24, 40)
    ]
    largest = shown(plans[-1])
    for plan, size in zip(plans, (16, 24, 40), strict=True):
        assert shown(plan) == largest[:size]
        counts = Counter(component for component, _ in shown(plan))
        assert all(abs(counts[n] - f * size) <= 1 for n, f in zip(("video", "text"), fractions, strict=True))


def test_in_nested_order_steps_are_whole_and_the_rest_is_rejected_by_name(settings):
    ledger = prepare(settings("batching.nested_order=true", "mixture.num_samples=21")).plan.ledger
    assert ledger["status"].value_counts().to_dict() == {"used": 16, "rejected": 5}
    assert set(ledger["reason"][ledger["status"] == "rejected"]) == {"fewer than a step are left"}
    fewer = prepare(settings("batching.nested_order=true", "mixture.num_samples=5")).plan
    assert [len(step) for step in fewer.steps] == [5], "a mixture of less than a step keeps its samples"
