"""Records are found with their lines, and a broken file is told with its own."""

from pathlib import Path

import pytest

from sparrow.core.errors import DataError
from sparrow.evaluation.annotations import Problems, find_files, records


def test_records_have_their_places_and_unreadable_ones_are_problems(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text('\ufeff[\n{"a":\n 1},\n7,\n{"b": "half \\ud800"},\n{"b": [2]}\n]', encoding="utf-8")
    problems = Problems("mine", path)
    found = list(records(path, benchmark="mine", problems=problems))
    assert found == [("records.json, line 2 (record 1)", {"a": 1}), ("records.json, line 6 (record 4)", {"b": [2]})]
    assert problems.found == [
        "records.json, line 4 (record 2): the record is a number, expected an object",
        "records.json, line 5 (record 3): a text holds a NUL or half of a surrogate pair; write the whole character",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[1,\n2", r"benchmark 'mine', .*a\.json, line 2: the array is not closed; fix this place"),
        ("a.parquet", b"PAR1 no", r"benchmark 'mine', .*a\.parquet: it is not a whole parquet file"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(records(tmp_path / name, benchmark="mine", problems=Problems("mine", tmp_path)))


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
