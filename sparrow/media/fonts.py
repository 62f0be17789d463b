"""Which font has which character: the shipped font, the fallback fonts of this machine, and what they contain."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from sparrow.core.errors import ConfigError
from sparrow.core.hashing import combined_hash, file_hash
from sparrow.media.settings import TextStyle

SHIPPED_FONT = Path(__file__).parent / "fonts" / "LiberationSans-Regular.ttf"

# In the order in which they are asked; general Latin, Greek and Cyrillic first, then scripts, then symbols.
_SCRIPTS = (
    " CJK CJKsc SC Arabic Hebrew Devanagari Thai Bengali Tamil Telugu Kannada Malayalam Gujarati Gurmukhi Sinhala"
    " Georgian Armenian Ethiopic Khmer Lao Myanmar Math Symbols Symbols2"
)
FALLBACK_NAMES = (*(f"NotoSans{script}-Regular" for script in _SCRIPTS.split(" ")), "NotoEmoji-Regular", "DejaVuSans")
FONT_SUFFIXES = (".ttf", ".otf", ".ttc")
VARIABLE = re.compile(r"\[[\w,]+\]$")  # NotoSansThai[wdth,wght].ttf holds all weights of NotoSansThai-Regular.ttf
STYLED = re.compile("Bold|Italic|Oblique|Light|Thin|Black|Heavy|Medium|Condensed|Mono")
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
def font_files(fonts_root: str | None) -> dict[str, str]:
    """Path of each font of this machine, or below a folder, by name, upright ones first; variable ones are regular.

    Raises:
        ConfigError: If the folder is not there.
    """
    if fonts_root is not None and not Path(fonts_root).is_dir():
        raise ConfigError(f"text_to_image.fonts_root: there is no folder {fonts_root!r}")
    found: dict[str, str] = {}
    for folder in font_folders() if fonts_root is None else [Path(fonts_root)]:
        for path in sorted(folder.rglob("*")):
            if path.suffix in FONT_SUFFIXES:
                found.setdefault(VARIABLE.sub("-Regular", path.stem), str(path))
    return {name: found[name] for name in sorted(found, key=lambda name: (bool(STYLED.search(name)), name))}


def font_file(name: str, fonts_root: str | None, key: str) -> str:
    """Path of a font, given it or its name; `key` is the setting that asks for it.

    Raises:
        ConfigError: If there is none.
    """
    if Path(name).is_file():
        return name
    found = font_files(fonts_root)
    path = found.get(name) or found.get(f"{name}-Regular")
    if path is None:
        where = "of this machine" if fonts_root is None else f"below {fonts_root}"
        raise ConfigError(
            f"text_to_image.{key}: {name!r} is no file and no font {where}; put it there, or name another"
        )
    return path


def font_chain(style: TextStyle) -> tuple[str, ...]:
    """Paths of the fonts that are asked for a character, in order, whose content the pages' identity holds."""
    named: Iterable[str]
    if style.fallback_fonts is not None:
        named = (font_file(name, style.fonts_root, "fallback_fonts") for name in style.fallback_fonts)
    else:
        found = font_files(style.fonts_root)
        named = (found[name] for name in FALLBACK_NAMES if name in found)
    first = () if style.font is None else (font_file(style.font, style.fonts_root, "font"),)
    return (*first, str(SHIPPED_FONT), *named)


def further_fonts(style: TextStyle) -> tuple[str, ...]:
    """All other fonts, which draw the characters that no font of the chain has."""
    if style.fallback_fonts is not None:
        return ()
    return tuple(path for name, path in font_files(style.fonts_root).items() if name not in FALLBACK_NAMES)


@cache
def font_hash(font: str) -> str:
    """Hash of a font's bytes."""
    return file_hash(Path(font))


def fonts_fingerprint(fonts: tuple[str, ...]) -> str:
    """Hash of the fonts' bytes, in order: equal where the same characters get the same glyphs."""
    return combined_hash(font_hash(font) for font in fonts)


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
        raise ConfigError(f"font {path!r} cannot be read ({what}); fix text_to_image.fallback_fonts or font") from error
