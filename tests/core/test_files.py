import math

import pytest

from sparrow.core.errors import ConfigError, MediaError
from sparrow.core.files import inside_root, name_below, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_atomically(path, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../../evil", "/evil", "~/evil", "a/../../evil", "..", ".", "", "/", "a\tb", "a\0b"])
def test_a_name_cannot_lead_out_of_its_folder(name):
    with pytest.raises(ConfigError, match="would lead elsewhere"):
        name_below(name)
    assert name_below("paper/main") == "paper/main"


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": math.nan})


def test_media_paths_stay_inside_their_root(tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "a.mp4").write_bytes(b"x")
    assert inside_root(root, "a.mp4") == (root / "a.mp4").resolve()
    for path in ("../secret.mp4", str(tmp_path / "secret.mp4"), "link.mp4", "a/../../secret.mp4", "a\0.mp4"):
        with pytest.raises(MediaError, match=r"media_root|NUL"):
            inside_root(root, path)


def test_a_link_out_of_the_root_says_where_it_leads(tmp_path):
    root, elsewhere = tmp_path / "media", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "folder").symlink_to(elsewhere)
    with pytest.raises(MediaError, match="is a link that leads out of the media root") as caught:
        inside_root(root, "folder/a.mp4")
    assert f"'folder/a.mp4', a link to '{elsewhere.resolve() / 'a.mp4'}'" in str(caught.value)
    assert "copy or hard-link the file into the media root" in str(caught.value)
