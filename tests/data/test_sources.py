"""Sources: converted once for each content, with ids that do not depend on order, and everything accounted for."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from sparrow.core.errors import ConfigError, DataError
from sparrow.core.samples import LongText, Message, Sample, Text, Video
from sparrow.data.converters import CONVERTERS
from sparrow.data.converters.conversion import Conversion, sample_ids
from sparrow.data.mixture import draw
from sparrow.data.page_counts import PageCounts
from sparrow.data.settings import Component, Mixture, Source
from sparrow.data.sources import SourceData, load_source, missing_files
from sparrow.media.settings import TextStyle

SOURCE_CONFIGS = sorted((Path(__file__).parents[2] / "conf/source").rglob("*.yaml"))


def tale(number: int, **fields: Any) -> dict[str, Any]:
    return {"context": f"Tale {number}.", "question": "Who?", "answer": f"Number {number}", **fields}


def load(folder: Path, *files: str, converter: str = "context_qa", **options: Any) -> SourceData:
    source = Source(converter=converter, files=list(files), root=str(folder), media_root="media")
    return load_source("tales", source, **{"cache_root": folder / "cache", **options})


def write(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))


def test_samples_come_back_as_they_were_converted(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<video>\nWho?"}, {"from": "gpt", "value": "Ann."}]
    write(tmp_path / "a.json", [{"id": "x", "video": "1.mp4", "start": 1.5, "conversations": turns}])
    data = load(tmp_path, "a.json", converter="llava")
    expected = Sample(
        "x",
        "tales",
        (Message("user", (Video("1.mp4", start_s=1.5), Text("Who?"))), Message("assistant", (Text("Ann."),))),
    )
    assert (len(data), data[0], data[-1], list(data)) == (1, expected, expected, [expected])
    assert data.media_roots == (tmp_path / "media",)
    with pytest.raises(IndexError):
        data[1]


def test_files_are_read_in_order_and_patterns_sorted(tmp_path: Path) -> None:
    for name, number in (("z.json", 0), ("parts/b.json", 2), ("parts/a.json", 1)):
        write(tmp_path / name, [tale(number, id=str(number))])
    assert load(tmp_path, "z.json", "parts/*.json").ids == ["0", "1", "2"]


def test_the_second_start_converts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.json", [tale(1), tale(2)])
    first = load(tmp_path, "a.json")
    monkeypatch.delattr(Conversion, "run")
    again = load(tmp_path, "a.json")
    assert (again.ids, again.stats, list(again)) == (first.ids, first.stats, list(first))


def test_the_cache_goes_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here/a.json", [tale(1)])
    here = load(tmp_path / "here", "a.json", cache_root=tmp_path)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    os.utime(tmp_path / "there/a.json", (1, 1))
    with monkeypatch.context() as patch:
        patch.delattr(Conversion, "run")
        there = load(tmp_path / "there", "a.json", cache_root=tmp_path)
    assert there.content_hash == here.content_hash
    write(tmp_path / "there/a.json", [tale(2)])
    assert load(tmp_path / "there", "a.json", cache_root=tmp_path)[0].messages[1].parts == (Text("Number 2"),)


def test_ids_and_hash_do_not_depend_on_the_order_of_records(tmp_path: Path) -> None:
    records = [tale(n) for n in range(20)] + [tale(n, id=str(n)) for n in range(5)]
    records += [tale(7), tale(3, id="same"), tale(4, id="same"), tale(4, id="same")]
    write(tmp_path / "a.json", records)
    random.Random(0).shuffle(records)
    write(tmp_path / "b.json", records)
    a, b = load(tmp_path, "a.json"), load(tmp_path, "b.json")
    assert {sample.id: sample for sample in a} == {sample.id: sample for sample in b}
    assert len(set(a.ids)) == len(a.ids) == 29
    assert a.content_hash == b.content_hash
    write(tmp_path / "c.json", records[1:])
    assert load(tmp_path, "c.json").content_hash != a.content_hash


def test_ids_that_are_not_unique() -> None:
    digest = 0x0123456789ABCDEF
    assert sample_ids(["a", None, "b"], [1, digest, 3]) == ["a", "0123456789abcdef", "b"]
    assert sample_ids(["a", "a"], [digest, 0]) == ["a~01234567", "a~00000000"]
    assert sample_ids(["a", "a", "a#2"], [1, 1, 2]) == ["a", "a#3", "a#2"]
    assert sample_ids(["a", "b", "a"], [1, 2, 3], [0, 2]) == ["a", "b", "a"], "files do not rename each other's"
    one, two = 1 << 32, 2 << 32
    assert sample_ids(["a"] * 4, [one, two, one, one], [0, 2]) == ["a~00000001", "a~00000002", "a", "a#2"]
    assert sample_ids(["a", "b", "a"], [1, 2, 1], [0, 2]) == ["a", "b", "a#2"], "copies are counted in all files"
    assert sample_ids([None] * 3, [digest] * 3) == ["0123456789abcdef" + tail for tail in ("", "#2", "#3")]


def test_an_id_does_not_change_when_records_are_added(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [tale(1), tale(2, id="two")])
    write(tmp_path / "b.json", [tale(3, id="three"), tale(2, id="two"), tale(1)])
    assert set(load(tmp_path, "a.json").ids) < set(load(tmp_path, "b.json").ids)


def test_a_record_keeps_id_and_place_whatever_other_files_hold(tmp_path: Path) -> None:
    """Their ids repeat in every file; files are added, reordered and renamed."""
    for name, first in (("a", 0), ("b", 1_000), ("c", 2_000)):
        write(tmp_path / f"{name}.json", [tale(first + n, id=str(n)) for n in range(200)])
    shutil.copy(tmp_path / "b.json", tmp_path / "0.json")

    def drawn(*files: str, of: int, number: int) -> list[tuple[str, str]]:
        """Ids and answers of those among the first samples drawn that are of one file."""
        source = load(tmp_path, *files)
        mixture = Mixture(components={"all": Component(source="tales", num_samples=number)})
        (selection,) = draw(mixture, {"tales": source}, 0, PageCounts(TextStyle()), None)
        samples = [(source.ids[row], source[row].messages[1].parts[0].text) for row in selection.rows]
        return [(id, text) for id, text in samples if int(text.removeprefix("Number ")) // 1_000 == of]

    alone = drawn("b.json", of=1, number=200)
    assert {id for id, _ in alone} == {str(n) for n in range(200)}
    for files in (["b.json", "c.json"], ["c.json", "b.json"], ["a.json", "c.json", "0.json"]):
        beside = drawn(*files, of=1, number=150)
        assert beside == alone[: len(beside)]
        assert len(beside) > 40


def test_every_record_is_accounted_for(tmp_path: Path) -> None:
    meeting = {
        "meeting_transcripts": [{"speaker": "Ann\x00", "content": "Hello."}],
        "specific_query_list": [{"query": "Who?", "answer": "Ann."}, {"query": "When?", "answer": "Never."}],
    }
    write(tmp_path / "a.json", [meeting, {**meeting, "specific_query_list": []}, [1], {"id": 9}])
    stats = load(tmp_path, "a.json", converter="qmsum", on_bad_sample="skip").stats
    assert (stats.num_records, stats.num_used_records, len(stats.rejected), stats.num_samples) == (4, 1, 3, 2)
    assert [(bad.where, bad.id) for bad in stats.rejected] == [
        ("a.json, line 1 (record 2)", None),
        ("a.json, line 1 (record 3)", None),
        ("a.json, line 1 (record 4)", "9"),
    ]
    assert stats.num_replaced_chars == 2  # the meeting was read twice


def test_fields_that_nothing_reads_are_counted_or_refused(tmp_path: Path) -> None:
    records = [tale(1, note="a"), tale(2, note="", rank=3), tale(3, note="b", answer="")]
    (tmp_path / "a.json").write_text(json.dumps({"data": records, "version": 2}, indent=0))
    source = Source(converter="context_qa", files=["a.json"], root=str(tmp_path))
    for _ in range(2):  # the second time from the cache
        stats = load_source("tales", source, cache_root=tmp_path / "cache", on_bad_sample="skip").stats
        assert stats.unknown_fields == {
            "note": {"num_records": 2, "first": "a.json, line 3 (record 1)"},
            "rank": {"num_records": 1, "first": "a.json, line 9 (record 2)"},
            "version (beside data)": {"num_records": 1, "first": "a.json"},
        }
    refusing = replace(source, unknown_fields="refuse")
    with pytest.raises(DataError, match=r"line 3 \(record 1\): field 'note' is not known to this converter; remove it"):
        load_source("tales", refusing, cache_root=tmp_path / "cache")
    write(tmp_path / "a.json", [tale(1)])
    assert len(load_source("tales", refusing, cache_root=tmp_path / "cache")) == 1


def test_ids_that_are_none_and_the_rate_of_a_file_are_counted_as_unread(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<video>Who?"}, {"from": "gpt", "value": "Ann."}]
    videos = [("a.mp4", 1.5), ("a.mp4", [7]), ("frames", None)]
    write(tmp_path / "a.json", [{"id": id, "video": path, "fps": 2, "conversations": turns} for path, id in videos])
    data = load(tmp_path, "a.json", converter="llava")
    assert data.ids[0] == "1.5"
    assert {field: unknown["num_records"] for field, unknown in data.stats.unknown_fields.items()} == {
        "fps (of a file, which has a clock)": 2,
        "id": 1,
    }


def test_a_record_of_which_nothing_is_learnt_is_left_out(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Ann.", "loss": False}]
    learnt = [*turns, {"from": "human", "value": "When?"}, {"from": "gpt", "value": "Never."}]
    write(tmp_path / "a.json", [{"conversations": turns}, {"conversations": learnt}])
    data = load(tmp_path, "a.json", converter="llava")
    assert data.stats.left_out == {"every answer is marked as not to be learnt": 1}
    assert [message.supervised for message in data[0].messages] == [True, False, True, True]
    del learnt[1]["loss"]
    write(tmp_path / "a.json", [{"conversations": learnt}])
    assert load(tmp_path, "a.json", converter="llava").digests[0] != data.digests[0]


def test_short_contexts_are_left_out_by_rule_or_by_setting(tmp_path: Path) -> None:
    records = [
        {"prompt": f"{'word ' * words}\nQ: What?\nA:", "completion": f"{words} words"} for words in (2999, 3000, 9)
    ]
    write(tmp_path / "a.json", records)
    by_rule = load(tmp_path, "a.json", converter="booksum")
    assert by_rule.stats.left_out == {"the long text has fewer than 3000 words": 2}
    assert [sample.messages[1].parts for sample in by_rule] == [(Text("3000 words"),)]
    by_setting = load(tmp_path, "a.json", converter="booksum", min_context_words=10)
    assert by_setting.stats.left_out == {"the long text has fewer than 10 words": 1}


def test_what_was_skipped_once_still_fails_where_nothing_may_be_bad(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [tale(1), {"id": "x"}])
    assert len(load(tmp_path, "a.json", on_bad_sample="skip")) == 1
    with pytest.raises(DataError) as from_cache:
        load(tmp_path, "a.json")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(DataError) as fresh:
        load(tmp_path, "a.json")
    assert str(from_cache.value) == str(fresh.value)


def test_more_bad_records_than_the_limit_are_an_error_with_numbers_and_reasons(tmp_path: Path) -> None:
    """The good ones would fill the draw, and nobody would know what is missing."""
    write(tmp_path / "a.json", [tale(1), {"id": "x"}, tale(2), {"context": "y"}])
    for _ in range(2):  # the second time from the cache
        with pytest.raises(DataError) as caught:
            load(tmp_path, "a.json", on_bad_sample="skip", max_bad_fraction=0.4)
        message = str(caught.value)
        assert "source 'tales': 2 of its 4 records cannot be used, more than max_bad_fraction=0.4" in message
        assert "a.json, line 1 (record 2) (field 'context' is missing)" in message
        assert message.endswith("fix or remove them, or raise max_bad_fraction")
    assert len(load(tmp_path, "a.json", on_bad_sample="skip", max_bad_fraction=0.5)) == 2


@pytest.mark.parametrize("again", ["a.json", "*.json", "./a.json", "sub/../a.json"])
def test_a_file_that_two_entries_give_is_refused(again: str, tmp_path: Path) -> None:
    write(tmp_path / "a.json", [tale(1)])
    write(tmp_path / "sub/b.json", [tale(2)])
    assert len(load(tmp_path, "*.json", "sub/*.json")) == 2
    with pytest.raises(
        ConfigError, match=r"source\.tales\.files: '.*a\.json' is given by two entries, 'a\.json' and '"
    ) as caught:
        load(tmp_path, "a.json", again)
    assert f"and '{again}'" in str(caught.value)
    with pytest.raises(ConfigError, match="'hf:x' is given by two entries"):
        load(tmp_path, "a.json", "hf:x", "hf:x")


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [tale(1)])
    source = Source(converter="context_qa", files=["a.json", "b.json", "c/*.parquet", "hf:x"], root=str(tmp_path))
    assert missing_files(source) == ["b.json", "c/*.parquet"]
    with pytest.raises(DataError) as caught:
        load_source("tales", source, cache_root=tmp_path)
    message = str(caught.value)
    assert message.startswith("source 'tales': 2 of 4 files are missing: b.json, c/*.parquet; looked in ")
    assert str(tmp_path) in message
    assert "source.tales.root" in message


def test_unknown_converter_and_no_files_are_configuration_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"converter: 'llama' is not one of alpaca, "):
        load(tmp_path, "a.json", converter="llama")
    with pytest.raises(ConfigError, match=r"source\.tales\.files: it is empty"):
        load(tmp_path)


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.json", [tale(1), tale(2)])

    def interrupted(_: object, ids: list[str]) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Conversion, "stats", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(tmp_path, "a.json")
    kept = [path.name for path in (tmp_path / "cache/sources").iterdir() if path.suffix != ".lock"]
    assert kept == ["digests"]
    data = load(tmp_path, "a.json")
    assert len(data) == 2
    draft = data.folder.with_name(f".{data.folder.name}.killed")
    data.folder.rename(draft)  # as a kill leaves it, which no handler sees
    assert len(load(tmp_path, "a.json")) == 2
    assert not draft.exists()


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [tale(1), tale(2)])
    data = load(tmp_path, "a.json")
    (data.folder / "rows.arrow").unlink()
    assert len(list(load(tmp_path, "a.json"))) == 2


def test_a_file_may_lie_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "there/a.json", [tale(1)])
    assert len(load(tmp_path / "here", str(tmp_path / "there/a.json"))) == 1


def test_a_source_travels_to_worker_processes(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [tale(1), tale(2)])
    data = load(tmp_path, "a.json")
    assert list(pickle.loads(pickle.dumps(data))) == list(data)


def test_a_hub_data_set_is_a_file_like_any_other(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list([tale(1), tale(2)]).save_to_disk(str(tmp_path / "saved"))
    write(tmp_path / "a.json", [tale(1), tale(2)])
    assert load(tmp_path, "hf:saved").content_hash == load(tmp_path, "a.json").content_hash


def test_splits_of_a_data_set_are_cached_apart(tmp_path: Path) -> None:
    (tmp_path / "tales").mkdir()
    write(tmp_path / "tales/train.json", [tale(1)])
    write(tmp_path / "tales/test.json", [tale(2)])
    answers = []
    for split in (None, "test", "train", "test"):
        source = Source(converter="context_qa", files=["hf:tales"], root=str(tmp_path), split=split)
        answers.append(load_source("tales", source, cache_root=tmp_path / "cache")[0].messages[1].parts[0])
    assert answers == [Text(f"Number {number}") for number in (1, 2, 1, 2)]


@pytest.mark.parametrize("card", [True, False])
def test_a_changed_data_set_is_read_anew(tmp_path: Path, card: bool) -> None:
    folders = [tmp_path / name / "tales" for name in "ab"]
    for number, folder in enumerate(folders):
        write(folder / "data.json", [tale(number)])
        if card:
            (folder / "README.md").write_text("---\nconfigs:\n- config_name: x\n  data_files: data.json\n---\n")

    def answers() -> list[Any]:
        return [load(folder.parent, "hf:tales", cache_root=tmp_path)[0].messages[1].parts[0] for folder in folders]

    assert answers() == [Text("Number 0"), Text("Number 1")]
    write(folders[0] / "data.json", [tale(2)])
    assert answers() == [Text("Number 2"), Text("Number 1")]


def test_what_only_data_sets_have_is_refused_of_files(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [tale(1)])
    source = Source(converter="context_qa", files=["a.json"], root=str(tmp_path), split="test")
    with pytest.raises(ConfigError, match=r"source\.tales\.split: none of its files is a `datasets` data set"):
        load_source("tales", source, cache_root=tmp_path)


@pytest.mark.parametrize("path", SOURCE_CONFIGS, ids=lambda path: path.stem)
def test_every_source_config_is_placed_and_names_a_converter(path: Path) -> None:
    text = path.read_text()
    name = f"world_{path.stem}" if path.parent.name == "world" else path.stem
    assert text.startswith(f"# @package source.{name}\n")
    written = {key: value for key, value in yaml.safe_load(text).items() if "${" not in str(value) or key == "root"}
    source = Source(**written)
    assert source.converter in CONVERTERS
    assert source.files or yaml.safe_load(text)["use_world"]


def real_data() -> Path:
    folder = os.environ.get("SPARROW_TEST_DATA")
    if not folder:
        pytest.skip("needs the real files: SPARROW_TEST_DATA is not set")
    return Path(folder)


@pytest.mark.parametrize(
    ("converter", "file", "num_records", "num_samples", "num_long_texts"),
    [
        ("llava", "video/clips_instruct.json", 17, 17, 0),
        ("llava", "video/qwen_vl_finetune_demo_video.json", 3, 3, 0),
        ("messages", "video/llamafactory_v1_multimodal_demo.jsonl", 24, 24, 0),
        ("longalpaca", "text_long/fairytale_longalpaca_schema_40.json", 40, 40, 40),
        ("context_qa", "text_long/fairytale_context_qa_60.jsonl", 60, 60, 60),
        ("long_nq", "text_long/nq_multidoc_30.jsonl", 30, 20, 20),
        ("qmsum", "text_long/qmsum_val_20.jsonl", 20, 166, 166),
        ("alpaca", "text_short/stanford_alpaca_seed_tasks_175.jsonl", 175, 175, 0),
    ],
)
def test_real_files(
    converter: str, file: str, num_records: int, num_samples: int, num_long_texts: int, tmp_path: Path
) -> None:
    source = Source(converter=converter, files=[file], root=str(real_data()))
    data = load_source("real", source, cache_root=tmp_path)
    assert (data.stats.num_records, len(data), data.rejected) == (num_records, num_samples, ())
    assert sum(isinstance(part, LongText) for sample in data for part in sample.parts()) == num_long_texts


def test_real_stories_are_the_same_in_both_schemas(tmp_path: Path) -> None:
    root = str(real_data())
    wrapped = load_source(
        "w", Source("longalpaca", ["text_long/fairytale_longalpaca_schema_40.json"], root), cache_root=tmp_path
    )
    plain = load_source(
        "p", Source("context_qa", ["text_long/fairytale_context_qa_60.jsonl"], root), cache_root=tmp_path
    )
    assert {sample.messages for sample in wrapped} <= {sample.messages for sample in plain}


def test_a_long_text_that_no_component_shows_is_refused_at_its_first_record(tmp_path: Path) -> None:
    """Records after it are not even read: the last one could not be."""
    asked = [{"type": "long_text", "text": "A tale."}, {"type": "text", "text": "Who?"}]
    record = {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "Ann."}]}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(record)}\nnot JSON\n")
    with pytest.raises(
        DataError, match=r"a.jsonl, line 1: it holds a long text, .*present_as=video .*; set present_as"
    ):
        load(tmp_path, "a.jsonl", converter="messages", shows_long_texts=False)
    stats = load(tmp_path, "a.jsonl", converter="messages", on_bad_sample="skip").stats
    assert (stats.num_used_records, len(stats.rejected)) == (1, 1)
