"""Long text as the frames of a video-like sample: laid out on pages, drawn when it is asked for."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache

import numpy as np

from sparrow.core.errors import MediaError
from sparrow.core.hashing import content_hash, hash_order
from sparrow.media.fonts import font_chain, fonts_fingerprint
from sparrow.media.frame_choice import frame_indices
from sparrow.media.layout import Line, Page, set_text
from sparrow.media.settings import TextStyle
from sparrow.media.shaping import ShapedTypeface
from sparrow.media.typeface import Typeface, blend

__all__ = [
    "Line",
    "Page",
    "TextStyle",
    "count_pages",
    "layout_text",
    "missing_characters",
    "render_page",
    "render_text",
    "style_fingerprint",
]


def layout_text(text: str, style: TextStyle) -> list[Page]:
    """The pages of a text in the order in which they are shown.

    Raises:
        MediaError: If the text is empty, has more than `max_pages` under the policy `all`, or holds a character
            that is larger than the page.
    """
    pages = list(set_text(text, style, _face(style)))
    return [pages[i] for i in _shown(len(pages), text, style)]


def count_pages(text: str, style: TextStyle) -> int:
    """How many pages `render_text` gives, without drawing them."""
    return len(_shown(sum(1 for _ in set_text(text, style, _face(style))), text, style))


def render_text(text: str, style: TextStyle) -> list[np.ndarray]:
    """A text drawn on pages: a list of grey uint8 [page_height_px, page_width_px], a function of its arguments."""
    return [render_page(page, style) for page in layout_text(text, style)]


def render_page(page: Page, style: TextStyle) -> np.ndarray:
    """One page, drawn: grey uint8 [page_height_px, page_width_px]."""
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
    missing = dict(_face(style).missing(text))
    if missing and style.max_pages is not None:
        return dict(_face(style).missing("\n".join(page.text for page in layout_text(text, style))))
    return missing


def style_fingerprint(style: TextStyle) -> str:
    """Hash of all that the pages of a text depend on: the settings, and the fonts' content wherever they lie."""
    settings = {name: value for name, value in asdict(style).items() if name != "fallback_fonts"}
    return content_hash([settings, fonts_fingerprint(font_chain(style.fallback_fonts))])


def _face(style: TextStyle) -> Typeface:
    return typeface_of(style.layout_engine, style.font_size_px, style.fallback_fonts)


@lru_cache(maxsize=16)
def typeface_of(layout_engine: str, font_size_px: int, fallback_fonts: tuple[str, ...] | None) -> Typeface:
    """The typeface of some settings, made once a process, so that its bitmaps serve every text."""
    kind = ShapedTypeface if layout_engine == "raqm" else Typeface
    return kind(font_size_px, font_chain(fallback_fonts))


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
