"""Text on pages: nothing lost, nothing outside the page, the pixels of Pillow."""

import random
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, features

from sparrow.core.errors import ConfigError, MediaError
from sparrow.media.fonts import SHIPPED_FONT, font_chain
from sparrow.media.images import encode_png
from sparrow.media.pages import (
    TextStyle,
    composed,
    count_pages,
    drawn_style,
    layout_text,
    missing_characters,
    render_page,
    render_text,
    typeface_of,
)
from sparrow.media.settings import Augment
from sparrow.media.typeface import Memo

GOLDEN = Path(__file__).parent / "golden"
DEJAVU = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
PAPER = TextStyle(fallback_fonts=())
FIT = TextStyle(layout="fit", fallback_fonts=())

ENGLISH = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness. "
    'AVATAR WAVE To. Ty, "quoted" (bracketed) -- 3.14159; ffi flow, jab of f j. '
)
CODE = "def f(x):\n    if x:\n\treturn [x,  x]\n\n\n    return None\n\n| a  |  b |\n|----|----|\n"
TEXTS = {
    "english": ENGLISH * 8,
    "url": f"See https://example.org/{'path/' * 60}?query=1 for more. " * 3,
    "german": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft " * 12,
    "base64": "TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcmsu" * 100,
    "chinese": "天地玄黃,宇宙洪荒。日月盈昃,辰宿列張。" * 60,
    "japanese": "吾輩は猫である。名前はまだ無い。" * 40,
    "korean": "모든 인간은 태어날 때부터 자유로우며 " * 30,
    "thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ" * 20,
    "arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. " * 20,
    "hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. " * 20,
    "hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है। " * 20,
    "emoji": "👩‍👩‍👧‍👦 👍🏽 🇫🇷 ❤️ 😀" * 50,
    "combining": "Z̷̢̛a̵̧͝l̸̨͠g̶̡͘o̷̧͝ e\u0301 n\u0303 " * 50 + "a" + "\u0301" * 500,
    "code": CODE * 10,
    "control": "a\x00b\x07c\x1b[31m d\x7fe \x85 f\u200bg\ufeffh \ud800 i\ufffd" * 40,
}
LONG_BLANK, LONG_WORD = " \u3000\t" * 1_000, "天地玄黃" * 1_000
GREEDY_WORDS = st.text(
    st.one_of(
        st.characters(codec=None, exclude_categories=()),
        st.sampled_from("\u0301\u0e33\u0e49\u093f\u0644\u05d0\t\n fjWÅ"),
        st.characters(min_codepoint=0x0250, max_codepoint=0x1FFF),
    ),
    max_size=200,
)


def without_space(text: str) -> str:
    return "".join(text.split())


def shown(text: str, style: TextStyle) -> str:
    return without_space("".join(page.text for page in layout_text(text, style)))


def drawn(text: str) -> str:
    """What is drawn of a text."""
    return without_space(composed(text))


@pytest.mark.parametrize("style", [PAPER, FIT], ids=["paper", "fit"])
@pytest.mark.parametrize("name", TEXTS)
def test_no_character_is_dropped(name: str, style: TextStyle) -> None:
    assert shown(TEXTS[name], style) == drawn(TEXTS[name])


def test_200_000_characters_without_a_space() -> None:
    text = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789+/", k=200_000))
    assert shown(text, PAPER) == text


NARROW = TextStyle(
    layout="fit", margin_px=0, page_width_px=60, page_height_px=60, fallback_fonts=(str(DEJAVU),), font_size_px=13
)
STYLES = [PAPER, FIT, NARROW, replace(NARROW, layout="paper", words_per_page=2)]
if features.check("raqm"):
    STYLES += [replace(style, layout_engine="raqm") for style in (FIT, NARROW)]


@settings(max_examples=100, deadline=None)
@given(text=GREEDY_WORDS, style=st.sampled_from(STYLES))
@example(text="¯00AOOO", style=NARROW)  # ink over the left edge is moved in, and must not leave on the right
def test_whatever_the_text_all_of_it_is_drawn_inside_the_page(text: str, style: TextStyle) -> None:
    try:
        pages = layout_text(text, style)
    except MediaError as error:
        assert error.what == "the text is empty" or "is wider than a line" in error.what
        return
    assert without_space("".join(page.text for page in pages)) == drawn(text)
    style = drawn_style(text, style)
    extents = typeface_of(style.layout_engine, style.font_size_px, font_chain(style)).extents
    for page in pages:
        for line in page.lines:
            for x, piece in line.pieces:
                _, _, left, top, right, bottom = extents[piece]
                assert x + left >= 0 and x + right <= style.page_width_px
                assert line.baseline_px + top >= 0 and line.baseline_px + bottom <= style.page_height_px
        assert render_page(page).shape == (style.page_height_px, style.page_width_px)


