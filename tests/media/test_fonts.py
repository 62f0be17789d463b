"""Which font draws which character, on which the pages' pixels and their fingerprint depend."""

import shutil
import struct
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from sparrow.core.errors import ConfigError
from sparrow.media.fonts import SHIPPED_FONT, font_chain, font_characters, font_files, font_folders
from sparrow.media.pages import (
    TextStyle,
    layout_state,
    layout_text,
    missing_characters,
    page_fonts,
    page_notes,
    render_page,
    render_text,
    style_fingerprint,
)
from sparrow.media.settings import Augment

DEJAVU = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
CMR = Path(matplotlib.get_data_path()) / "fonts/ttf/cmr10.ttf"
WITH_DEJAVU = TextStyle(layout="fit", fallback_fonts=(str(DEJAVU),))


@pytest.mark.parametrize("font", [SHIPPED_FONT, DEJAVU, CMR], ids=lambda font: font.name)
def test_the_characters_of_a_font_are_those_that_freetype_finds(font: Path) -> None:
    assert font_characters(str(font)) == set(map(chr, FT2Font(str(font)).get_charmap()))


def test_a_file_that_is_no_font_is_a_config_error(tmp_path: Path) -> None:
    for name, content in {"text.ttf": b"no font at all, though long enough to be one", "empty.ttf": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"{name}.*fix text_to_image.fallback_fonts"):
            render_text("天", TextStyle(fallback_fonts=(str(tmp_path / name),)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("cmap", "it has no cmap table of Unicode characters"),
        ("glyf", "it has no outlines, as colour fonts of bitmaps; .*NotoEmoji"),
        ("formats", "it has no cmap table of Unicode characters"),
    ],
)
def test_a_font_without_a_character_map_that_is_understood(tmp_path: Path, change: str, reason: str) -> None:
    data = bytearray(CMR.read_bytes())
    entry = data.index(b"cmap")
    (table,) = struct.unpack_from(">I", data, entry + 8)
    if change != "formats":
        tag = data.index(change.encode())
        data[tag : tag + 4] = b"xxxx"
    else:
        (count,) = struct.unpack_from(">H", data, table + 2)
        for i in range(count):
            struct.pack_into(">H", data, table + struct.unpack_from(">I", data, table + 8 + 8 * i)[0], 99)
    (tmp_path / "font.ttf").write_bytes(data)
    with pytest.raises(ConfigError, match=reason):
        font_characters(str(tmp_path / "font.ttf"))


