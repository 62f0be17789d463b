"""Questions of one's own: what a line of jsonl may hold beside its prompt."""

import json
from pathlib import Path

import pytest

from sparrow.core.errors import ConfigError, DataError
from sparrow.evaluation.formats import read_benchmark
from sparrow.evaluation.subtitles import Subtitle

LINE = {"question_id": 1, "video": "frames", "prompt": "What?\nA. x\nB. y", "GT": "B", "category": "c"}
MORE = {
    "start": 1.5,
    "end": 4,
    "fps": 3,
    "system": "Watch.",
    "reply_start": "Best option:(",
    "subtitles": [{"start": 0, "end": 2.5, "text": "Hello"}],
}


def write(tmp_path: Path, **changes: object) -> Path:
    (tmp_path / "q.jsonl").write_text(json.dumps(LINE | changes) + "\n")
    return tmp_path / "q.jsonl"


def test_a_line_may_hold_bounds_rate_subtitles_a_system_turn_and_the_start_of_the_reply(tmp_path: Path) -> None:
    (question,) = read_benchmark("multiple_choice", write(tmp_path, **MORE), benchmark="mine", subtitles="on")
    assert (question.start_s, question.end_s, question.fps) == (1.5, 4.0, 3.0)
    assert (question.system, question.reply_start) == ("Watch.", "Best option:(")
    assert question.subtitles == (Subtitle(0.0, 2.5, "Hello"),)
    (still,) = read_benchmark("multiple_choice", write(tmp_path, video=None, pictures=["a.png"]), benchmark="mine")
    assert still.media == ("a.png",)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"fps": 0}, "'fps' is 0, expected frames a second"),
        ({"system": 3}, "'system' is 3, expected text or null"),
        ({"subtitles": [{"start": 0, "text": "Hello"}]}, "'subtitles' is .*, expected a list of .*\"start\": 1.5"),
        ({"subtitles": "a.srt"}, "'subtitles' is 'a.srt', expected a list"),
        ({"pictures": "a.png"}, "'pictures' is 'a.png', expected a list of paths"),
    ],
)
def test_what_a_line_holds_wrongly_is_said_with_its_number(tmp_path: Path, changes: dict, what: str) -> None:
    with pytest.raises(DataError, match=f"line 1: {what}"):
        read_benchmark("multiple_choice", write(tmp_path, **changes), benchmark="mine")


def test_subtitles_that_no_line_holds_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no line of .*q\.jsonl has subtitles; set subtitles=off"):
        read_benchmark("multiple_choice", write(tmp_path), benchmark="mine", subtitles="on")