def ink_of_pieces(text: str, style: TextStyle) -> int:
    """Ink of all words, each drawn by itself with room around it."""
    roomy = replace(style, page_width_px=2048, page_height_px=512, margin_px=200, words_per_page=None)
    pieces = [piece for page in layout_text(text, style) for line in page.lines for _, piece in line.pieces]
    return sum(int((255 - render_text(piece, roomy)[0]).astype(np.int64).sum()) for piece in pieces)


@pytest.mark.parametrize("name", ["english", "url", "german", "code"])
@pytest.mark.parametrize(
    "style", [PAPER, FIT, replace(FIT, margin_px=0, font_size_px=33)], ids=["paper", "fit", "fit without margin"]
)
def test_no_ink_is_lost_at_the_edges(name: str, style: TextStyle) -> None:
    text = TEXTS[name][:1500]
    drawn = sum(int((255 - page).astype(np.int64).sum()) for page in render_text(text, style))
    assert drawn == ink_of_pieces(text, style)


def test_margins_stay_white() -> None:
    for page in render_text(TEXTS["base64"], FIT):
        frame = page.copy()
        frame[20:-20, 20:-20] = 255
        assert (frame == 255).all()


@pytest.mark.parametrize("name", ["english", "url", "german", "code"])
@pytest.mark.parametrize("size", [12, 20, 31])
@pytest.mark.parametrize("colours", [(0, 255), (40, 200), (255, 0)])
def test_pixels_are_those_of_pillow(name: str, size: int, colours: tuple[int, int]) -> None:
    """Whole lines drawn by Pillow's basic layout at the lines' places."""
    style = replace(PAPER, font_size_px=size, text_grey=colours[0], background_grey=colours[1])
    font = ImageFont.truetype(str(SHIPPED_FONT), size, layout_engine=ImageFont.Layout.BASIC)
    for page in layout_text(TEXTS[name], style):
        expected = Image.new("L", (448, 448), colours[1])
        for line in page.lines:
            ImageDraw.Draw(expected).text((20, line.baseline_px), line.text, colours[0], font, anchor="ls")
        assert np.array_equal(render_page(page), np.asarray(expected))


@pytest.mark.parametrize(("name", "text", "style"), [("paper", ENGLISH * 3, PAPER), ("fit", CODE * 3, FIT)])
def test_golden_page(name: str, text: str, style: TextStyle) -> None:
    page = render_text(text, style)[0]
    assert np.array_equal(page, np.asarray(Image.open(GOLDEN / f"{name}.png")))


def test_a_stored_page_is_the_page(tmp_path: Path) -> None:
    page = render_text(ENGLISH, replace(PAPER, page_width_px=333))[0]
    (tmp_path / "page.png").write_bytes(encode_png(page))
    with Image.open(tmp_path / "page.png") as image:
        image.load()
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), page)


def test_paper_layout_has_115_words_a_page_centred_between_margins() -> None:
    words = [f"w{i}" for i in range(300)]
    pages = layout_text("  \n".join(words), PAPER)
    assert [len(page.text.split()) for page in pages] == [115, 115, 70]
    image = render_page(pages[2])
    rows = np.flatnonzero((image < 255).any(axis=1))
    assert abs((rows[0] + rows[-1]) / 2 - 224) < 6
    assert np.flatnonzero((image < 255).any(axis=0))[0] >= 20


def test_fit_layout_keeps_lines_and_indentation() -> None:
    (page,) = layout_text(CODE, FIT)
    assert page.text == CODE.rstrip("\n")
    left = {line.text.strip(): line.pieces[0][0] for line in page.lines if line.pieces}
    assert left["def f(x):"] < left["if x:"] == left["return [x,  x]"] == left["return None"]


def test_tabs_lead_to_common_columns() -> None:
    (page,) = layout_text("name\tsize\nx\t1\nlonger name\t22\tend", FIT)
    columns = [[x for x, _ in line.pieces] for line in page.lines]
    stop = 4 * 6
    assert all((x - 20) % stop == 0 for x in (columns[0][1], columns[1][1], columns[2][-1], columns[2][-2]))
    assert columns[1][1] == 20 + stop


def test_full_width_closing_punctuation_does_not_begin_a_line() -> None:
    text = "天地玄黃,宇宙洪荒。" * 60
    lines = [line.text for page in layout_text(text, PAPER) for line in page.lines]
    assert len(lines) > 20 and not any(line.startswith("。") for line in lines)


def test_fit_continues_a_wrapped_line_at_its_indentation() -> None:
    (page,) = layout_text("    " + "word " * 30, FIT)
    assert len(page.lines) > 1
    assert {line.pieces[0][0] for line in page.lines} == {20 + 4 * 6}


