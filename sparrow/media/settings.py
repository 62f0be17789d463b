"""Settings of what a model sees: frames of videos, pages of rendered text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from sparrow.core.settings import AboveZero, AtLeast0, AtLeast1, frozen_settings, setting

MAX_PAGE_SIDE_PX = 8192
TREEBANK_ALTERS = (
    "the tokenizer 'treebank' alters the text: punctuation stands apart, contractions are cut (do n't), straight double"
    " quotes become `` and ''"
)
Grey = Annotated[int, Field(ge=0, le=255)]


@frozen_settings
class FramePolicy:
    """Which frames of a video are shown, and how; the defaults are those of Sparrow (arXiv 2411.19951)."""

    policy: Literal["uniform", "fps", "all"] = setting("`fps` and `all` are thinned to `max_frames`", default="uniform")
    max_frames: AtLeast1 | None = setting("most frames of a video; null, with `fps` and `all`: no limit", default=24)
    fps: AboveZero | None = setting("rate of the policy `fps`", default=None, unit="frames/s")
    timestamps: bool = setting("put the time of each frame before it in words", default=False)
    reader: Literal["auto", "pyav", "decord"] = setting(
        "what decodes video files: `auto` is `pyav`; `decord` only where it counts frames right",
        default="auto",
        added=True,
    )
    verify: Literal["auto", "header", "frames"] = setting(
        "which videos a plan decodes: `auto` those whose header proves nothing, or none, or all",
        default="auto",
        added=True,
    )
    hdr: Literal["refuse", "tone_map"] = setting("what becomes of HDR video (PQ, HLG)", default="refuse", added=True)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Settings that contradict each other."""
        if self.policy == "uniform" and self.max_frames is None:
            yield "max_frames", "the policy 'uniform' needs a number; set it, or use the policy 'all'"
        if self.policy == "fps" and self.fps is None:
            yield "fps", "the policy 'fps' needs a rate; set it above 0"


@frozen_settings
class TextStyle:
    """How long text becomes pages; the defaults are those of Sparrow (arXiv 2411.19951)."""

    layout: Literal["paper", "fit"] = setting("`fit` fills the page and keeps line breaks", default="paper")
    page_width_px: Annotated[int, Field(le=MAX_PAGE_SIDE_PX)] = setting("width of a page", default=448, unit="px")
    page_height_px: Annotated[int, Field(le=MAX_PAGE_SIDE_PX)] = setting("height of a page", default=448, unit="px")
    font_size_px: Annotated[int, Field(ge=4)] = setting("size of the font (em square)", default=20, unit="px")
    margin_px: AtLeast0 = setting("white space on each side that `layout` keeps free", default=20, unit="px")
    words_per_page: AtLeast1 | None = setting("most, with `paper`; null: all that fit", default=115, unit="words")
    tokenizer: Literal["split", "treebank"] = setting("`treebank` spells as the released code", default="split")
    layout_engine: Literal["basic", "raqm"] = setting("`raqm` shapes complex scripts", default="basic")
    fallback_fonts: tuple[str, ...] | None = setting("files, in order; null: the machine's fonts", default=None)
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
        least = 2 * self.margin_px + self.font_size_px
        for name in ("page_width_px", "page_height_px"):
            if getattr(self, name) < least:
                yield name, f"must be at least {least} (both margins and a character), is {getattr(self, name)}"
        if self.text_grey == self.background_grey:
            yield "text_grey", "equals background_grey, so that nothing could be read"
        if self.layout_engine == "raqm" and not _has_raqm():
            yield (
                "layout_engine",
                "this Pillow cannot load raqm; install FriBiDi (Debian: libfribidi0) and a Pillow wheel, or use basic",
            )


def _has_raqm() -> bool:
    from PIL import features

    return bool(features.check("raqm"))
