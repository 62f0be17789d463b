"""Every frame right: what is read is what a sequential decode shows, or an error."""

import io
import os
import struct
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import numpy as np
import pytest
from PIL import Image

from sparrow.core.errors import MediaError
from sparrow.media.colour import tone_mapped
from sparrow.media.frame_choice import clock
from sparrow.media.frames import frame_indices, look_at_header, probe_video, read_clip, read_frames, read_with_info
from sparrow.media.images import read_image
from sparrow.media.settings import FramePolicy
from sparrow.media.video_decoding import Decoding
from tests.media.video_clips import index_of, picture, write_clip

ALL = FramePolicy("all", max_frames=None)
DATA = Path(os.environ.get("SPARROW_TEST_DATA", "")) / "odd"
odd = pytest.mark.skipif(not DATA.is_dir(), reason="SPARROW_TEST_DATA names no folder of odd clips")


def sequential(path: Path, *, at_once: bool = False) -> dict[float, np.ndarray]:
    """Every frame that a decoder gives, by its time in s, at the size that the file states: the reference.

    `at_once` copies each frame before the next one is decoded: of what is damaged, some decoders leave the memory of
    earlier frames in places.
    """
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # several threads make other pictures of what is damaged
        size = {"width": stream.codec_context.width, "height": stream.codec_context.height}
        frames, pts = [], []
        for packet in container.demux(stream):
            with suppress(av.error.FFmpegError):  # what is damaged is left out
                decoded = packet.decode()
                pts += [frame.pts for frame in decoded]
                frames += [frame.to_ndarray(format="rgb24", **size) if at_once else frame for frame in decoded]
        if None in pts or pts != sorted(set(pts)):
            pts = [i / stream.average_rate / stream.time_base for i in range(len(frames))]
        pictures = frames if at_once else [frame.to_ndarray(format="rgb24", **size) for frame in frames]
        starts = [float((time - pts[0]) * stream.time_base) for time in pts]
        return dict(zip(starts, pictures, strict=True))


def assert_as_sequential(path: Path, policy: FramePolicy = ALL) -> None:
    """All frames, and some alone, each read anew, are those of the reference."""
    expected = sequential(path)
    clip = read_clip(path, policy)
    assert clip.times_s == pytest.approx(list(expected), abs=2e-3)
    for frame, other in zip(clip.frames, expected.values(), strict=True):
        assert np.abs(frame.astype(int) - other).mean() < 2
    for count in (1, 3, 8):
        few = read_clip(path, FramePolicy(max_frames=count, reader=policy.reader))
        assert np.array_equal(few.frames, clip.frames[list(few.indices)])


def noisy(index: int, width: int, height: int) -> np.ndarray:
    """A frame whose every part says its index."""
    return (
        picture(index, width, height) // 2 + (np.indices((height, width)).sum(0)[..., None] + 7 * index) % 96
    ).astype(np.uint8)


def copy_packets(source: Path, target: Path, keep=lambda packet: True, **options: str) -> Path:
    """The same packets in another container, some of them left out."""
    with av.open(str(source)) as container, av.open(str(target), "w", options=options) as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.size and keep(packet):
                packet.stream = copy
                output.mux(packet)
    return target