@pytest.mark.parametrize("style", [PAPER, FIT], ids=["paper", "fit"])
@pytest.mark.parametrize("text", ["", " \n\t ", "\u200b\u200d"])
def test_empty_text_is_an_error(text: str, style: TextStyle) -> None:
    for call in (layout_text, count_pages, render_text):
        with pytest.raises(MediaError, match="the text is empty; remove the record"):
            call(text, style)


@pytest.mark.parametrize("policy", ["uniform", "first"])
@pytest.mark.parametrize("order", ["as_is", "reversed", "shuffled"])
def test_order_and_number_of_pages(order: str, policy: str) -> None:
    text = " ".join(str(i) for i in range(115 * 20))
    every = layout_text(text, PAPER)
    style = replace(PAPER, page_order=order, page_policy=policy, max_pages=7)
    some = layout_text(text, style)
    positions = [every.index(page) for page in some]
    wanted = list(range(7)) if policy == "first" else [1, 4, 6, 9, 12, 15, 17]
    assert sorted(positions) == wanted
    assert count_pages(text, style) == 7
    assert {"as_is": positions == wanted, "reversed": positions == wanted[::-1]}.get(order, positions != wanted)
    assert layout_text(text, style) == some


def test_pages_are_shuffled_by_their_text() -> None:
    def order(text: str) -> list[int]:
        every = layout_text(text, PAPER)
        return [every.index(page) for page in layout_text(text, replace(PAPER, page_order="shuffled"))]

    orders = [order(" ".join(f"{name}{i}" for i in range(115 * 12))) for name in "ab"]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(orders[0])))
    assert orders[0] != orders[1]


def test_more_pages_than_allowed_is_an_error_unless_some_are_chosen() -> None:
    with pytest.raises(MediaError, match="the text has 3 pages, max_pages is 2"):
        count_pages("word " * 300, replace(PAPER, max_pages=2))


def test_characters_that_no_font_has_are_counted() -> None:
    assert missing_characters("aé 天地天 \u200b\ue000", PAPER) == {"天": 2, "地": 1, "\ue000": 1}
    first = replace(PAPER, max_pages=1, page_policy="first")
    assert missing_characters("天 " + "word " * 200 + "地", first) == {"天": 1}


def test_settings_out_of_range_are_named_all_together() -> None:
    with pytest.raises(ConfigError) as caught:
        TextStyle(layout="letter", words_per_page=0, margin_px=220, text_grey=255)
    with pytest.raises(ConfigError) as others:
        TextStyle(font_size_px=3, margin_px=-1, text_grey=256, page_height_px=9000, page_order="sorted")
    for message, names in (
        (caught.value, ("layout: 'letter'", "words_per_page: must be at least 1")),
        (
            others.value,
            (
                "font_size_px: must be at least 4",
                "margin_px: must not be",
                "text_grey: must lie between 0 and 255",
                "8192",
                "page_order: 'so",
            ),
        ),
    ):
        assert [name for name in names if name not in str(message)] == []
    with pytest.raises(
        ConfigError, match=r"page_width_px: must be at least 460 .*\n.*\ntext_grey: equals background_grey"
    ):
        TextStyle(margin_px=220, text_grey=255)


def test_a_joined_emoji_wider_than_a_line_is_broken() -> None:
    style = TextStyle(layout="fit", page_width_px=50, margin_px=0, fallback_fonts=())
    family = "👩\u200d👩\u200d👧\u200d👦"
    assert shown(family, style) == family
    assert sum(len(page.lines) for page in layout_text(family, style)) == 2


def test_memory_of_words_is_bounded() -> None:
    calls: list[int] = []
    memo: Memo[int, int] = Memo(lambda key: calls.append(key) or -key, most=3)
    assert [memo[key] for key in (1, 2, 3, 1, 4, 4, 1)] == [-1, -2, -3, -1, -4, -4, -1]
    assert calls == [1, 2, 3, 4, 1] and len(memo) == 2


def test_a_character_larger_than_the_page_is_an_error() -> None:
    style = TextStyle(font_size_px=100, margin_px=20, page_width_px=140, page_height_px=160, fallback_fonts=())
    assert len(render_text("WW", style)) == 2
    with pytest.raises(MediaError, match=r"character U\+01C4 is wider than a line; lower font_size_px"):
        render_text("Ǆ", style)
    with pytest.raises(MediaError, match=r"a line is .* px high, the page has room for 100; lower font_size_px"):
        render_text("W", replace(style, page_height_px=140, layout="fit"))


def test_blanks_at_the_end_of_a_line_leave_no_trace() -> None:
    lines = ["a  b", "", "  c"]
    plain, blank = ("".join(f"{line}{end}\n" for line in lines) for end in ("", LONG_BLANK))
    assert layout_text(blank, FIT) == layout_text(plain, FIT)


