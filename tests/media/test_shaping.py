"""Complex scripts through raqm: words in visual order, pixels of Pillow, a reason where it is missing."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from sparrow.core.errors import ConfigError, MediaError
from sparrow.media.fonts import SHIPPED_FONT
from sparrow.media.layout import breakable
from sparrow.media.pages import TextStyle, composed, layout_text, page_notes, render_page, render_text
from sparrow.media.shaping import RIGHT_TO_LEFT_MARK, ShapedTypeface, script_to_shape, visual_order
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


def seen(face: ShapedTypeface, line: str) -> str:
    """Characters from left to right as shown, white space apart."""
    words = [word for word, *_ in face.words(line)]
    return "".join(word[1:][::-1] if word[0] == RIGHT_TO_LEFT_MARK else word[1:] for word in words)


@needs_raqm
@pytest.mark.parametrize(
    ("line", "shown"),  # the orders are those of Chromium's glyphs with dir=auto
    [
        ("عام 2024، بزيادة 12.5% عن 1999.", ".1999 نع %12.5 ةدايزب ،2024 ماع"),
        ("برنامج (Microsoft Word 2016) إلى info@example.org!", "!info@example.org ىلإ )Microsoft Word 2016( جمانرب"),
        ("هاتف: +966 (11) 555-0123، الساعة 10:30–12:45.", ".12:45–10:30 ةعاسلا ،0123-555 )11( 966+ :فتاه"),
        ("قال: «بك في Python 3.12» ثم...", "...مث »Python 3.12 يف كب« :لاق"),
        ("בשנת 1948 היו כאן 650,000 תושבים (כ-5%).", ".)5%-כ( םיבשות 650,000 ןאכ ויה 1948 תנשב"),
        ('הספר "War and Peace" נכתב ב-1869.', '.1869-ב בתכנ "War and Peace" רפסה'),
        ("א. ראשון; ב. שני - 50$ או 12/5/2020?", "?12/5/2020 וא 50$ - ינש .ב ;ןושאר .א"),
        ('The word "سلام" (salām), שלום too, 100%.', 'The word "مالس" (salām), םולש too, 100%.'),
        ("version 2.0 של התוכנה (beta), עלות: $19.99", "version 2.0 הנכותה לש (beta), $19.99 :תולע"),
        ("C++ هي لغة برمجة؛ مثل: int x[10];", "C++ لثم ؛ةجمرب ةغل يه: int x[10];"),
        ("١٢٣ + 45 = ١٦٨ (انظر ص. ٧)", ")٧ .ص رظنا( ١٦٨ = 45 + ١٢٣"),
        ("[1] מקור: https://example.org/a-b?c=1, עמ' 3–5.", ".5–3 'מע ,https://example.org/a-b?c=1 :רוקמ ]1["),
    ],
)
def test_numbers_latin_and_punctuation_stand_as_in_a_browser(line: str, shown: str) -> None:
    face = ShapedTypeface(20, (str(SHIPPED_FONT), str(DEJAVU)))
    assert seen(face, line) == "".join(shown.split())


@needs_raqm
def test_the_ends_of_a_line_stand_as_in_their_paragraph() -> None:
    """A comma that ends a line and a number that begins one stay with the Latin words on the other side of the break."""
    style = TextStyle(layout="fit", page_width_px=220, fallback_fonts=(str(DEJAVU),))
    (page,) = layout_text("אבג דהו The Times, 2024 edition, 3 copies of אבג", style)
    face = ShapedTypeface(20, (str(SHIPPED_FONT), str(DEJAVU)))
    lines = [seen(face, piece) for line in page.lines for _, piece in line.pieces]
    assert lines == ["TheTimes,והדגבא", "2024edition,3", "גבאcopiesof"]


@needs_raqm
@pytest.mark.parametrize("text", ["السلام عليكم", "नमस्ते स्वतन्त्रता", "ក្នុង", "ที่อยู่", "ɛ\u0303 n"])
def test_auto_shapes_what_basic_would_draw_wrong_and_nothing_else(text: str) -> None:
    auto = TextStyle(layout="fit", fallback_fonts=(str(DEJAVU),))
    assert np.array_equal(render_text(text, auto), render_text(text, replace(auto, layout_engine="raqm")))
    assert page_notes(text, auto).complex_characters > 0
    plain = "Plain “text”, naïve Ελληνικά 天地 👍🏽 AVATAR"
    assert np.array_equal(render_text(plain, auto), render_text(plain, replace(auto, layout_engine="basic")))
    assert page_notes(plain, auto).complex_characters == 0


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("سلام", "Arabic"),
        ("שלום", "Hebrew"),
        ("हिन्दी", "Devanagari"),
        ("ɛ\u0303", "combining marks"),
        ("ខ្មែរ", "Khmer"),
    ],
)
def test_what_cannot_be_shaped_is_refused_with_its_script(
    text: str, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MediaError, match=f"the text has {script} that .* layout_engine=basic does not; set .*=auto"):
        render_text(f"English {text}", TextStyle(layout_engine="basic"))
    monkeypatch.setattr(features, "check", lambda name: name != "raqm")
    with pytest.raises(MediaError, match=f"the text has {script} that .* this machine cannot; install FriBiDi"):
        render_text(f"English {text}", TextStyle())
    assert render_text("English", TextStyle())


def test_letters_are_composed_with_their_marks_before_they_are_drawn() -> None:
    text = "Tất cả mọi người sinh ra đều được tự do; 모든 인간은; ガギグ"
    style = TextStyle(layout_engine="basic", fallback_fonts=(str(DEJAVU),))
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text and np.array_equal(render_text(decomposed, style), render_text(text, style))
    assert page_notes(decomposed, style).complex_characters == len(decomposed) - len(text)


def test_marks_that_shape_nothing_leave_a_text_to_basic() -> None:
    assert [script_to_shape(char) for char in "a\u200e\ufe0f\u20e3天€"] == [None] * 6


@pytest.mark.parametrize("word", ["ក្នុង", "स्त्री", "เกีย", "น้ำ", "ເກີ", "မန္တလေး"])
def test_no_line_breaks_within_a_stack_or_between_a_vowel_and_its_letter(word: str) -> None:
    parts = breakable(word * 2)
    assert "".join(parts) == word * 2
    assert not any(part[-1] in "เເ\u17d2\u094d\u1039" or part[0] in "ำีុ" for part in parts)


WORDS = {
    "Thai": "มนุษย์ ทั้ง หลาย เกิด มา มี อิสระ และ เสมอ ภาค กัน ใน เกียรติศักดิ์ และ สิทธิ",
    "Khmer": "មនុស្ស ទាំងអស់ កើតមក មាន សេរីភាព និង ភាពស្មើគ្នា",
    "Lao": "ມະນຸດ ທຸກຄົນ ເກີດ ມາ ມີ ກຽດສັກສີ",
    "Myanmar": "လူ တိုင်း သည် တူညီ လွတ်လပ် သော ဂုဏ်သိက္ခာ ဖြင့်",
    "Tibetan": "འགྲོ་ བ་ མིའི་ རིགས་ རྒྱུད་ ཡོངས་ ལ་ སྐྱེས་ ཙམ་ ཉིད་ ནས",
    "by zero-width spaces": "abcde\u200b fghijklmno\u200b pqrstuvwxyz\u200b abcdef\u200b ghijklmnop",
}


@needs_raqm
@pytest.mark.parametrize("script", WORDS)
def test_lines_of_words_without_spaces_break_between_words(script: str) -> None:
    """As in a browser: also where the run would fit on a line of its own, and the line before has room for a word."""
    words = WORDS[script].split(" ")
    style = TextStyle(layout="fit", font_size_px=14, page_width_px=200, fallback_fonts=(str(DEJAVU),))
    (page,) = layout_text(f"1 {''.join(words)}", style)
    assert len(page.lines) > 1 and page.lines[0].text.startswith(f"1 {words[0]}")
    ends = np.cumsum([len("".join(line.text.split())) for line in page.lines]) - 1  # the "1" aside
    assert set(ends) <= set(np.cumsum([len(word) for word in words]))


def test_a_word_wider_than_a_line_breaks_between_characters_as_readers_see_them() -> None:
    style = TextStyle(layout="fit", page_width_px=60, layout_engine="basic")
    (page,) = layout_text("é\u20e3" * 12, style)
    assert [set(line.text) for line in page.lines[:-1]] == [set("é\u20e3")] * (len(page.lines) - 1)
    assert all(line.text.startswith("é") for line in page.lines) and len(page.lines) > 2


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
