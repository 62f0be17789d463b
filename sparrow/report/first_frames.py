"""Pictures of what the runs of a study were shown: the frames that training logged of its first step."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

FRAME_TAGS = ("what_is_shown/", "data/first_frames/")  # and as they were called before
MAX_FRAMES = 8
MAX_SIDE_PX = 160
MAX_READ_BYTES = 64 * 2**20
JPEG_QUALITY = 85


def first_frames(folder: Path) -> list[str]:
    """Data URIs of frames and pages of a run's first step, spread over those that readable TensorBoard files hold."""
    for path in event_files(folder):
        frames = dict(_frames(path))
        if frames:
            names, num_shown = sorted(frames), min(len(frames), MAX_FRAMES)
            return [frames[names[i * len(names) // num_shown]] for i in range(num_shown)]
    return []


def event_files(folder: Path) -> list[Path]:
    """What a run has written for TensorBoard: into its folder, or as it did before into one in it."""
    return sorted(path for place in (folder, folder / "tensorboard") for path in place.glob("events.out.tfevents.*"))


def _frames(path: Path) -> Iterator[tuple[str, str]]:
    """Tags and data URIs of the logged frames of one file, up to the first record that cannot be read."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    for record in _records(path):
        try:
            event = Event.FromString(record)
        except DecodeError:
            return
        for value in event.summary.value:
            if value.tag.startswith(FRAME_TAGS):
                try:
                    yield value.tag, _uri(value.image.encoded_image_string)
                except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                    continue


def _records(path: Path) -> Iterator[bytes]:
    """Payloads of a TFRecord file: length, its checksum, payload, its checksum; the last may be half written."""
    try:
        with open(path, "rb") as file:
            while file.tell() < MAX_READ_BYTES and len(head := file.read(12)) == 12:
                (length,) = struct.unpack("<Q", head[:8])
                if length > MAX_READ_BYTES or len(payload := file.read(length)) < length:
                    return
                file.seek(4, io.SEEK_CUR)
                yield payload
    except OSError:
        return


def _uri(encoded: bytes) -> str:
    with Image.open(io.BytesIO(encoded), formats=["PNG"]) as picture:
        picture.load()
        if max(picture.size) <= MAX_SIDE_PX:
            return f"data:image/png;base64,{base64.b64encode(encoded).decode()}"
        small = picture.convert("RGB")
    small.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