@pytest.mark.parametrize("style", [PAPER, FIT], ids=["paper", "fit"])
def test_a_word_of_many_lines_is_cut_as_its_end_would_be_alone(style: TextStyle) -> None:
    lines = [line.text for page in layout_text(LONG_WORD, style) for line in page.lines]
    assert "".join(lines) == LONG_WORD
    rest = [line.text for page in layout_text("".join(lines[-5:]), style) for line in page.lines]
    assert rest == lines[-5:]


def ink(text: str, style: TextStyle) -> np.ndarray:
    """Where a text of one page has ink: bool [height, width]."""
    (page,) = render_text(text, style)
    return page < 255


def test_lines_stand_where_their_alignment_puts_them() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    edges = {}
    for alignment in ("start", "center", "end", "justify"):
        style = replace(FIT, alignment=alignment)
        (page,) = layout_text(text, style)
        columns = [np.flatnonzero(ink(line.text, style).any(axis=0))[[0, -1]] for line in page.lines]
        edges[alignment] = (
            columns
            if alignment != "justify"
            else [np.flatnonzero(rows.any(axis=0))[[0, -1]] for rows in np.split(ink(text, style), [43], axis=0)]
        )
    assert all(left <= 22 for left, _ in edges["start"]) and all(right >= 426 for _, right in edges["end"])
    assert all(abs(left - (447 - right)) <= 3 for left, right in edges["center"])
    (first, last) = edges["justify"]
    assert first[0] <= 22 and first[1] >= 426, "a line is stretched"
    assert tuple(last) == tuple(edges["start"][1]), "the last one of a paragraph is not"


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow cannot load raqm")
@pytest.mark.parametrize("alignment", ["start", "center", "end", "justify"])
def test_lines_from_right_to_left_are_aligned_as_mirrored(alignment: str) -> None:
    style = replace(FIT, alignment=alignment, page_width_px=300, fallback_fonts=(str(DEJAVU),))
    (page,) = layout_text("כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם", style)
    top, bottom = (page.lines[i].baseline_px for i in (0, 1))
    columns = np.flatnonzero((render_page(page) < 255)[top - 12 : bottom - 18].any(axis=0))
    left, right = columns[[0, -1]]
    assert (right >= 276) == (alignment in ("start", "justify"))
    assert (left <= 24) == (alignment in ("end", "justify"))
    assert alignment != "center" or abs(left - (299 - right)) <= 4


def test_spacing_and_dpi() -> None:
    text = ENGLISH * 2
    (plain,), (wide,) = (layout_text(text, replace(FIT, line_spacing=spacing)) for spacing in (1.0, 1.5))
    steps = [np.diff([line.baseline_px for line in page.lines]) for page in (plain, wide)]
    assert set(steps[0]) == {24} and set(steps[1]) == {36}
    assert [line.text for line in plain.lines] == [line.text for line in wide.lines]
    (double,) = render_text(text, replace(FIT, dpi=144))
    assert double.shape == (896, 896)
    larger = replace(FIT, page_width_px=896, page_height_px=896, font_size_px=40, margin_px=40)
    assert np.array_equal(double, render_text(text, larger)[0])


def test_each_text_is_drawn_in_a_style_of_its_own_that_the_seed_and_it_alone_decide() -> None:
    augment = Augment(
        font_size_px=(16, 20), line_spacing=(1.0, 1.25), text_grey=(0, 60), font=(str(DEJAVU), str(SHIPPED_FONT))
    )
    style = replace(PAPER, augment=augment)
    texts = [f"text {i}" for i in range(200)]
    drawn = [drawn_style(text, style) for text in texts]
    for name, values in (("font_size_px", {16, 20}), ("line_spacing", {1.0, 1.25}), ("text_grey", {0, 60})):
        assert {getattr(each, name) for each in drawn} == values
    assert len(set(drawn)) == 16
    assert drawn == [drawn_style(text, style) for text in texts]
    other = replace(style, augment=replace(style.augment, seed=1))
    assert drawn != [drawn_style(text, other) for text in texts]
    assert np.array_equal(render_text("text 3", style)[0], render_text("text 3", drawn[3])[0])
    with pytest.raises(ConfigError, match=r"font_size_px.*must be at least 4, is 2"):
        Augment(font_size_px=(20, 2))
    with pytest.raises(ConfigError, match="text_grey: equals background_grey"):
        TextStyle(augment=Augment(background_grey=(255, 0)))
    with pytest.raises(ConfigError, match=r"page_width_px: must be at least 540"):
        TextStyle(augment=Augment(margin_px=(20, 260)))
    with pytest.raises(ConfigError, match=r"dpi: makes page_width_px 8960, it must be at most 8192"):
        TextStyle(page_width_px=4480, augment=Augment(dpi=(72, 144)))
