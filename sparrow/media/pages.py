"""Long text as the frames of a video-like sample: laid out on pages, drawn when it is asked for."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import features

from sparrow.core.errors import MediaError
from sparrow.core.hashing import content_hash, hash_order
from sparrow.core.settings import identity
from sparrow.media.fonts import SHIPPED_FONT, font_chain, font_hash, fonts_fingerprint, further_fonts
from sparrow.media.frame_choice import frame_indices
from sparrow.media.layout import Page, set_text
from sparrow.media.settings import PAGE_DPI, WITHOUT_RAQM, Augment, TextStyle
from sparrow.media.shaping import ShapedTypeface, can_shape, scripts_to_shape
from sparrow.media.typeface import Typeface, blend


class PageNotes(NamedTuple):
    """What a plan notes of the pages of texts: characters that no font has, characters that are shaped or composed
    (all, where the style shapes all), and the names of the fonts that draw."""

    missing_characters: int = 0
    complex_characters: int = 0
    fonts: frozenset[str] = frozenset()

    def joined(self, other: PageNotes) -> PageNotes:
        """Those of both."""
        return PageNotes(self[0] + other[0], self[1] + other[1], self.fonts | other.fonts)


def drawn_style(text: str, style: TextStyle) -> TextStyle:
    """The style that a text is drawn in: one of `augment`, lengths at its dpi, the engine that its scripts need.

    Raises:
        MediaError: If the text has scripts that must be shaped, and the style or this machine does not.
    """
    choices = {f.name: getattr(style.augment, f.name) for f in fields(style.augment) if f.name != "seed"}
    digest = content_hash(text) if any(choices.values()) else ""
    changes: dict[str, Any] = {
        name: values[hash_order([str(value) for value in values], style.augment.seed, salt=f"{name} {digest}")[0]]
        for name, values in choices.items()
        if values
    }
    dpi = changes.get("dpi", style.dpi)
    if dpi != PAGE_DPI:
        lengths = ("page_width_px", "page_height_px", "font_size_px", "margin_px")
        changes |= {name: round(changes.get(name, getattr(style, name)) * dpi / PAGE_DPI) for name in lengths}
        changes["dpi"] = PAGE_DPI
    if style.layout_engine != "raqm":
        scripts = scripts_to_shape(composed(text))
        if scripts and style.layout_engine == "basic":
            raise _unshaped(scripts, "layout_engine=basic does not", "set text_to_image.layout_engine=auto")
        if scripts and not can_shape():
            raise _unshaped(scripts, "this machine cannot", WITHOUT_RAQM.partition("; ")[2])
        changes["layout_engine"] = "raqm" if scripts else "basic"
    return replace(style, augment=Augment(), **changes)


def _unshaped(scripts: Counter[str], why: str, remedy: str) -> MediaError:
    return MediaError(f"the text has {' and '.join(sorted(scripts))} that must be shaped, and {why}", remedy=remedy)


def composed(text: str) -> str:
    """A text in Unicode's form NFC, as it is drawn: letters with their marks as one character where there is one."""
    return unicodedata.normalize("NFC", text)


def layout_text(text: str, style: TextStyle) -> list[Page]:
    """The pages of a text in the order in which they are shown.

    Raises:
        MediaError: If the text is empty, has more than `max_pages` under the policy `all`, or holds a character
            that is larger than the page or cannot be shaped.
    """
    pages = list(_set_pages(text, style))
    return [pages[i] for i in _shown(len(pages), text, style)]


def count_pages(text: str, style: TextStyle) -> int:
    """How many pages `render_text` gives, without drawing them."""
    return len(_shown(sum(1 for _ in _set_pages(text, style)), text, style))


def _set_pages(text: str, style: TextStyle) -> Iterator[Page]:
    drawn = drawn_style(text, style)
    return set_text(composed(text), drawn, _face(drawn))


def render_text(text: str, style: TextStyle) -> list[np.ndarray]:
    """A text drawn on pages: a list of grey uint8 [height, width], a function of its arguments."""
    return [render_page(page) for page in layout_text(text, style)]


