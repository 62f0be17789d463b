"""Complex scripts through raqm: words in visual order, pixels of Pillow, a reason where it is missing."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from sparrow.core.errors import ConfigError
from sparrow.media.fonts import SHIPPED_FONT
from sparrow.media.pages import TextStyle, composed, layout_text, render_page
from sparrow.media.shaping import ShapedTypeface, visual_order
from sparrow.media.typeface import Typeface

DEJAVU = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
HEBREW = "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם."
ARABIC = "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق."
needs_raqm = pytest.mark.skipif(not features.check("raqm"), reason="this Pillow cannot load raqm")


@pytest.mark.parametrize(
    ("levels", "shown"),
    [([0, 0], [0, 1]), ([1, 1], [1, 0]), ([1, 2, 2, 1], [3, 1, 2, 0]), ([0, 1, 2, 1, 0], [0, 3, 2, 1, 4]), ([], [])],
)
def test_runs_in_visual_order(levels: list[int], shown: list[int]) -> None:
    assert visual_order(levels) == shown


@needs_raqm
@pytest.mark.parametrize(("text", "font"), [(HEBREW, SHIPPED_FONT), (ARABIC, DEJAVU)], ids=["hebrew", "arabic"])
def test_lines_from_right_to_left_are_those_of_pillow(text: str, font: Path) -> None:
    """Whole lines shaped by Pillow, their right ends on the margin."""
    style = TextStyle(layout="fit", layout_engine="raqm", fallback_fonts=(str(DEJAVU),))
    pillow = ImageFont.truetype(str(font), 20, layout_engine=ImageFont.Layout.RAQM)
    (page,) = layout_text(text, style)
    assert " ".join(line.text for line in page.lines) == text
    expected = Image.new("L", (448, 448), 255)
    for line in page.lines:
        place = (428 - round(pillow.getlength(line.text)), line.baseline_px)
        ImageDraw.Draw(expected).text(place, line.text, 0, pillow, anchor="ls", direction="rtl")
    assert np.array_equal(render_page(page), np.asarray(expected))


@needs_raqm
def test_letters_are_joined_only_by_raqm() -> None:
    shaped, plain = (kind(20, (str(DEJAVU),)).extents["السلام"] for kind in (ShapedTypeface, Typeface))
    assert shaped.advance < plain.advance


@needs_raqm
@pytest.mark.parametrize("layout", ["paper", "fit"])
def test_nothing_is_dropped_by_shaping(layout: str) -> None:
    style = TextStyle(layout=layout, layout_engine="raqm", fallback_fonts=(str(DEJAVU),))
    text = f"{HEBREW} mixed {ARABIC * 3}\nffi {'سلام' * 200} e\u0301\u0302 👍🏽 \u200d " * 3
    assert "".join("".join(page.text for page in layout_text(text, style)).split()) == "".join(composed(text).split())


def test_raqm_is_refused_where_pillow_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: name != "raqm")
    with pytest.raises(ConfigError, match="layout_engine: this Pillow cannot load raqm; install FriBiDi"):
        TextStyle(layout_engine="raqm")
