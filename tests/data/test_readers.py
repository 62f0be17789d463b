"""Readers: every format gives the same records, each with its line, in bounded memory."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sparrow.core.errors import DataError
from sparrow.data import json_stream, readers
from sparrow.data.json_stream import Chunk, JsonStream
from sparrow.data.readers import read_records
from sparrow.data.settings import Source

RECORDS = [
    {"id": "a", "text": "one, two"},
    {"id": "b", "text": 'line\nbreak "quoted" \\ 🐦 née'},
    {"id": "c", "text": "[]{}"},
]


def write_csv(path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(RECORDS)


def write(path: Path) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    forms = {
        "a.json": json.dumps(RECORDS),
        "indented.json": json.dumps(RECORDS, indent=2, ensure_ascii=False),
        "objects.json": "\n".join(json.dumps(record, indent=1) for record in RECORDS),
        "bom.json": "\ufeff" + json.dumps(RECORDS),
        "a.jsonl": lines,
        "a.ndjson": lines,
        "windows.jsonl": lines.replace("\n", "\r\n"),
        "blank.jsonl": lines.replace("\n", "\n\n"),
        "unfinished.jsonl": lines.rstrip("\n"),
    }
    if path.name in forms:
        path.write_bytes(forms[path.name].encode())
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".zst":
        with pyarrow.output_stream(str(path), compression="zstd") as file:
            file.write(json.dumps(RECORDS).encode())
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)
    else:
        write_csv(path)


WHERE = {
    "a.json": ["line 1 (record 1)", "line 1 (record 2)", "line 1 (record 3)"],
    "indented.json": ["line 2 (record 1)", "line 6 (record 2)", "line 10 (record 3)"],
    "objects.json": ["line 1 (record 1)", "line 5 (record 2)", "line 9 (record 3)"],
    "bom.json": ["line 1 (record 1)", "line 1 (record 2)", "line 1 (record 3)"],
    "a.jsonl": ["line 1", "line 2", "line 3"],
    "a.ndjson": ["line 1", "line 2", "line 3"],
    "windows.jsonl": ["line 1", "line 2", "line 3"],
    "blank.jsonl": ["line 1", "line 3", "line 5"],
    "unfinished.jsonl": ["line 1", "line 2", "line 3"],
    "a.jsonl.gz": ["line 1", "line 2", "line 3"],
    "a.json.zst": ["line 1 (record 1)", "line 1 (record 2)", "line 1 (record 3)"],
    "a.csv": ["line 2", "line 3", "line 5"],
    "a.parquet": ["row 1", "row 2", "row 3"],
}


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", WHERE)
def test_every_format_gives_the_records_and_their_places(
    name: str, chunk_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_CHUNK_BYTES", chunk_bytes)
    write(tmp_path / name)
    records = list(read_records(tmp_path / name))
    assert [record.data for record in records] == RECORDS
    assert [record.where for record in records] == [f"{name}, {place}" for place in WHERE[name]]


ROWS = json.dumps(RECORDS)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
@pytest.mark.parametrize(
    ("name", "text", "beside"),
    [
        ("array.jsonl", f"\n{ROWS}", []),
        ("array.ndjson", json.dumps(RECORDS, indent=1), []),
        ("data.json", f'{{"data": {ROWS}}}', []),
        (
            "more.json",
            f'{{"version": "1, a", "n": 3,\n"data": {ROWS}, "info": {{"a": 1}}}}',
            ["version", "n", "info"],
        ),
        ("later.json", f'{{"data": {ROWS},\n"n": 1\n}}\n', ["n"]),
    ],
)
def test_records_in_an_array_are_read_whatever_holds_it(
    name: str, text: str, beside: list[Any], chunk_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_CHUNK_BYTES", chunk_bytes)
    (tmp_path / name).write_text(text)
    unknown: list[Any] = []
    records = read_records(tmp_path / name, on_unknown=lambda *field: unknown.append(field))
    assert [record.data for record in records] == RECORDS
    assert unknown == [(f"{field} (beside data)", name) for field in beside]


@pytest.mark.parametrize("rest", ["", ', "n"}', "} x", '} {"data": []}'])
def test_an_object_around_records_that_is_not_whole_is_an_error(rest: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'{{"data": {ROWS}{rest}')
    with pytest.raises(DataError, match=r"a.json, line 1: the object around the array of records is not JSON"):
        list(read_records(tmp_path / "a.json"))


def test_one_record_with_a_repeated_key_does_not_end_an_array(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"id": 1},\n{"id": 2, "turns": [{"a": 1, "a": 2}]},\n{"id": 3}]')
    bad: list[Any] = []
    records = list(read_records(tmp_path / "a.json", on_bad=bad.append))
    assert [record.data for record in records] == [{"id": 1}, {"id": 3}]
    assert [str(error) for error in bad] == [
        "source 'unnamed', a.json, line 2 (record 2): the key 'a' stands twice in an object; keep one of them"
    ]


def test_the_index_of_pandas_is_a_column_named_as_pandas_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",id\n0,a\n1,b\n")
    assert [record.data for record in read_records(tmp_path / "a.csv")] == [
        {"Unnamed: 0": "0", "id": "a"},
        {"Unnamed: 0": "1", "id": "b"},
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(JSON_VALUES, max_size=4), st.integers(1, 20), st.sampled_from([None, 1]), st.booleans())
def test_json_in_pieces_is_what_the_json_module_reads(
    values: list[Any], size: int, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    read = list(
        JsonStream(
            (Chunk(piece, piece.count("\n")) for piece in pieces), lambda what, line: DataError(f"{what} {line}")
        )
    )
    assert [value.value for value in read] == values


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with open(path, "w") as file:
        for number in range(10_000):
            file.write(("[" if number == 0 else ",\n") + json.dumps({"id": number, "text": "word " * 400}))
        file.write("]")
    tracemalloc.start()
    assert sum(1 for _ in read_records(path)) == 10_000
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 20_000_000
    assert peak_bytes < 8_000_000


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.json", '[{"text": "' + "word " * 10_000 + '"}]', 1),
        ("a.jsonl", '{"text": "short"}\n{"text": "' + "word " * 10_000 + '"}', 2),
        ("a.csv", "text,id\nshort,1\n" + "word " * 10_000, 3),
        ("a.csv", 'text,id\nshort,1\n"not closed,' + "word\n" * 10_000, 3),
    ],
)
def test_a_record_without_an_end_is_not_read_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, line: int
) -> None:
    monkeypatch.setattr(readers, "_CHUNK_BYTES", 100)
    monkeypatch.setattr(json_stream, "MAX_RECORD_CHARS", 1_000)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}, line {line}: a record is longer than 1,000 characters; "):
        list(read_records(tmp_path / name))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet", "a.csv"])
def test_nuls_and_lone_surrogates_are_replaced_and_counted(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    record: dict[str, Any]
    expected: dict[str, Any]
    if name in ("a.parquet", "a.csv"):  # neither can hold a lone surrogate
        record, expected, count = {"text": "a\x00b\x00"}, {"text": "a\ufffdb\ufffd"}, 2
    else:
        record = {"turns": [{"text": "a\x00b \ud800 \udfff"}], "bird": "🐦"}
        expected, count = {"turns": [{"text": "a\ufffdb \ufffd \ufffd"}], "bird": "🐦"}, 3
    if name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([record]), path)
    elif name == "a.csv":
        path.write_text(f"text\n{record['text']}\n")
    else:
        path.write_text(json.dumps([record] if name == "a.json" else record))
    (read,) = read_records(path)
    assert read.data == expected
    assert read.num_replaced_chars == count


def hub_records(reference: str, *, root: Path, cache_root: Path, source: str = "unnamed", **options: str) -> Any:
    settings = Source("alpaca", files=[reference], root=str(root), **options)
    fingerprint, records = readers.read_hub_records(reference, settings, cache_root=cache_root, source=source)
    return fingerprint, records()


def test_a_hub_data_set_on_disk_is_read_by_name_and_split(tmp_path: Path) -> None:
    import datasets

    split = datasets.Dataset.from_list(RECORDS)
    split.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": split, "test": split.select([1])}).save_to_disk(str(tmp_path / "two"))

    fingerprint, records = hub_records("hf:one", root=tmp_path, cache_root=tmp_path / "cache")
    assert fingerprint
    assert [record.data for record in records] == RECORDS
    (record,) = hub_records("hf:two:test", root=tmp_path, cache_root=tmp_path / "cache")[1]
    assert (record.data, record.where) == (RECORDS[1], "hf:two:test, row 1")
    for named in ({"reference": "hf:one:test"}, {"reference": "hf:one", "split": "train[:1]"}):
        with pytest.raises(DataError, match=r"it was saved without splits, '(test|train\[:1\])' is asked for; leave"):
            hub_records(**named, root=tmp_path, cache_root=tmp_path / "cache")
    with pytest.raises(DataError, match=r"it has no split 'val'; set .*split to one of the splits train, test"):
        hub_records("hf:two:val", root=tmp_path, cache_root=tmp_path / "cache")


@pytest.fixture
def tales(tmp_path: Path) -> Path:
    """A data set of files with two configurations, one of them with two splits, as on the Hub."""
    card = {
        "configs": [
            {"config_name": "short", "data_files": "short.jsonl"},
            {"config_name": "long", "data_files": [{"split": s, "path": f"{s}.jsonl"} for s in ("train", "test")]},
        ]
    }
    (tmp_path / "tales").mkdir()
    (tmp_path / "tales/README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    for name in ("short", "train", "test"):
        lines = [json.dumps({"text": f"{name} {number}"}) for number in range(4)]
        (tmp_path / f"tales/{name}.jsonl").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "options", "texts"),
    [
        ("hf:tales", {"config_name": "short"}, ["short 0", "short 1", "short 2", "short 3"]),
        ("hf:tales", {"config_name": "long"}, ["train 0", "train 1", "train 2", "train 3"]),
        ("hf:tales", {"config_name": "long", "split": "test[:50%]"}, ["test 0", "test 1"]),
        ("hf:tales:test", {"config_name": "long", "split": "train"}, ["test 0", "test 1", "test 2", "test 3"]),
    ],
)
def test_a_configuration_and_a_split_are_chosen(
    tales: Path, reference: str, options: dict[str, str], texts: list[str]
) -> None:
    fingerprint, records = hub_records(reference, root=tales, cache_root=tales / "cache", **options)
    assert [record.data["text"] for record in records] == texts
    assert (
        fingerprint != hub_records("hf:tales:train[:1]", root=tales, cache_root=tales / "cache", config_name="long")[0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Config name is missing.*short.*long.*config_name"),
        ({"config_name": "medium"}, "'medium' not found. Available: .*'short'"),
        ({"config_name": "long", "split": "val"}, 'Unknown split "val".*train.*test'),
        ({"config_name": "long", "revision": "v1"}, "a folder has no revisions; leave out source.s.revision"),
    ],
)
def test_a_configuration_or_split_that_is_not_there(tales: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=f"(?s)source 's', hf:tales: .*{message}"):
        hub_records("hf:tales", root=tales, cache_root=tales / "cache", source="s", **options)


def test_a_revision_goes_to_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    asked: list[Any] = []

    def load(*names: Any, **options: Any) -> Any:
        asked.append((names, options))
        return datasets.Dataset.from_list(RECORDS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    _, records = hub_records(
        "hf:owner/tales", root=tmp_path, cache_root=tmp_path / "cache", config_name="long", revision="v1"
    )
    assert [record.data for record in records] == RECORDS
    assert asked == [(("owner/tales", "long"), {"split": "train", "revision": "v1"})]


def test_a_saved_data_set_has_no_configurations(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(RECORDS).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match="written by save_to_disk and has no configurations; leave out"):
        hub_records("hf:saved", root=tmp_path, cache_root=tmp_path / "cache", config_name="long")


def test_a_hub_data_set_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="source 's', hf:empty: the data set cannot be loaded"):
        hub_records("hf:empty", root=tmp_path, cache_root=tmp_path / "cache", source="s")
