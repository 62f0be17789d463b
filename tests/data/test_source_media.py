import os

import numpy as np
import pyarrow as pa
import pytest

from sparrow.core.files import inside_root
from sparrow.core.samples import Image, Message, Sample, Text, Video
from sparrow.data.row_writer import RowWriter, rows_of
from sparrow.data.source_media import MediaFacts, SourceMedia
from sparrow.media.frame_folders import file_states

PATHS = ("a.mp4", "deep/a.mp4", "deep/../a.mp4", "inner link.mp4", "linked/a.mp4", "outer link.mp4", "gone/gone.mp4")
FOLDERS = ("frames", "frames/", ".")
DIGESTS = np.arange(5, dtype=np.uint64)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "elsewhere.mp4").write_bytes(b"elsewhere")
    root = tmp_path / "media"
    for folder in ("deep", "frames"):
        (root / folder).mkdir(parents=True)
    (root / "a.mp4").write_bytes(b"video")
    (root / "deep/a.mp4").write_bytes(b"another")
    (root / "frames/1.png").write_bytes(b"picture")
    (root / "inner link.mp4").symlink_to("deep/a.mp4")
    (root / "linked").symlink_to("deep")
    (root / "outer link.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    return root


def media_of(root, *parts_of_samples):
    file = root.parent / "rows.arrow"
    with RowWriter(file) as writer:
        for i, parts in enumerate(parts_of_samples):
            asked = Message("user", (*parts, Text("What?")))
            writer.write(rows_of(Sample(str(i), "s", (asked, Message("assistant", (Text("red"),))))))
    table = pa.ipc.open_stream(file.read_bytes()).read_all()
    return SourceMedia(table.to_batches(max_chunksize=2), root)


@pytest.mark.parametrize("path", [*PATHS, *FOLDERS, "/etc/hostname", "../elsewhere.mp4", "nul\0.mp4"])
def test_files_are_found_as_they_are_when_they_are_opened(root, path):
    media = media_of(root, [Video(path)])
    before = media.keys([0], DIGESTS)
    keys = media.file_keys([0])
    try:
        found = inside_root(root, path)
        states = file_states(found)
    except Exception:
        assert keys == {}
        return
    assert (f"video:{path}" in keys) == found.is_file()
    (file,) = [found] if found.is_file() else [found / "1.png"] if states else [None]
    if file is not None:
        os.utime(file, ns=(0, 0))
        changed = media_of(root, [Video(path)])
        assert changed.keys([0], DIGESTS) != before
        assert changed.file_keys([0]) != keys or not keys
        assert media.keys([0], DIGESTS) == before, "looked at once"


def test_rows_and_their_files_are_told_apart(root):
    a, b = Video("a.mp4"), Video("deep/a.mp4")
    media = media_of(root, [a], [], [b, a], [b], [Image("a.mp4")])
    assert media.first_file(range(5)).tolist() == [0, -1, 1, 1, 2]
    assert set(media.file_keys([3, 2])) == {"video:a.mp4", "video:deep/a.mp4"}
    assert set(media.file_keys([1])) == set()
    keys = media.keys([2, 0], DIGESTS)
    assert keys == [media.keys([row], DIGESTS)[0] for row in (2, 0)]
    assert len(set(media.keys(range(5), DIGESTS * 0))) == 4, "a picture's file has the state that the video's has"


def test_what_is_known_of_a_file_is_not_of_the_same_one_shown_otherwise():
    facts = MediaFacts({})
    facts.put(Video("a.webp"), {"num_frames": 3})
    assert facts.get(Video("a.webp", start_s=1.0)) == {"num_frames": 3}
    assert facts.get(Image("a.webp")) is None
    assert MediaFacts(facts.found).get(Video("a.webp")) == {"num_frames": 3}
