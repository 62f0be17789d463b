"""Settings of what a model sees: frames of videos, pages of rendered text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from sparrow.core.settings import AboveZero, AtLeast0, AtLeast1, frozen_settings, setting

MAX_PAGE_SIDE_PX = 8192
TREEBANK_ALTERS = (
    "the tokenizer 'treebank' alters the text: punctuation stands apart, contractions are cut (do n't), straight double"
    " quotes become `` and ''"
)
WITHOUT_RAQM = "this Pillow cannot load raqm; install FriBiDi (Debian: libfribidi0) and a Pillow wheel"
PAGE_DPI = 72  # at which lengths in px are given; a point is a pixel
Grey = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=MAX_PAGE_SIDE_PX)]
FontSize = Annotated[int, Field(ge=4)]
Spacing = Annotated[float, Field(ge=1)]
Dpi = Annotated[int, Field(ge=18, le=600)]
Alignment = Literal["start", "center", "end", "justify"]


@frozen_settings
class FramePolicy:
    """Which frames of a video are shown, and how; the defaults are those of Sparrow (arXiv 2411.19951)."""

    policy: Literal["uniform", "fps", "all", "one_a_second"] = setting(
        "`fps` and `all` are thinned to `max_frames`; `one_a_second`: LongVideoBench's rule", default="uniform"
    )
    max_frames: AtLeast1 | None = setting("most frames of a video; null, with `fps` and `all`: no limit", default=24)
    fps: AboveZero | None = setting("rate of the policy `fps`", default=None, unit="frames/s")
    timestamps: bool = setting("put the time of each frame before it in words", default=False)
    reader: Literal["auto", "pyav", "decord"] = setting(
        "what decodes video files: `auto` is `pyav`; `decord` only where both show the same frames",
        default="auto",
        added=True,
    )
    verify: Literal["auto", "header", "frames"] = setting(
        "which videos a plan decodes: `auto` those whose header proves nothing, or none, or all; with decord all",
        default="auto",
        added=True,
    )
    hdr: Literal["refuse", "tone_map"] = setting("what becomes of HDR video (PQ, HLG)", default="refuse", added=True)
    min_frames: AtLeast1 | None = setting("least, with `fps`, of a video that has as many", default=None, added=True)
    frame_size_px: Side | None = setting(
        "scale frames of more pixels than a square of this side down to it", default=None, unit="px", added=True
    )
    max_pixels: AtLeast1 | None = setting(
        "scale all frames of a video down to this many pixels together", default=None, unit="px", added=True
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Settings that contradict each other."""
        if self.min_frames is not None and self.max_frames is not None and self.min_frames > self.max_frames:
            yield "min_frames", f"is {self.min_frames}, above max_frames={self.max_frames}; lower it"
        if self.policy in ("uniform", "one_a_second") and self.max_frames is None:
            yield "max_frames", f"the policy '{self.policy}' needs a number; set it, or use the policy 'all'"
        for name in ("min_frames", "fps"):
            if self.policy != "fps" and getattr(self, name) is not None:
                yield name, f"belongs to the policy 'fps'; set that, or {name} to null"
        if self.policy == "fps" and self.fps is None:
            yield "fps", "the policy 'fps' needs a rate; set it above 0"


@frozen_settings
class Augment:
    """Styles that pages vary in: each text is drawn with one value of every list that is not empty."""

    seed: AtLeast0 = setting("chooses the values, together with the text alone", default=0)
    font: tuple[str, ...] = setting("as `font`", default=())
    font_size_px: tuple[FontSize, ...] = setting("as `font_size_px`", default=(), unit="px")
    margin_px: tuple[AtLeast0, ...] = setting("as `margin_px`", default=(), unit="px")
    line_spacing: tuple[Spacing, ...] = setting("as `line_spacing`", default=())
    alignment: tuple[Alignment, ...] = setting("as `alignment`", default=())
    dpi: tuple[Dpi, ...] = setting("as `dpi`", default=())
    text_grey: tuple[Grey, ...] = setting("as `text_grey`", default=())
    background_grey: tuple[Grey, ...] = setting("as `background_grey`", default=())


