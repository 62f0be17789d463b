"""How a text becomes pages: every setting of layout and drawing, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from sparrow.core.errors import ConfigError

LAYOUTS = ("paper", "fit")
TOKENIZERS = ("split", "treebank")
LAYOUT_ENGINES = ("basic", "raqm")
PAGE_ORDERS = ("as_is", "shuffled", "reversed")
PAGE_POLICIES = ("all", "uniform", "first")
MAX_PAGE_SIDE_PX = 8192
TREEBANK_ALTERS = (
    "the tokenizer 'treebank' alters the text: punctuation stands apart, contractions are cut (do n't), straight double"
    " quotes become `` and ''"
)


def _has_raqm() -> bool:
    from PIL import features

    return bool(features.check("raqm"))


@dataclass(frozen=True)
class TextStyle:
    """Settings of rendered text; the defaults are those of Sparrow (arXiv 2411.19951).

    Args:
        layout: `paper` sets `words_per_page` words with single spaces, margins left and right, and centres the
            block of lines vertically. `fit` fills the page inside margins on all four sides and keeps line
            breaks, indentation and runs of spaces.
        page_width_px: Width of a page.
        page_height_px: Height of a page.
        font_size_px: Size of the font (em square).
        margin_px: White on each side that `layout` keeps free.
        words_per_page: Most words on a page of the `paper` layout; None: as many as fit.
        tokenizer: Words of the `paper` layout: `split` at white space, or `treebank`, which spells as the released
            code does and so alters the text (see `sparrow.media.tokens`).
        layout_engine: `basic` places one glyph a character, in logical order, alike on every machine; `raqm` shapes
            and orders complex scripts where Pillow has that library.
        fallback_fonts: Font files for characters that Liberation Sans lacks, in order; None: the Noto and DejaVu
            fonts found on this machine.
        text_grey: Grey value of the letters, 0 (black) to 255 (white).
        background_grey: Grey value of the page.
        page_order: `as_is`, `reversed`, or `shuffled` (a fixed order that depends on the text alone).
        max_pages: Most pages of a text; None: no limit.
        page_policy: Which pages of a longer text are shown: `uniform`ly spaced ones, the `first` ones, or `all`,
            which refuses the text.

    Raises:
        ConfigError: If a setting is out of its range, naming all that are.
    """

    layout: str = "paper"
    page_width_px: int = 448
    page_height_px: int = 448
    font_size_px: int = 20
    margin_px: int = 20
    words_per_page: int | None = 115
    tokenizer: str = "split"
    layout_engine: str = "basic"
    fallback_fonts: tuple[str, ...] | None = None
    text_grey: int = 0
    background_grey: int = 255
    page_order: str = "as_is"
    max_pages: int | None = None
    page_policy: str = "all"

    @property
    def alters_text(self) -> str | None:
        """How the pages' spelling differs from the source's, for a report; None if it does not."""
        return TREEBANK_ALTERS if self.layout == "paper" and self.tokenizer == "treebank" else None

    def __post_init__(self) -> None:
        if self.fallback_fonts is not None:  # lists come from YAML; a style must be hashable
            object.__setattr__(self, "fallback_fonts", tuple(self.fallback_fonts))
        problems = [
            f"text_to_image.{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}"
            for name, choices in {
                "layout": LAYOUTS,
                "tokenizer": TOKENIZERS,
                "layout_engine": LAYOUT_ENGINES,
                "page_order": PAGE_ORDERS,
                "page_policy": PAGE_POLICIES,
            }.items()
            if getattr(self, name) not in choices
        ]
        if self.font_size_px < 4:
            problems.append(f"text_to_image.font_size_px is {self.font_size_px}; use 4 or more")
        if self.margin_px < 0:
            problems.append(f"text_to_image.margin_px is {self.margin_px}; use 0 or more")
        for name in ("page_width_px", "page_height_px"):
            size = getattr(self, name)
            least = 2 * self.margin_px + self.font_size_px
            if not least <= size <= MAX_PAGE_SIDE_PX:
                problems.append(
                    f"text_to_image.{name} is {size}; use {least} (both margins and a character) to {MAX_PAGE_SIDE_PX}"
                )
        for name in ("words_per_page", "max_pages"):
            count = getattr(self, name)
            if count is not None and count < 1:
                problems.append(f"text_to_image.{name} is {count}; use 1 or more, or null")
        for name in ("text_grey", "background_grey"):
            if not 0 <= getattr(self, name) <= 255:
                problems.append(f"text_to_image.{name} is {getattr(self, name)}; use 0 to 255")
        if self.text_grey == self.background_grey:
            problems.append("text_to_image.text_grey equals background_grey, so that nothing could be read")
        if self.layout_engine == "raqm" and not _has_raqm():
            problems.append(
                "text_to_image.layout_engine is 'raqm', which this Pillow cannot load;"
                " install FriBiDi (Debian: libfribidi0) and a Pillow wheel, or use 'basic'"
            )
        if problems:
            raise ConfigError("\n".join(problems))
