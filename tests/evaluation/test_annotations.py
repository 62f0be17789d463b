"""Records are found with their lines, and a broken file is told with its own."""

from pathlib import Path

import pytest

from sparrow.core.errors import DataError
from sparrow.evaluation.annotations import find_files, json_records, records


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "records.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", []),
        (" [ ]\n", []),
        ('[1, "a\\nb", null]', [("line 1", 1), ("line 1", "a\nb"), ("line 1", None)]),
        ('[\n{"a":\n 1},\n\n{"b": [2]}\n]', [("line 2", {"a": 1}), ("line 5", {"b": [2]})]),
        ("\ufeff[\r\n1\r\n,2]", [("line 2", 1), ("line 3", 2)]),
    ],
)
def test_records_have_the_line_they_begin_on(tmp_path: Path, text: str, expected: list) -> None:
    assert list(json_records(write(tmp_path, text), benchmark="mine")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1,\n2", r"records\.json, line 2: the array is not closed"),
        ("[1 2]", r"line 1: '2' stands after a record, expected ',' or '\]'"),
        ("[1,\n]", r"line 2: it is not JSON: Expecting value"),
        ("[1]\n2", r"line 2: text stands after the end of the array"),
        ("", r"records\.json: expected a list"),
        ('{"a": 1}', r"records\.json: expected a list"),
    ],
)
def test_broken_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(json_records(write(tmp_path, text), benchmark="mine"))


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"benchmark 'mine', .*a\.parquet: not a readable parquet file"):
        list(records([tmp_path / "a.parquet"], benchmark="mine"))


def test_files_of_the_first_pattern_that_fits_are_found(tmp_path: Path) -> None:
    for name in ("b.parquet", "a.parquet", "c.json"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files(tmp_path, ("*.csv", "*.parquet", "*.json"), benchmark="mine")] == [
        "a.parquet",
        "b.parquet",
    ]
    assert find_files(tmp_path / "c.json", ("*.parquet",), benchmark="mine") == [tmp_path / "c.json"]
    with pytest.raises(DataError, match=r"looked for \*\.csv; it holds a\.parquet, b\.parquet, c\.json"):
        find_files(tmp_path, ("*.csv",), benchmark="mine")
    with pytest.raises(DataError, match=r"looked for \*\.csv; it is empty or missing"):
        find_files(tmp_path / "none", ("*.csv",), benchmark="mine")
