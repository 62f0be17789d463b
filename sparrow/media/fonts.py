"""Which font has which character: the shipped font, the fallback fonts of this machine, and what they contain."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path

from sparrow.core.errors import ConfigError
from sparrow.core.hashing import combined_hash, file_hash

SHIPPED_FONT = Path(__file__).parent / "fonts" / "LiberationSans-Regular.ttf"

# In the order in which they are asked; general Latin, Greek and Cyrillic first, then scripts, then symbols.
_SCRIPTS = (
    " CJK CJKsc SC Arabic Hebrew Devanagari Thai Bengali Tamil Telugu Kannada Malayalam Gujarati Gurmukhi Sinhala"
    " Georgian Armenian Ethiopic Khmer Lao Myanmar Math Symbols Symbols2"
)
FALLBACK_NAMES = (*(f"NotoSans{script}-Regular" for script in _SCRIPTS.split(" ")), "NotoEmoji-Regular", "DejaVuSans")
FONT_SUFFIXES = (".ttf", ".otf", ".ttc")
VARIABLE = re.compile(r"\[[\w,]+\]$")  # NotoSansThai[wdth,wght].ttf holds all weights of NotoSansThai-Regular.ttf
OUTLINES = {"glyf", "CFF ", "CFF2"}


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


@cache
def font_characters(path: str) -> frozenset[str]:
    """The characters that a font file, or the first font of a collection, has a glyph for; read once a process.

    Raises:
        ConfigError: If the file is no font that can be read, or a colour font of bitmaps.
    """
    from fontTools.ttLib import TTFont

    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            if not OUTLINES & set(font.keys()):
                raise ValueError("it has no outlines, as colour fonts of bitmaps; take one such as NotoEmoji-Regular")
            names = font.getBestCmap() if "cmap" in font else None
            if not names:
                raise ValueError("it has no cmap table of Unicode characters")
            missing = font.getGlyphOrder()[0]
            return frozenset(chr(code) for code, name in names.items() if name != missing)
    except Exception as error:  # fontTools raises errors of many kinds where a table is damaged
        what = str(error) or type(error).__name__
        raise ConfigError(f"font {path!r} cannot be read ({what}); fix text_to_image.fallback_fonts") from error