def hide_frames(source: Path, target: Path) -> Path:
    """VP8 some frames of which are not shown: others only refer to them, as encoders in two passes make them."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for i, packet in enumerate(p for p in container.demux(stream) if p.size):
            content = bytearray(bytes(packet))
            if i % 9 == 5:
                content[0] &= ~0x10  # `show_frame` (RFC 6386, 9.1)
            hidden = av.Packet(bytes(content))
            hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
            hidden.is_keyframe, hidden.stream = packet.is_keyframe, copy
            output.mux(hidden)
    return target


X264 = ("libx264", {"bf": "2"})
KINDS = {
    "a clip.mp4": (*X264, True),
    "b clip.mkv": (*X264, True),
    "fragments.mp4": (*X264, True),
    "intra refresh.mp4": ("libx264", {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}, True),
    "open groups.mkv": ("libx264", {"x264-params": "open-gop=1:bframes=2:keyint=12"}, True),
    "interlaced.mp4": ("libx264", {"flags": "+ildct+ilme"}, False),
    "sublayers.mp4": ("libx265", {"x265-params": "log-level=none:temporal-layers=3"}, True),
    "hidden frames.webm": ("libvpx", {"cpu-used": "5", "deadline": "good"}, True),
    "superframes.webm": ("libvpx-vp9", {"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"}, True),
    "asp.mp4": ("mpeg4", {"bf": "2"}, False),
    "stream.ts": (*X264, False),
    "fields.mkv": ("mpeg2video", {"bf": "2", "flags": "+ildct+ilme"}, False),
    "raw.mjpeg": ("mjpeg", {}, False),
}


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_of_a_sequential_decode(tmp_path: Path, name: str) -> None:
    codec, options, is_proved = KINDS[name]
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_clip(tmp_path / name, 60, codec=codec, options=options, pix_fmt=pix_fmt, draw=noisy)
    if name.startswith("fragments"):
        path = copy_packets(path, tmp_path / "moof.mp4", movflags="frag_keyframe+empty_moov")
    if name.startswith("hidden"):
        path = hide_frames(path, tmp_path / "clip.webm")
        assert probe_video(path).num_frames == 53
    assert look_at_header(path, ALL).is_proved is is_proved
    assert_as_sequential(path)
    assert probe_video(path).is_interlaced is (options.get("flags") == "+ildct+ilme")


@odd
@pytest.mark.parametrize(
    ("name", "num_frames", "is_proved"),
    [
        ("paff.mp4", 24, False),
        ("intra_refresh.mp4", 100, True),
        ("vp8_arf.webm", 100, True),
        ("exif_mjpeg.mov", 10, True),
        ("xvid.mp4", 100, False),
        ("cut_open_h264.mkv", 38, False),
        ("inter.mp4", 50, False),
    ],
)
def test_odd_files_are_read_as_a_sequential_decode_shows_them(name: str, num_frames: int, is_proved: bool) -> None:
    assert look_at_header(DATA / name, ALL).is_proved is is_proved
    assert probe_video(DATA / name).num_frames == num_frames
    if name != "paff.mp4":
        assert probe_video(DATA / name).fps == pytest.approx(25 if num_frames != 10 else 10)
    assert_as_sequential(DATA / name)


@odd
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("trunc.webm", r"the video is cut short; it holds 101,807 of at least 305,421 bytes: fetch it again"),
        ("flip_fast.mp4", "cannot be decoded"),
        ("zero_fast.mp4", "cannot be decoded"),
        ("hdr_pq.mp4", r"the video is HDR \(PQ\).*frames.hdr=tone_map"),
    ],
)
def test_odd_files_that_cannot_be_shown_are_errors(name: str, reason: str) -> None:
    with pytest.raises(MediaError, match=rf"{name}: .*{reason}"):
        read_frames(DATA / name, ALL)


def test_a_seek_knows_which_encoder_made_the_file(tmp_path: Path) -> None:
    """Old x264 coded 4:4:4 in another way, which only its message in the first packet tells."""
    options = {"x264-params": "keyint=12:8x8dct=1:crf=10", "profile": "high444"}
    path = write_clip(tmp_path / "clip.mp4", 60, pix_fmt="yuv444p", options=options, draw=noisy, width=160, height=96)
    content = path.read_bytes()
    at = content.index(b"x264 - core ") + 12
    path.write_bytes(content[:at] + b"148" + content[at + 3 :])
    with pytest.raises(MediaError, match="cannot be decoded"):  # as in a sequential decode: the file is not that old
        read_frames(path, ALL)
    for start_s in (1.1, 1.6, 2.1):
        with pytest.raises(MediaError, match="cannot be decoded"):
            read_frames(path, FramePolicy(max_frames=1), start_s)


def test_a_file_whose_packets_are_no_frames_is_counted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a header was believed to prove, what the decoder gives decides."""
    monkeypatch.setattr("sparrow.media.video_index._is_shown", lambda codec, packet: True)
    codec, options, _ = KINDS["hidden frames.webm"]
    whole = write_clip(tmp_path / "whole.webm", 60, codec=codec, options=options, draw=noisy)
    path = hide_frames(whole, tmp_path / "clip.webm")
    assert look_at_header(path, ALL).num_frames == 60
    clip, expected = read_clip(path, ALL), sequential(path)
    assert clip.times_s == pytest.approx(list(expected), abs=2e-3)
    assert np.array_equal(clip.frames, np.stack(list(expected.values())))


