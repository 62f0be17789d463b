"""Subtitles are parsed from three schemas and stand where the official code puts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparrow.core.errors import DataError
from sparrow.evaluation.subtitles import (
    Subtitle,
    interleave,
    parse_srt,
    parse_subtitles,
    subtitles_of_frames,
    with_subtitles,
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", []),
        ("1\n00:00:01,500 --> 00:00:02,000\nHello\n", [(1.5, 2.0, "Hello")]),
        ("\ufeff1\r\n00:00:01.5 --> 01:00:02\r\n<b>Hello</b>\r\n  you\r\n", [(1.5, 3602.0, "Hello you")]),
        (
            "1\n00:00:00,0 --> 00:00:01,0\nin 1984\n2\n00:00:01,0 --> 00:00:02,0\n42\n",
            [(0, 1, "in 1984"), (1, 2, "42")],
        ),
        ("00:00:00,0 --> 00:00:01,0 X1:5\na\n\nb\n\n00:00:01,0 --> 00:00:02,0\nc", [(0, 1, "a b"), (1, 2, "c")]),
        ("1\n00:00:00,0 --> 00:00:01,0\n{\\an8}<i> </i>\n\n2\n00:00:01,0 --> 00:00:02,0\n\n", []),
    ],
)
def test_srt_is_parsed(content: str, expected: list[tuple[float, float, str]]) -> None:
    assert parse_srt(content) == tuple(Subtitle(*values) for values in expected)


def test_srt_without_times_is_refused() -> None:
    with pytest.raises(DataError, match="line 2: no subtitle times in 'soon --> later'"):
        parse_srt("1\nsoon --> later\nHello")


def test_both_schemas_of_longvideobench_are_parsed() -> None:
    records = [
        {"timestamp": [10.0, 12.5], "text": "a"},
        {"timestamp": [13, None], "text": "b"},
        {"start": "00:00:15.500", "end": "01:00:00", "line": "c"},
    ]
    assert parse_subtitles(records, duration_s=60.0, starting_s=10.0) == (
        Subtitle(0.0, 2.5, "a"),
        Subtitle(3.0, 50.0, "b"),
        Subtitle(5.5, 3590.0, "c"),
    )


@pytest.mark.parametrize(
    "record",
    [
        {"timestamp": [1.0], "text": "a"},
        {"timestamp": [None, 2.0], "text": "a"},
        {"timestamp": [1.0, 2.0]},
        {"start": "0:1", "end": "0:0:2", "line": "a"},
        {"start": "0:0:1", "line": "a"},
        7,
    ],
)
def test_record_of_neither_schema_is_refused(record: object) -> None:
    with pytest.raises(DataError, match="subtitle 1: fits neither subtitle schema"):
        parse_subtitles([{"timestamp": [0.0, 1.0], "text": "a"}, record], duration_s=9, starting_s=0)


def test_subtitles_that_are_no_list_are_refused() -> None:
    with pytest.raises(DataError, match="expected a list of subtitles, found dict"):
        parse_subtitles({}, duration_s=9, starting_s=0)


def test_subtitles_of_sampled_frames_are_listed_once_each() -> None:
    subtitles = [Subtitle(4, 6, "late"), Subtitle(0, 2, "early"), Subtitle(2, 4, "between"), Subtitle(6, 7, "never")]
    assert subtitles_of_frames(subtitles, [0.0, 1.0, 2.0, 5.0]) == ["early", "between", "late"]
    assert subtitles_of_frames(subtitles, []) == []


def test_listed_subtitles_stand_before_the_prompt() -> None:
    assert with_subtitles("What?", ["one", "two"]) == "This video's subtitles are listed below:\none\ntwo\nWhat?"
    assert with_subtitles("What?", []) == "What?"


@pytest.mark.parametrize(
    ("subtitles", "expected"),
    [
        ([], [0, 1, 2, 3]),
        ([(1.0, 3.0, "a")], [0, 1, "a", 2, 3]),  # after the frames at or before 2.0
        ([(0.5, 1.9, "a")], [0, 1, 2, 3]),  # no frame strictly inside
        ([(2.0, 4.0, "a")], [0, 1, 2, 3]),  # frames at its ends are not inside
        ([(1.8, 2.1, "a")], [0, "a", 1, 2, 3]),  # inside as it is, after the frame at 0
        ([(2.2, 2.4, "a")], [0, 1, "a", 2, 3]),  # widened to 1.8 - 2.8
        ([(2.2, 3.2, "a")], [0, 1, 2, 3]),  # 1 s long: not widened
        ([(-9.0, 9.0, "a"), (5.0, 7.5, "b")], [0, "a", 1, 2, 3, "b"]),
        ([(5.0, 7.0, "b"), (-1.0, 1.0, "a")], [0, 1, 2, 3, "b", "a"]),  # given order is kept
    ],
)
def test_subtitles_stand_between_frames(subtitles: list[tuple[float, float, str]], expected: list[int | str]) -> None:
    assert interleave([Subtitle(*values) for values in subtitles], [0.0, 2.0, 4.0, 6.0]) == expected


times = st.floats(0, 100)


@given(st.lists(st.tuples(times, times, st.just("words"))), st.lists(times, unique=True).map(sorted))
def test_every_frame_stands_once_and_in_order(
    subtitles: list[tuple[float, float, str]], frame_times_s: list[float]
) -> None:
    ordered = interleave([Subtitle(*values) for values in subtitles], frame_times_s)
    assert [item for item in ordered if isinstance(item, int)] == list(range(len(frame_times_s)))


def test_entities_of_html_are_decoded() -> None:
    srt = "1\n00:00:00,000 --> 00:00:01,000\n<i>Tom &amp; Ann</i> &quot;sing&quot;\n"
    assert [subtitle.text for subtitle in parse_srt(srt)] == ['Tom & Ann "sing"']
    rows = [{"timestamp": [0, 1.0], "text": "Tom &amp; Ann"}, {"start": "0:0:1", "end": "0:0:2", "line": "it&#39;s"}]
    found = parse_subtitles(rows, duration_s=9.0, starting_s=0.0)
    assert [subtitle.text for subtitle in found] == ["Tom & Ann", "it's"]
