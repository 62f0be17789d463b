import pytest

from sparrow.core.errors import DataError
from sparrow.core.samples import Image, LongText, Message, Sample, Text, Video


def chat(*turns):
    return tuple(Message(role, parts) for role, parts in turns)


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ((), "no user turn"),
        (chat(("assistant", (Text("hi"),))), "expected 'user'"),
        (chat(("user", (Text("a"),)), ("user", (Text("b"),))), "expected 'assistant'"),
        (chat(("user", (Text("a"),)), ("assistant", (Image("x.png"),))), "holds media"),
        (chat(("user", (Text("a"),)), ("assistant", (Text("  "),))), "empty"),
        (chat(("user", (LongText(" "), Text("q")))), "empty"),
        (chat(("user", (Video(""),))), "empty"),
        (chat(("user", ())), "no parts"),
        (chat(("user", (Text("a"),)), ("system", (Text("late"),))), "system turn"),
    ],
)
def test_what_is_no_chat_is_refused_with_source_and_id(messages, what):
    with pytest.raises(DataError, match=what) as caught:
        Sample("s-7", "clips", messages)
    assert "source 'clips', sample 's-7'" in str(caught.value)


def test_a_prompt_ends_with_the_user():
    assert Sample("q", "bench", chat(("user", (Text("What?"),)))).is_prompt