def test_leading_frames_that_were_cut_off_are_not_shown(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", 60, options={"x264-params": "open-gop=1:bframes=2:keyint=12:b-adapt=0"})
    path = copy_packets(whole, tmp_path / "cut.mkv", lambda packet: packet.dts is not None and packet.pts >= 400)
    indices = [index_of(frame) for frame in read_clip(path, ALL).frames]
    assert indices == [index_of(frame) for frame in sequential(path).values()]
    assert indices == list(range(indices[0], 60)) and indices[0] >= 10


@pytest.mark.parametrize("suffix", ["mkv", "live.mp4", "webm", "fragments.mp4", "flv"])
def test_a_file_that_lacks_its_end_is_an_error(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx" if suffix == "webm" else "libx264"
    path = write_clip(tmp_path / f"clip.{suffix}", 96, codec=codec, draw=noisy)
    if suffix.startswith("fragments"):
        path = copy_packets(path, tmp_path / "moof.mp4", movflags="frag_keyframe+empty_moov")
    if suffix == "live.mp4":  # says nothing of its length
        path = copy_packets(path, tmp_path / "streamed.mkv", live="1")
        assert probe_video(path).num_frames == 96
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(MediaError, match="the video is cut short"):
        read_frames(path, FramePolicy(max_frames=3))


def with_exif(path: Path, orientation: int) -> Path:
    """Motion JPEG as cameras write it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuvj420p"
        stream.time_base = Fraction(1, 10)
        for i in range(5):
            exif, file = Image.Exif(), io.BytesIO()
            exif[0x010F], exif[0x0112] = "Camera", orientation
            Image.fromarray(picture(i, 64, 32)).save(file, "jpeg", exif=exif, quality=95)
            packet = av.Packet(file.getvalue())
            packet.pts = packet.dts = i
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 10), stream, True
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("orientation", "shown"), [(1, lambda f: f), (2, np.fliplr), (4, np.flipud), (6, lambda f: np.rot90(f, -1))]
)
def test_a_camera_s_motion_jpeg_is_shown_upright(tmp_path: Path, orientation: int, shown) -> None:
    frames, _ = read_frames(with_exif(tmp_path / "clip.mov", orientation), ALL)
    for i, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - shown(picture(i, 64, 32))).mean() < 8


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_a_disc_of_oblong_pixels_is_round(tmp_path: Path, reader: str) -> None:
    y, x = np.indices((120, 90))
    disc = ((x - 45) * 16 / 9) ** 2 + (y - 60) ** 2 < 50**2
    path = tmp_path / "disc.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 90, 120, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 9)
        frame = np.repeat(disc[..., None] * np.uint8(255), 3, 2)
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    (frame,), _ = read_frames(path, FramePolicy(max_frames=1, reader=reader))
    assert frame.shape == (120, 160, 3)
    rows, columns = (np.ptp(np.flatnonzero((frame[..., 0] > 128).any(axis))) for axis in (1, 0))
    assert abs(rows - columns) <= 3
    assert (probe_video(path).width_px, probe_video(path).height_px) == (160, 120)


@pytest.mark.parametrize("turns", range(4))
def test_both_readers_turn_alike(tmp_path: Path, turns: int) -> None:
    path = write_clip(tmp_path / "clip.mp4", 24)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    ours, theirs = (read_frames(path, FramePolicy(max_frames=5, reader=reader))[0] for reader in ("pyav", "decord"))
    assert ours.shape == theirs.shape and np.abs(ours.astype(int) - theirs).max() <= 3
    assert [index_of(np.rot90(frame, turns)) for frame in ours] == frame_indices(24, 5)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_is_refused_by_name_or_mapped(tmp_path: Path, transfer: str) -> None:
    options = {"x265-params": f"log-level=none:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"}
    path = write_clip(tmp_path / "clip.mp4", 5, codec="libx265", pix_fmt="yuv420p10le", options=options)
    name = "PQ" if transfer == "smpte2084" else "HLG"
    for call in (probe_video, lambda p: read_frames(p, ALL)):
        with pytest.raises(MediaError, match=rf"the video is HDR \({name}\).*set frames.hdr=tone_map"):
            call(path)
    mapped = FramePolicy("all", max_frames=None, hdr="tone_map")
    assert [index_of(frame) for frame in read_frames(path, mapped)[0]] == list(range(5))
    info = look_at_header(path, mapped)
    assert info.suffices(mapped) and not info.suffices(ALL)


def test_the_curve_keeps_order_and_grey_and_takes_the_peak_to_white() -> None:
    for transfer, peak, paper in (("PQ", 0.7518, 0.5807), ("HLG", 1.0, 0.75)):
        ramp = np.linspace(0, peak, 50, dtype=np.float32)[None, :, None].repeat(3, 2)
        shown = tone_mapped(ramp, transfer)[0].astype(int)
        assert np.ptp(shown, axis=1).max() <= 1 and (np.diff(shown[:, 0]) >= 0).all()
        assert shown[0, 0] == 0 and shown[-1, 0] >= 253
        assert 170 <= tone_mapped(np.full((1, 1, 3), paper, np.float32), transfer)[0, 0, 0] <= 200


@pytest.mark.parametrize("call", [read_image, probe_video])
def test_heic_without_pillow_heif_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(MediaError, match="HEIC picture, which pillow-heif reads; it is not installed"):
        call(path)


def test_heic_is_read_by_pillow_heif(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    pillow_heif.from_pillow(Image.fromarray(picture(5, 128, 64))).save(path, quality=95)
    assert index_of(read_image(path)) == index_of(read_frames(path, ALL)[0][0]) == 5


@pytest.mark.parametrize("name", ["a clip.mp4", "intra refresh.mp4", "stream.ts"])
def test_decord_is_taken_only_where_it_shows_the_same_frames(tmp_path: Path, name: str) -> None:
    """It counts packets from key flags, which in a refreshed stream are no clean starts, and misses frames elsewhere."""
    codec, options, _ = KINDS[name]
    path = write_clip(tmp_path / name, 60, codec=codec, options=options, draw=noisy)
    policy = FramePolicy(max_frames=3, reader="decord")
    clip, info = read_with_info(path, policy)
    expected = [*sequential(path).values()]
    for index, frame in zip(clip.indices, clip.frames, strict=True):
        assert np.abs(frame.astype(int) - expected[index]).mean() < 2
    assert info.is_fallback is (name != "a clip.mp4")
    assert not info.suffices(policy) and info.suffices(FramePolicy(verify="header"))


def test_decord_shows_no_damage(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 60, width=256, height=128, draw=noisy)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
    content = bytearray(path.read_bytes())
    content[packet.pos + 40 : packet.pos + packet.size] = bytes(packet.size - 40)
    path.write_bytes(content)
    with pytest.raises(MediaError, match="cannot be decoded"):
        read_frames(path, FramePolicy("all", max_frames=None, reader="decord"))


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("mpg", "mpeg2video"), ("mkv", "libx264")])
def test_joined_recordings_go_on_in_time(tmp_path: Path, suffix: str, codec: str) -> None:
    part = write_clip(tmp_path / f"part.{suffix}", 36, codec=codec, options={"bf": "2"})
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(2 * part.read_bytes())
    clip, info = read_with_info(path, ALL)
    assert [index_of(frame) for frame in clip.frames] == 2 * list(range(36))
    assert clip.times_s == pytest.approx([i / 24 for i in range(72)], abs=2e-3)
    assert info.duration_s == pytest.approx(3, abs=1e-2)
    header = look_at_header(path, ALL)
    assert not header.is_proved and not header.is_sought  # what its container says of the second part leads nowhere


def with_global_index(source: Path, folder: Path) -> Path:
    flags = "frag_keyframe+empty_moov+default_base_moof+dash+global_sidx"
    return copy_packets(source, folder / "indexed.mp4", movflags=flags)


@pytest.mark.parametrize(
    ("suffix", "codec", "mark"),
    [
        ("mp4", "libx264", b"moof"),
        ("ogg", "libvpx", b"OggS"),
        ("mxf", "mpeg2video", bytes.fromhex("060e2b34010201010d01030115")),
        ("y4m", "rawvideo", b""),
        ("asf", "wmv2", b""),
        ("ivf", "libvpx", b""),
    ],
)
def test_a_file_cut_between_its_parts_is_an_error(tmp_path: Path, suffix: str, codec: str, mark: bytes) -> None:
    """Where its container promises more than there is."""
    path = write_clip(tmp_path / f"clip.{suffix}", 96, codec=codec, fps=25, draw=noisy, gop=6)
    path = with_global_index(path, tmp_path) if suffix == "mp4" else path
    assert probe_video(path).num_frames == 96
    content = path.read_bytes()
    at = content.index(mark, len(content) // 2)
    path.write_bytes(content[: at - 4 * (suffix == "mp4")])
    with pytest.raises(MediaError, match=r"the video is cut short; .*: fetch it again"):
        read_frames(path, FramePolicy(max_frames=3))


@pytest.mark.parametrize(
    "end", [b"TAG" + bytes(125), bytes(range(256)), b"\xa3\xff\xff\xff" * 9], ids=["id3", "bytes", "x"]
)
@pytest.mark.parametrize("live", ["0", "1"])
def test_what_stands_behind_a_matroska_file_does_no_harm(tmp_path: Path, end: bytes, live: str) -> None:
    path = copy_packets(write_clip(tmp_path / "clip.mkv"), tmp_path / "copy.mkv", live=live)
    path.write_bytes(path.read_bytes() + end)
    if live == "0" or end[:1] != b"\xa3":  # where the length is not known, it could be a part
        assert probe_video(path).num_frames == 48


def test_a_duration_in_words_is_no_promise(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv")
    content = path.read_bytes()
    assert content.count(b"00:00:02.000000000") == 1
    path.write_bytes(content.replace(b"00:00:02.000000000", b"about two minutes:"))
    assert probe_video(path).num_frames == 48


def test_pictures_that_strict_decoders_fail_at_are_read(tmp_path: Path) -> None:
    assert_as_sequential(write_clip(tmp_path / "clip.mov", 5, codec="tiff", pix_fmt="rgb24", draw=noisy))


def test_an_error_in_decoding_is_none_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise av.error.ArgumentError(22, "Invalid argument", "avcodec_send_packet()")

    monkeypatch.setattr("sparrow.media.video_reader.all_frames", failing)
    with pytest.raises(MediaError, match="the video cannot be decoded"):
        read_frames(write_clip(tmp_path / "clip.avi", 5, codec="mpeg4"), ALL)


def test_a_false_key_flag_leads_to_a_decode_in_turn(tmp_path: Path) -> None:
    options = {"preset": "12", "svtav1-params": "keyint=40"}
    path = write_clip(tmp_path / "clip.mp4", 60, codec="libsvtav1", options=options, draw=noisy, gop=40)
    content = path.read_bytes()
    at = content.index(b"stss") + 8
    assert content[at : at + 12] == struct.pack(">3I", 2, 1, 41)
    path.write_bytes(content[:at] + struct.pack(">3I", 2, 1, 21) + content[at + 12 :])
    expected = [*sequential(path).values()]
    for count in (1, 3):
        clip, info = read_with_info(path, FramePolicy(max_frames=count))
        assert not info.is_proved
        for index, frame in zip(clip.indices, clip.frames, strict=True):
            assert np.abs(frame.astype(int) - expected[index]).mean() < 2


def refreshed(path: Path) -> Path:
    """A stream without a second clean start."""
    params = "intra-refresh=1:keyint=12:bframes=0:repeat-headers=1"
    return write_clip(path, 60, options={"x264-params": params}, draw=noisy)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_refreshed_stream_that_was_cut_begins_where_it_is_whole_again(tmp_path: Path, suffix: str) -> None:
    whole = refreshed(tmp_path / f"whole.{suffix}")
    with av.open(str(whole)) as container:
        keys = [p.dts for p in container.demux(video=0) if p.size and p.is_keyframe]
    path = copy_packets(whole, tmp_path / f"cut.{suffix}", lambda packet: packet.dts >= keys[2])
    assert not look_at_header(path, ALL).is_proved
    assert 20 < probe_video(path).num_frames < 36
    assert_as_sequential(path)


def test_a_refreshed_stream_is_not_sought_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoding, "seek", lambda *_: pytest.fail("sought"))
    clip, info = read_with_info(refreshed(tmp_path / "clip.mp4"), FramePolicy(max_frames=4))
    assert len(clip.frames) == 4
    assert info.is_proved and not info.is_sought


def joined(first: Path, second: Path, target: Path) -> Path:
    """H.264 whose parameters change within the stream: those of the second part stand in its first packet."""
    with av.open(str(first)) as source, av.open(str(target), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        frame_ticks = round(1 / stream.average_rate / stream.time_base)
        dts = 0
        for path in (first, second):
            with av.open(str(path)) as container:
                config = container.streams.video[0].codec_context.extradata
                length = int.from_bytes(config[6:8])
                at = 9 + length
                sets = (config[8 : 8 + length], config[at + 2 : at + 2 + int.from_bytes(config[at : at + 2])])
                packets = [p for p in container.demux(video=0) if p.size]
                order = sorted(range(len(packets)), key=lambda i: packets[i].pts)
                for i, packet in enumerate(packets):
                    content = bytes(packet)
                    if path == second and i == 0:
                        content = b"".join(len(unit).to_bytes(4) + unit for unit in sets) + content
                    new = av.Packet(content)
                    new.dts, new.pts = dts, dts + (order.index(i) - i + 4) * frame_ticks
                    new.time_base, new.stream, new.is_keyframe = stream.time_base, copy, packet.is_keyframe
                    output.mux(new)
                    dts += frame_ticks
    return target


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_stream_that_goes_over_to_fields_is_counted_as_shown(tmp_path: Path, suffix: str) -> None:
    first = write_clip(tmp_path / "first.mp4", 24, fps=25, options={"bf": "0"}, draw=noisy)
    flags = {"bf": "0", "flags": "+ildct+ilme"}
    second = write_clip(tmp_path / "second.mp4", 24, fps=25, options=flags, draw=noisy)
    path = joined(first, second, tmp_path / f"clip.{suffix}")
    assert not look_at_header(path, ALL).is_proved
    assert len(read_frames(path, ALL)[0]) == len(sequential(path))


@odd
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_fields_that_come_later_are_counted_as_frames(tmp_path: Path, suffix: str) -> None:
    with av.open(str(DATA / "paff.mp4")) as container:
        size = container.streams.video[0].width, container.streams.video[0].height
    first = write_clip(tmp_path / "first.mp4", 24, fps=25, options={"bf": "0"}, width=size[0], height=size[1])
    path = joined(first, DATA / "paff.mp4", tmp_path / f"clip.{suffix}")
    expected = [*sequential(path).values()]
    clip, info = read_with_info(path, ALL)
    assert info.num_frames == len(expected) < 24 + 30 and not info.is_proved
    assert (
        read_with_info(path, FramePolicy(max_frames=1))[1].num_frames == look_at_header(path, ALL).num_frames // 3 * 2
    )
    for frame, other in zip(clip.frames, expected, strict=True):
        assert np.abs(frame.astype(int) - other).mean() < 2


@pytest.mark.parametrize(("off_s", "is_constant"), [(1e-3, True), (5e-3, False), (14e-3, False)])
def test_a_constant_rate_agrees_with_the_times_within_2_ms(off_s: float, is_constant: bool) -> None:
    starts_s = np.arange(90) / 30 + off_s * (np.arange(90) % 3 == 1)
    found = clock(starts_s, 3.0, 30.0, 1e-4)
    assert (found.starts_s is None) is is_constant
    assert [found.start_of(i) for i in range(90)] == pytest.approx(starts_s.tolist(), abs=2e-3)


def bytes_read() -> int:
    """Bytes that this process has read so far, from files and caches alike."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what is read")
def test_a_look_at_an_index_reads_little_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    noise = np.frombuffer(Random(0).randbytes(3 * 320 * 192), np.uint8).reshape(192, 320, 3)
    options = {"crf": "1", "preset": "ultrafast"}
    write_clip(path, 96, width=320, height=192, options=options, draw=lambda i, w, h: np.roll(noise, 5 * i, 1))
    size = path.stat().st_size
    before = bytes_read()
    info = probe_video(path)
    probed = bytes_read() - before
    assert info.num_frames == 96 and probed < 0.1 * size
    read_frames(path, FramePolicy(max_frames=2))
    assert bytes_read() - before - probed < 0.4 * size


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what is read")
def test_a_file_without_an_index_is_read_no_further_than_in_turn(tmp_path: Path, monkeypatch) -> None:
    """Matroska without cues: each seek would begin at the beginning."""
    options = {"crf": "4", "preset": "ultrafast"}
    whole = write_clip(tmp_path / "whole.mp4", 120, width=320, height=192, options=options, draw=noisy)
    path, costs = copy_packets(whole, tmp_path / "clip.mkv", live="1"), []
    for is_proved in (True, False):
        if not is_proved:
            monkeypatch.setattr("sparrow.media.video_index._is_proved", lambda *_: False)
        before = bytes_read()
        assert read_with_info(path, FramePolicy(max_frames=6))[1].is_proved is is_proved
        costs.append(bytes_read() - before)
    assert costs[0] <= 1.05 * costs[1]


def fuzzed_clips(folder: Path) -> list[Path]:
    """Ten small files of different kinds."""
    names = ["a clip.mp4", "b clip.mkv", "open groups.mkv", "sublayers.mp4", "hidden frames.webm"]
    names += ["superframes.webm", "asp.mp4", "stream.ts", "fields.mkv", "raw.mjpeg"]
    return [
        write_clip(
            folder / name,
            24,
            codec=KINDS[name][0],
            options=KINDS[name][1],
            draw=noisy,
            width=64,
            height=48,
            gop=8,
            pix_fmt="yuvj420p" if name == "raw.mjpeg" else "yuv420p",
        )
        for name in names
    ]


def mutated(content: bytes, rng: Random) -> bytes:
    """A file with flipped bits, zeroed, lost, repeated or foreign bytes, or without its end."""
    data, at, size = bytearray(content), rng.randrange(len(content)), rng.choice((1, 4, 64, 512))
    kind = rng.randrange(6)
    if kind == 0:
        for _ in range(size):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at : at + size] = bytes(min(size, len(data) - at))
    elif kind == 2:
        del data[at : at + size]
    elif kind == 3:
        data[at:at] = data[at : at + size]
    elif kind == 4:
        data[at : at + size] = rng.randbytes(min(size, len(data) - at))
    else:
        del data[at:]
    return bytes(data)


@pytest.mark.slow
def test_a_damaged_file_gives_the_frames_of_a_sequential_decode_or_an_error(tmp_path: Path) -> None:
    rng, num_read, wrong = Random(22), 0, []
    for clip in fuzzed_clips(tmp_path):
        content, original = clip.read_bytes(), [*sequential(clip).values()]
        for number in range(100):
            clip.write_bytes(mutated(content, rng))
            try:
                read = read_clip(clip, FramePolicy(max_frames=3))
            except MediaError:
                continue
            num_read += 1
            references = sequential(clip), sequential(clip, at_once=True)
            for index, time_s, frame in zip(read.indices, read.times_s, read.frames, strict=True):
                known = original[index : index + 1]
                for reference in references:
                    known += [other for start_s, other in reference.items() if abs(start_s - time_s) < 5e-3]
                    known += [*reference.values()][index : index + 1]
                if not any(np.abs(frame.astype(int) - other).mean() < 2 for other in known):
                    wrong.append((clip.name, number, index))
    assert num_read > 100 and not wrong