@frozen_settings
class TextStyle:
    """How long text becomes pages; the defaults are those of Sparrow (arXiv 2411.19951)."""

    layout: Literal["paper", "fit"] = setting("`fit` fills the page and keeps line breaks", default="paper")
    page_width_px: Annotated[int, Field(le=MAX_PAGE_SIDE_PX)] = setting("width of a page", default=448, unit="px")
    page_height_px: Annotated[int, Field(le=MAX_PAGE_SIDE_PX)] = setting("height of a page", default=448, unit="px")
    font_size_px: FontSize = setting("size of the font (em square)", default=20, unit="px")
    margin_px: AtLeast0 = setting("white space on each side that `layout` keeps free", default=20, unit="px")
    words_per_page: AtLeast1 | None = setting("most, with `paper`; null: all that fit", default=115, unit="words")
    tokenizer: Literal["split", "treebank"] = setting("`treebank` spells as the released code", default="split")
    layout_engine: Literal["auto", "basic", "raqm"] = setting(
        "`raqm` shapes scripts; `auto`: only where a text needs it; `basic` refuses such texts",
        default="auto",
        formerly=("basic", "augment"),
    )
    fallback_fonts: tuple[str, ...] | None = setting("files, in order; null: the machine's fonts", default=None)
    font: str | None = setting("name or path of a font file; null: Liberation Sans", default=None, added=True)
    fonts_root: str | None = setting("the only folder in which fonts are looked for", default=None, recorded=True)
    line_spacing: Spacing = setting("height of a line, in those of its font", default=1.0, added=True)
    alignment: Alignment = setting("`start` is where the lines' script starts", default="start", added=True)
    dpi: Dpi = setting(f"the page is drawn at dpi / {PAGE_DPI} of all lengths in px", default=PAGE_DPI, added=True)
    as_video: bool = setting("pages of a text as one native video, a page a second", default=False, added=True)
    augment: Augment = setting("several styles, one drawn for each text", default_factory=Augment, added=True)
    text_grey: Grey = setting("grey level of the letters, 0 (black) to 255 (white)", default=0)
    background_grey: Grey = setting("grey level of the page", default=255)
    page_order: Literal["as_is", "shuffled", "reversed"] = setting("shuffled by the text alone", default="as_is")
    max_pages: AtLeast1 | None = setting("most pages of a text; null: no limit", default=None, unit="pages")
    page_policy: Literal["all", "uniform", "first"] = setting("`all` refuses a longer text", default="all")

    @property
    def alters_text(self) -> str | None:
        """How the pages' spelling differs from the source's, for a report; None if it does not."""
        return TREEBANK_ALTERS if self.layout == "paper" and self.tokenizer == "treebank" else None

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Settings that contradict each other."""
        least = 2 * max(self.values_of("margin_px")) + max(self.values_of("font_size_px"))
        for name in ("page_width_px", "page_height_px"):
            if getattr(self, name) < least:
                yield name, f"must be at least {least} (both margins and a character), is {getattr(self, name)}"
            if (drawn := getattr(self, name) * max(self.values_of("dpi")) // PAGE_DPI) > MAX_PAGE_SIDE_PX:
                yield "dpi", f"makes {name} {drawn}, it must be at most {MAX_PAGE_SIDE_PX}; lower one of them"
        if min(self.values_of("font_size_px")) * min(self.values_of("dpi")) < 4 * PAGE_DPI:
            yield "dpi", "makes letters smaller than 4 px; raise it or font_size_px"
        if set(self.values_of("text_grey")) & set(self.values_of("background_grey")):
            yield "text_grey", "equals background_grey, so that nothing could be read"
        if self.layout_engine == "raqm" and not has_raqm():
            yield "layout_engine", f"{WITHOUT_RAQM}, or use auto"

    def values_of(self, name: str) -> tuple[Any, ...]:
        """The values that a setting takes, one or those of `augment`."""
        return getattr(self.augment, name, ()) or (getattr(self, name),)


def has_raqm() -> bool:
    """Whether scripts can be shaped: Pillow has raqm, which loads FriBiDi when it is needed."""
    from PIL import features

    return bool(features.check("raqm"))