def render_page(page: Page) -> np.ndarray:
    """One page, drawn: grey uint8 [page_height_px, page_width_px]."""
    style = page.style
    coverage = np.zeros((style.page_height_px, style.page_width_px), np.uint8)
    bitmaps = _face(style).bitmaps
    for line in page.lines:
        y = line.baseline_px
        drawn_to = 0
        for x, word in line.pieces:
            mask, left, top, right, bottom = bitmaps[word]
            if x + left >= drawn_to:
                coverage[y + top : y + bottom, x + left : x + right] = mask
                drawn_to = x + right
            else:  # ink that overhangs the gap to the word before
                blend(coverage[y + top : y + bottom, x + left : x + right], mask)
                drawn_to = max(drawn_to, x + right)
    if (style.text_grey, style.background_grey) == (0, 255):
        return np.invert(coverage, out=coverage)  # what the table below gives, 40 times faster
    return _grey_levels(style)[coverage]


def missing_characters(text: str, style: TextStyle) -> dict[str, int]:
    """The characters on the shown pages that no font has, drawn as boxes, each with how often it occurs."""
    face = _face(drawn_style(text, style))
    missing = face.missing(composed(text))
    if missing and style.max_pages is not None:
        return face.missing("\n".join(page.text for page in layout_text(text, style)))
    return missing


def page_notes(text: str, style: TextStyle) -> PageNotes:
    """What a plan notes of the pages of a text."""
    drawn, form = drawn_style(text, style), composed(text)
    shaped = len("".join(form.split())) if style.layout_engine == "raqm" else scripts_to_shape(form).total()
    fonts = frozenset(Path(font).name for font in _face(drawn).fonts_of(form) if font != str(SHIPPED_FONT))
    return PageNotes(sum(missing_characters(text, style).values()), shaped + len(text) - len(form), fonts)


def page_fonts(style: TextStyle, used: Iterable[str] = ()) -> dict[str, str]:
    """Hashes of fonts by file name: of those whose content is in the fingerprint, and of further ones that are used."""
    chains = [font for each in _chains(style) for font in each]
    further = [font for font in further_fonts(style) if Path(font).name in set(used)]
    return {Path(font).name: font_hash(font) for font in reversed([*chains, *further])}


def style_fingerprint(style: TextStyle) -> str:
    """Hash of all that the pages of a text depend on: the settings, and the fonts' content wherever they lie."""
    settings = {name: value for name, value in identity(style).items() if name not in ("fallback_fonts", "font")}
    return content_hash([settings, *map(fonts_fingerprint, _chains(style))])


def layout_state(style: TextStyle) -> str:
    """Hash of all that decides how texts are laid out here, for caches: also this machine's fonts and libraries."""
    further = [(Path(font).name, Path(font).stat().st_size) for font in further_fonts(style)]
    libraries = [features.version(name) for name in ("freetype2", "raqm", "harfbuzz", "fribidi")]
    libraries.append(version("icu4py"))
    return content_hash([style_fingerprint(style), style.layout_engine, can_shape(), further, libraries])


def _chains(style: TextStyle) -> list[tuple[str, ...]]:
    return [font_chain(replace(style, font=font)) for font in style.values_of("font")]


def _face(drawn: TextStyle) -> Typeface:
    return typeface_of(drawn.layout_engine, drawn.font_size_px, font_chain(drawn), further_fonts(drawn))


@lru_cache(maxsize=16)
def typeface_of(
    layout_engine: str, font_size_px: int, fonts: tuple[str, ...], further: tuple[str, ...] = ()
) -> Typeface:
    """The typeface of some settings, made once a process, so that its bitmaps serve every text."""
    kind = ShapedTypeface if layout_engine == "raqm" else Typeface
    return kind(font_size_px, fonts, further)


def _grey_levels(style: TextStyle) -> np.ndarray:
    """Grey value of each coverage 0 to 255, rounded as Pillow pastes: (ink c + ground (255 - c)) / 255."""
    coverage = np.arange(256)
    mixed = style.text_grey * coverage + style.background_grey * (255 - coverage) + 128
    return ((mixed + (mixed >> 8)) >> 8).astype(np.uint8)


def _shown(total: int, text: str, style: TextStyle) -> list[int]:
    """Which of a text's pages are shown, in order."""
    limit = total if style.max_pages is None else style.max_pages
    if total > limit and style.page_policy == "all":
        raise MediaError(
            f"the text has {total} pages, max_pages is {limit}", remedy="raise max_pages or choose another page_policy"
        )
    shown = frame_indices(total, limit) if style.page_policy == "uniform" else list(range(min(total, limit)))
    if style.page_order == "reversed":
        return shown[::-1]
    if style.page_order == "shuffled":
        digest = content_hash(text)
        return [shown[i] for i in hash_order([str(i) for i in shown], 0, salt=digest)]
    return shown