@pytest.mark.parametrize(
    ("platform", "folder"), [("linux", "/fonts"), ("darwin", "/Library/Fonts"), ("win32", "Windows/Fonts")]
)
def test_font_folders_of_each_system(platform: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("WINDIR", "C:/Windows")
    assert all(path.as_posix().endswith((folder, ".fonts")) for path in font_folders())


def test_a_character_is_drawn_by_the_first_font_that_has_it() -> None:
    """Pixels against Pillow: Latin by the shipped font, Georgian and stars one after another by the fallback."""
    line = "abc ★☆ აბგ xyz★"
    (page,) = layout_text(line, WITH_DEJAVU)
    fonts = [ImageFont.truetype(str(font), 20, layout_engine=ImageFont.Layout.BASIC) for font in (SHIPPED_FONT, DEJAVU)]
    expected = Image.new("L", (448, 448), 255)
    draw = ImageDraw.Draw(expected)
    ((baseline, pieces),) = [(line.baseline_px, line.pieces) for line in page.lines]
    assert [word for _, word in pieces] == line.split()
    for x, word in pieces:
        for run in ["xyz", "★"] if word == "xyz★" else [word]:
            font = fonts[not run.isascii()]
            draw.text((x, baseline), run, 0, font, anchor="ls")
            x += round(font.getlength(run))
    assert np.array_equal(render_page(page), np.asarray(expected))
    assert missing_characters(line, WITH_DEJAVU) == {}
    assert set(missing_characters(line, TextStyle(fallback_fonts=()))) == set("★☆აბგ")


def test_ink_that_overhangs_the_gap_is_laid_over_the_word_before() -> None:
    """U+0489 circles the letter before it, here the last of another word."""
    bare = TextStyle(fallback_fonts=())
    (page,) = layout_text("WAW \u0489W", bare)
    (line,) = page.lines
    font = ImageFont.truetype(str(SHIPPED_FONT), 20, layout_engine=ImageFont.Layout.BASIC)
    (first_x, _), (second_x, circled) = line.pieces
    assert second_x + font.getbbox(circled, anchor="ls")[0] < first_x + font.getlength("WAW")
    expected = Image.new("L", (448, 448), 255)
    for x, word in line.pieces:
        ImageDraw.Draw(expected).text((x, line.baseline_px), word, 0, font, anchor="ls")
    assert np.array_equal(render_page(page), np.asarray(expected))


def test_a_line_is_as_high_as_its_highest_character() -> None:
    (page,) = layout_text("abc\n\u0489\u2320\nabc\nabc", WITH_DEJAVU)
    steps = np.diff([line.baseline_px for line in page.lines])
    assert steps[2] == 24 and steps[0] + steps[1] > 48
    rows = (render_page(page) < 255).any(axis=1)
    assert rows[:20].sum() == 0


def test_white_space_that_no_font_has_is_a_space() -> None:
    (wide,) = layout_text("a\u3000b", TextStyle(layout="fit", fallback_fonts=()))
    (plain,) = layout_text("a b", TextStyle(layout="fit", fallback_fonts=()))
    assert [line.pieces for line in wide.lines] == [line.pieces for line in plain.lines]


def test_a_missing_character_is_drawn_as_a_box() -> None:
    bare = TextStyle(fallback_fonts=())
    (box,) = render_text("天", bare)
    (other,) = render_text("地", bare)
    assert (box < 255).any() and np.array_equal(box, other)


def test_the_fingerprint_follows_settings_and_content_of_fonts_not_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = shutil.copy(DEJAVU, tmp_path / "Another.ttf")
    here = style_fingerprint(TextStyle(fallback_fonts=(str(DEJAVU),)))
    assert style_fingerprint(TextStyle(fallback_fonts=(str(moved),))) == here
    others = [
        TextStyle(fallback_fonts=()),
        TextStyle(fallback_fonts=(str(CMR),)),
        TextStyle(fallback_fonts=(str(DEJAVU),), font_size_px=21),
        TextStyle(fallback_fonts=(str(DEJAVU),), page_order="reversed"),
        TextStyle(fallback_fonts=(str(DEJAVU),), line_spacing=1.5),
        TextStyle(fallback_fonts=(str(DEJAVU),), augment=Augment(font=(str(CMR), str(DEJAVU)))),
        TextStyle(fallback_fonts=(str(DEJAVU),), augment=Augment(font=(str(DEJAVU), str(CMR)))),
    ]
    assert len({here, *map(style_fingerprint, others)}) == 8


def test_settings_that_came_later_leave_the_fingerprint_of_pages_as_it_was() -> None:
    assert style_fingerprint(TextStyle(fallback_fonts=())) == "db9b1dc9ff325122"
    assert style_fingerprint(TextStyle(layout="fit", fallback_fonts=(), layout_engine="basic")) == "dbb761f45dc5da2f"


def test_fonts_root_pins_the_fonts_and_a_further_one_draws_what_the_others_lack(tmp_path: Path) -> None:
    pinned = TextStyle(fonts_root=str(tmp_path))
    assert missing_characters("a ★", pinned) == {"★": 1}
    assert page_notes("a ★", pinned).fonts == frozenset()
    for name in ("Zebra-Bold.ttf", "Zebra.ttf", "Aard-Italic.ttf"):
        shutil.copy(DEJAVU, tmp_path / name)
    (tmp_path / "Broken.ttf").write_bytes(b"no font")
    font_files.cache_clear()
    assert missing_characters("a ★", pinned) == {}
    assert page_notes("a ★", pinned).fonts == {"Zebra.ttf"}, "upright ones first, then by name"
    assert page_notes("a", pinned).fonts == frozenset()
    assert set(page_fonts(pinned, {"Zebra.ttf"})) == {"LiberationSans-Regular.ttf", "Zebra.ttf"}
    assert page_fonts(pinned) == page_fonts(TextStyle(fallback_fonts=())), "what is not used is no part of a plan"
    assert style_fingerprint(pinned) == style_fingerprint(TextStyle(fallback_fonts=()))
    assert layout_state(pinned) != layout_state(TextStyle(fallback_fonts=())), "but of what is cached on this machine"


def test_a_font_is_named_or_refused_by_its_name(tmp_path: Path) -> None:
    shutil.copy(DEJAVU, tmp_path / "Some-Regular.ttf")
    plain, named = (TextStyle(font=font, fonts_root=str(tmp_path)) for font in (None, "Some"))
    assert font_chain(named)[0] == str(tmp_path / "Some-Regular.ttf")
    assert not np.array_equal(render_text("abc", plain)[0], render_text("abc", named)[0])
    assert style_fingerprint(named) == style_fingerprint(replace(named, font=str(DEJAVU))) != style_fingerprint(plain)
    with pytest.raises(ConfigError, match=r"text_to_image.font: 'Other' is no file and no font below .*; put it there"):
        render_text("abc", replace(named, font="Other"))
    with pytest.raises(ConfigError, match=r"text_to_image.fonts_root: there is no folder '/nowhere'"):
        render_text("abc", TextStyle(fonts_root="/nowhere"))


def test_fonts_are_found_by_name_in_the_systems_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "share" / "fonts" / "deep"
    folder.mkdir(parents=True)
    for name in ("DejaVuSans.ttf", "NotoSansThai-Regular.ttf", "Comic.ttf", "NotoEmoji[wght].ttf"):
        shutil.copy(DEJAVU, folder / name)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "share"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    font_files.cache_clear()
    try:
        assert font_chain(TextStyle()) == (
            str(SHIPPED_FONT),
            str(folder / "NotoSansThai-Regular.ttf"),
            str(folder / "NotoEmoji[wght].ttf"),
            str(folder / "DejaVuSans.ttf"),
        )
        assert missing_characters("\U0001f600", TextStyle()) == {}
        assert render_text("\U0001f600", TextStyle())[0].min() < 128
    finally:
        font_files.cache_clear()
