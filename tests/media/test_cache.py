"""Frames kept on disk are found by content and bounds, never by name."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparrow.core.errors import MediaError
from sparrow.media import cache as cache_module
from sparrow.media.cache import FrameCache
from sparrow.media.frames import read_frames
from sparrow.media.settings import FramePolicy
from tests.media.video_clips import write_clip

POLICY = FramePolicy(max_frames=4)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were decoded."""
    paths: list[Path] = []

    def read(path: Path, *args: object, **kwargs: object) -> tuple[np.ndarray, np.ndarray]:
        paths.append(path)
        return read_frames(path, *args, **kwargs)

    monkeypatch.setattr(cache_module, "read_frames", read)
    return paths


def test_frames_are_decoded_once_a_content_bounds_and_policy(tmp_path: Path, reads: list[Path]) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    cache = FrameCache(tmp_path / "cache")
    fresh = cache.read_frames(clip, POLICY, 0.5, 1.5)
    kept = cache.read_frames(clip.rename(tmp_path / "b.mp4"), POLICY, 0.5, 1.5)
    assert len(reads) == 1
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(fresh, kept, strict=True))
    for policy, start_s in ((POLICY, 0.6), (FramePolicy(max_frames=5), 0.5)):
        cache.read_frames(tmp_path / "b.mp4", policy, start_s, 1.5)
    assert len(reads) == 3


def test_a_replaced_file_is_read_anew(tmp_path: Path, reads: list[Path]) -> None:
    cache = FrameCache(tmp_path / "cache")
    clip = write_clip(tmp_path / "a.mp4", 48)
    cache.read_frames(clip, POLICY)
    _, times_s = cache.read_frames(write_clip(clip, 96), POLICY)
    assert len(reads) == 2 and times_s[-1] > 2


def test_a_folder_is_known_by_its_pictures(tmp_path: Path, reads: list[Path]) -> None:
    cache = FrameCache(tmp_path / "cache")
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.png")
    for _ in range(2):
        cache.read_frames(folder, POLICY, fps=1.0)
    assert len(reads) == 1
    Image.new("RGB", (8, 8), (9, 0, 0)).save(folder / "1.png")
    os.utime(folder / "1.png", (1, 1))
    assert cache.read_frames(folder, POLICY, fps=1.0)[0][1, 0, 0, 0] == 9


def test_damaged_cache_files_are_replaced(tmp_path: Path, reads: list[Path]) -> None:
    cache = FrameCache(tmp_path / "cache")
    clip = write_clip(tmp_path / "a.mp4")
    fresh, _ = cache.read_frames(clip, POLICY)
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    for content in (b"", b"damaged", kept.read_bytes()[:1000]):
        kept.write_bytes(content)
        assert np.array_equal(cache.read_frames(clip, POLICY)[0], fresh)
    assert len(reads) == 4
    cache.read_frames(clip, POLICY)
    assert len(reads) == 4


def test_errors_are_those_of_read_frames_and_leave_nothing(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path / "cache")
    (tmp_path / "text.mp4").write_text("no video")
    for name, reason in {"text.mp4": "cannot be decoded", "missing.mp4": "no such file"}.items():
        with pytest.raises(MediaError, match=reason):
            cache.read_frames(tmp_path / name, POLICY)
    assert not (tmp_path / "cache").exists()
