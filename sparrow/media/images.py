"""Still pictures, read as they are meant to be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sparrow.core.errors import MediaError

MAX_PIXELS = 64_000_000


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A picture as uint8 RGB [height, width, 3], turned as its EXIF orientation says, on white where transparent.

    Raises:
        MediaError: If the file is missing, empty, no picture, damaged, or larger than `max_pixels`.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError("there is no such file", where=str(path), remedy="mend the path or the media root")
    if path.stat().st_size == 0:
        raise MediaError("the file is empty", where=str(path), remedy="fetch it again")
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_pixels:
                raise MediaError(
                    f"the picture has {image.width} x {image.height} pixels, at most {max_pixels} are read",
                    where=str(path),
                    remedy="scale it down",
                )
            return rgb_array(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise MediaError("the file is not a picture", where=str(path), remedy="mend the record's path") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"the picture cannot be read ({error})", where=str(path), remedy="fetch it again") from error


def rgb_array(image: Image.Image) -> np.ndarray:
    """Pixels of a picture as uint8 RGB [height, width, 3]; what is transparent becomes white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return np.asarray(image.convert("RGB"))
