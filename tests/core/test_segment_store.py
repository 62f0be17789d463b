import pytest

from sparrow.core import segment_store
from sparrow.core.segment_store import MAX_SEGMENTS, SegmentStore, short_digest


def key(number):
    return short_digest(str(number).encode())


def store_of(folder, numbers):
    """A store with a file for each number."""
    store = SegmentStore(folder)
    for number in numbers:
        store.add(key(number), str(number).encode())
        store.flush()
    return store


def test_values_are_found_by_key_whoever_wrote_them(tmp_path):
    store_of(tmp_path, [1, 2])
    store = store_of(tmp_path, [2, 3])
    assert store.get([key(3), key(4), key(1)]) == [b"3", None, b"1"]
    assert SegmentStore(tmp_path / "not there").get([key(1)]) == [None]


def test_values_are_written_while_more_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_store, "WRITE_EVERY_S", 0)
    SegmentStore(tmp_path).add(key(1), b"1")
    assert SegmentStore(tmp_path).get([key(1)]) == [b"1"]


def test_many_files_are_merged_also_by_two_at_once(tmp_path, monkeypatch):
    numbers = range(MAX_SEGMENTS + 3)
    store = store_of(tmp_path, numbers)
    whole_segment, merged = segment_store._whole_segment, []

    def merge_first(file):
        if not merged:
            merged.append(file)
            SegmentStore(tmp_path).read()  # removes the files that the other has listed
        return whole_segment(file)

    monkeypatch.setattr(segment_store, "_whole_segment", merge_first)
    for _ in range(2):
        assert store.get([key(n) for n in numbers]) == [str(n).encode() for n in numbers]
        assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b[:-3] + bytes([b[-3] ^ 1]) + b[-2:]])
def test_a_damaged_file_is_named_and_what_it_held_is_missing(tmp_path, caplog, damage):
    store = store_of(tmp_path, [1])
    (file,) = tmp_path.iterdir()
    store_of(tmp_path, [2])
    file.write_bytes(damage(file.read_bytes()))
    assert store.get([key(1), key(2)]) == [None, b"2"]
    assert f"{file} is damaged" in caplog.text
    assert not file.exists()
