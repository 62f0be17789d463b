"""Long text as the frames of a video-like sample: laid out on pages, drawn when it is asked for."""

from __future__ import annotations

import numpy as np

from sparrow.core.errors import MediaError
from sparrow.core.hashing import content_hash, hash_order
from sparrow.media.frames import frame_indices
from sparrow.media.layout import Line, Page, set_text
from sparrow.media.style import TextStyle
from sparrow.media.typeface import Typeface, blend, typeface

__all__ = [
    "Line",
    "Page",
    "TextStyle",
    "count_pages",
    "layout_text",
    "missing_characters",
    "render_page",
    "render_text",
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
    bitmap_of = _face(style).bitmap
    for line in page.lines:
        drawn_to = 0
        for origin, piece in line.pieces:
            mask, left, top = bitmap_of(piece)
            height, width = mask.shape
            x = origin + left
            y = line.baseline_px + top
            view = coverage[y : y + height, x : x + width]
            if x >= drawn_to:
                view[...] = mask
                drawn_to = x + width
            else:  # a piece that overhangs the gap to the one before
                blend(view, mask)
                drawn_to = max(drawn_to, x + width)
    return _grey_levels(style)[coverage]


def missing_characters(text: str, style: TextStyle) -> dict[str, int]:
    """The characters that no font of the style has, drawn as boxes, each with how often it occurs."""
    return dict(_face(style).missing(text))


def _face(style: TextStyle) -> Typeface:
    return typeface(style.font_size_px, style.fallback_fonts)


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
