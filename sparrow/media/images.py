"""Still pictures, read as they are meant to be seen."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sparrow.core.errors import MediaError
from sparrow.core.files import is_machine_fault, machine_error

MAX_PIXELS = 64_000_000
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A picture as uint8 RGB [height, width, 3], turned as its EXIF orientation says, on white where transparent.

    Raises:
        MediaError: If the file is missing, empty, no picture, damaged, or larger than `max_pixels`.
    """
    path = Path(path)
    with naming(path), picture_errors(), open_picture(checked_file(path)) as image:
        refuse_large(image, max_pixels)
        return rgb_array(ImageOps.exif_transpose(image))


def open_picture(path: Path) -> Image.Image:
    """A picture as Pillow opens it; HEIC through pillow-heif.

    Raises:
        MediaError: If it is HEIC and pillow-heif is not installed.
    """
    if is_heic(path):
        try:
            import pillow_heif
        except ImportError as error:
            what = "the file is a HEIC picture, which pillow-heif reads; it is not installed"
            raise MediaError(what, remedy="pip install 'sparrow-video[heic]', or convert it to JPEG") from error
        pillow_heif.register_heif_opener()
    return Image.open(path)


def is_heic(path: Path) -> bool:
    """Whether a file begins as a HEIC picture does (ISO 23008-12)."""
    with open(path, "rb") as file:
        head = file.read(64)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS and b"avif" not in head


def encode_png(page: np.ndarray) -> bytes:
    """A grey uint8 [height, width] as a PNG file, losslessly.

    Text on white gains nothing from PNG's line filters; without them a page takes a third of Pillow's time.
    """
    height, width = page.shape
    lines = np.zeros((height, width + 1), np.uint8)  # the byte before each line names its filter: none
    lines[:, 1:] = page
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(lines.tobytes(), 3), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


def checked_file(path: Path) -> Path:
    """The path of a file that is there and not empty; else a `MediaError`."""
    if not path.is_file():
        raise MediaError("there is no such file", remedy="fix the record's path or the media root")
    if path.stat().st_size == 0:
        raise MediaError("the file is empty", remedy="fetch it again")
    return path


def refuse_large(image: Image.Image, max_pixels: int = MAX_PIXELS) -> None:
    """Raise a `MediaError` for a picture over the pixel limit, before it is decoded."""
    if image.width * image.height > max_pixels:
        raise MediaError(
            f"the picture has {image.width} x {image.height} pixels, at most {max_pixels} are read",
            remedy="scale it down",
        )


def rgb_array(image: Image.Image) -> np.ndarray:
    """Pixels of a picture as uint8 RGB [height, width, 3]; what is transparent becomes white.

    Raises:
        MediaError: If its numbers have no known white, as those of 32 bits.
    """
    if image.mode in ("I", "F"):
        raise MediaError("the picture has values of 32 bits, whose white is not known", remedy="save it with 8 bits")
    if image.mode.startswith("I;16"):  # Pillow would cut the values off at 255
        values = np.asarray(image)
        values = np.where(values == image.info.get("transparency"), 0xFFFF, values)
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let every error say which file it is about; what the system says of it is a `MediaError` too.

    Raises:
        MachineError: If the system failed whatever the file is.
    """
    try:
        yield
    except MediaError as error:
        if str(path) in str(error):
            raise
        raise error.within(str(path)) from error
    except OSError as error:
        if is_machine_fault(error):
            raise machine_error(path, error) from error
        what = f"the file cannot be read ({error.strerror or error})"
        raise MediaError(what, where=str(path), remedy="check that it may be read") from error


@contextmanager
def picture_errors() -> Iterator[None]:
    """What Pillow raises for a file that it cannot read, as a `MediaError`."""
    try:
        yield
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError("the file is not a picture", remedy="fix the record's path") from error
    except Image.DecompressionBombError as error:
        raise MediaError("the picture has far too many pixels", remedy="scale it down") from error
    except Exception as error:  # a damaged file makes its decoder raise anything: RuntimeError, MemoryError, ...
        if is_machine_fault(error):
            raise
        raise MediaError(f"the picture cannot be read ({error})", remedy="fetch it again") from error
