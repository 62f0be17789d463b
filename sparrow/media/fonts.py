"""Which font has which character: the shipped font, the fallback fonts of this machine, and what they contain."""

from __future__ import annotations

import os
import re
import struct
import sys
from bisect import bisect_right
from functools import cache
from pathlib import Path

from sparrow.core.errors import ConfigError
from sparrow.core.hashing import combined_hash, file_hash

SHIPPED_FONT = Path(__file__).parent / "fonts" / "LiberationSans-Regular.ttf"

# In the order in which they are asked; general Latin, Greek and Cyrillic first, then scripts, then symbols.
FALLBACK_NAMES = (
    "NotoSans-Regular",
    "NotoSansCJK-Regular",
    "NotoSansCJKsc-Regular",
    "NotoSansSC-Regular",
    "NotoSansArabic-Regular",
    "NotoSansHebrew-Regular",
    "NotoSansDevanagari-Regular",
    "NotoSansThai-Regular",
    "NotoSansBengali-Regular",
    "NotoSansTamil-Regular",
    "NotoSansTelugu-Regular",
    "NotoSansKannada-Regular",
    "NotoSansMalayalam-Regular",
    "NotoSansGujarati-Regular",
    "NotoSansGurmukhi-Regular",
    "NotoSansSinhala-Regular",
    "NotoSansGeorgian-Regular",
    "NotoSansArmenian-Regular",
    "NotoSansEthiopic-Regular",
    "NotoSansKhmer-Regular",
    "NotoSansLao-Regular",
    "NotoSansMyanmar-Regular",
    "NotoSansMath-Regular",
    "NotoSansSymbols-Regular",
    "NotoSansSymbols2-Regular",
    "NotoEmoji-Regular",
    "DejaVuSans",
)
FONT_SUFFIXES = (".ttf", ".otf", ".ttc")
VARIABLE = re.compile(r"\[[\w,]+\]$")  # NotoSansThai[wdth,wght].ttf holds all weights of NotoSansThai-Regular.ttf
OUTLINES = {b"glyf", b"CFF ", b"CFF2"}


def font_folders() -> list[Path]:
    """Folders that hold the fonts of this system and user, by the conventions of Linux, macOS and Windows."""
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    return [own / "fonts", home / ".fonts", *(Path(folder) / "fonts" for folder in shared.split(":"))]


@cache
def installed_fallbacks() -> tuple[str, ...]:
    """Paths of the fonts of `FALLBACK_NAMES` that this machine has, in that order; variable ones count as regular."""
    found: dict[str, str] = {}
    for folder in font_folders():
        for path in sorted(folder.rglob("*")):
            name = VARIABLE.sub("-Regular", path.stem)
            if path.suffix in FONT_SUFFIXES and name in FALLBACK_NAMES:
                found.setdefault(name, str(path))
    return tuple(found[name] for name in FALLBACK_NAMES if name in found)


def font_chain(fallback_fonts: tuple[str, ...] | None) -> tuple[str, ...]:
    """Paths of the fonts that are asked for a character, in order; see `TextStyle.fallback_fonts`."""
    return (str(SHIPPED_FONT), *(installed_fallbacks() if fallback_fonts is None else fallback_fonts))


@cache
def fonts_fingerprint(fonts: tuple[str, ...]) -> str:
    """Hash of the fonts' bytes, in order: equal where the same characters get the same glyphs."""
    return combined_hash(file_hash(Path(font)) for font in fonts)


class CharacterMap:
    """The characters that a font file has a glyph for.

    Reads the `cmap` table (formats 4 and 12; OpenType specification, "cmap") of the first font in the file.

    Raises:
        ConfigError: If the file is no font that can be read, or a colour font of bitmaps.
    """

    def __init__(self, path: str) -> None:
        try:
            self._starts, self._ends = _character_ranges(Path(path).read_bytes())
        except (OSError, struct.error, ValueError) as error:
            raise ConfigError(f"font {path!r} cannot be read ({error}); mend text_to_image.fallback_fonts") from error

    def __contains__(self, char: str) -> bool:
        i = bisect_right(self._starts, ord(char)) - 1
        return i >= 0 and ord(char) <= self._ends[i]


@cache
def character_map(path: str) -> CharacterMap:
    """The character map of a font file, read once a process."""
    return CharacterMap(path)


def _character_ranges(data: bytes) -> tuple[list[int], list[int]]:
    """First and last code points of the ranges that have glyphs, sorted."""
    font_offset = struct.unpack_from(">I", data, 12)[0] if data[:4] == b"ttcf" else 0
    (num_tables,) = struct.unpack_from(">H", data, font_offset + 4)
    tables = [struct.unpack_from(">4sIII", data, font_offset + 12 + 16 * i) for i in range(num_tables)]
    cmap = next((offset for tag, _, offset, _ in tables if tag == b"cmap"), None)
    if not OUTLINES & {tag for tag, *_ in tables}:
        raise ValueError("it has no outlines, as colour fonts of bitmaps; take one such as NotoEmoji-Regular")
    if cmap is None:
        raise ValueError("it has no cmap table")
    (num_subtables,) = struct.unpack_from(">H", data, cmap + 2)
    subtables = [cmap + struct.unpack_from(">HHI", data, cmap + 4 + 8 * i)[2] for i in range(num_subtables)]
    by_format = {struct.unpack_from(">H", data, offset)[0]: offset for offset in subtables}
    if 12 in by_format:
        ranges = _format_12(data, by_format[12])
    elif 4 in by_format:
        ranges = _format_4(data, by_format[4])
    else:
        raise ValueError("its cmap table has neither format 4 nor format 12")
    ranges.sort()
    return [first for first, _ in ranges], [last for _, last in ranges]


def _format_12(data: bytes, offset: int) -> list[tuple[int, int]]:
    (num_groups,) = struct.unpack_from(">I", data, offset + 12)
    groups = struct.iter_unpack(">III", data[offset + 16 : offset + 16 + 12 * num_groups])
    return [(first, last) for first, last, _ in groups]


def _format_4(data: bytes, offset: int) -> list[tuple[int, int]]:
    (double_count,) = struct.unpack_from(">H", data, offset + 6)
    count = double_count // 2
    ends = struct.unpack_from(f">{count}H", data, offset + 14)
    starts = struct.unpack_from(f">{count}H", data, offset + 16 + double_count)
    deltas = struct.unpack_from(f">{count}H", data, offset + 16 + 2 * double_count)
    glyph_offsets = offset + 16 + 3 * double_count
    ranges: list[tuple[int, int]] = []
    for i, (first, last, delta) in enumerate(zip(starts, ends, deltas, strict=True)):
        if first == 0xFFFF:  # the closing segment
            continue
        (skip,) = struct.unpack_from(">H", data, glyph_offsets + 2 * i)
        if skip == 0:
            ranges += [(first, last)] if delta == 0 else _without(first, last, -delta & 0xFFFF)
            continue
        at = glyph_offsets + 2 * i + skip
        glyphs = struct.unpack_from(f">{last - first + 1}H", data, at)
        ranges += [(first + k, first + k) for k, glyph in enumerate(glyphs) if glyph]
    return ranges


def _without(first: int, last: int, hole: int) -> list[tuple[int, int]]:
    """The range without the one character that maps to glyph 0."""
    parts = [(first, min(last, hole - 1)), (max(first, hole + 1), last)]
    return [(a, b) for a, b in parts if a <= b] if first <= hole <= last else [(first, last)]
