"""Every converter against a literal record and the literal samples that it must become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sparrow.core.samples import Image, LongText, Message, Part, Sample, Text, Video
from sparrow.data.converters import CONVERTERS, LeftOutError, Record, RecordError


def sample(id: str, *turns: list[Part] | str) -> Sample:
    """Lists are the user's turns, strings the assistant's."""
    return Sample(
        id,
        "test",
        tuple(
            Message("assistant", (Text(turn),)) if isinstance(turn, str) else Message("user", tuple(turn))
            for turn in turns
        ),
    )


def converted(name: str, record: dict[str, Any]) -> list[Sample]:
    read = Record(record, "file.json, line 1", "test")
    CONVERTERS[name].unknown_fields(read)
    return [Sample(chat.id or "none", "test", chat.messages) for chat in CONVERTERS[name].read(read)]


CASES: dict[str, tuple[dict[str, Any], list[Sample]]] = {
    "alpaca": (
        {"instruction": "Name the colour.", "input": "grass", "output": "Green."},
        [sample("none", [Text("Name the colour.\n\ngrass")], "Green.")],
    ),
    "booksum": (
        {
            "prompt": "Q: asked the fox.\nA: said the hen.\n\nQ: Can you summarize this?\nA:",
            "completion": " They talk. \n",
        },
        [
            sample(
                "none",
                [LongText("Q: asked the fox.\nA: said the hen."), Text("Can you summarize this?")],
                "They talk.",
            )
        ],
    ),
    "context_qa": (
        {"id": "tale-1", "context": "Once.\n\n  Question: who?\n", "question": "Who?", "answer": "Nobody"},
        [sample("tale-1", [LongText("Once.\n\n  Question: who?"), Text("Who?")], "Nobody")],
    ),
    "llava": (
        {
            "id": 7,
            "video": "a/b.mp4",
            "conversations": [
                {"from": "human", "value": "<video>\nWhat happens?"},
                {"from": "gpt", "value": "It rains."},
                {"from": "human", "value": "And then?"},
                {"from": "gpt", "value": "It stops."},
            ],
        },
        [sample("7", [Video("a/b.mp4"), Text("What happens?")], "It rains.", [Text("And then?")], "It stops.")],
    ),
    "long_nq": (
        {
            "prompt": "Use the documents.\n\nDocument [1] Question: is it art? Yes.\n\nQuestion: who sang it in Rome\n",
            "completion": "Answer: Ann Lee\nLong Answer: Ann Lee sang.\nGold Document ID: 1",
        },
        [
            sample(
                "none",
                [
                    LongText("Use the documents.\n\nDocument [1] Question: is it art? Yes."),
                    Text("Who sang it in Rome?\nAnswer the question in short and give the corresponding document ID."),
                ],
                "Ann Lee\nDocument ID: 1",
            )
        ],
    ),
    "longalpaca": (
        {
            "instruction": "Below is a paper. Memorize the paper and answer my question after the paper.\n"
            ' The paper begins. \nA study.\nQuestion: why? "Now the paper ends." they wrote.\n'
            " Now the paper ends. \nWhat is studied?",
            "output": "Nothing.",
        },
        [
            sample(
                "none",
                [LongText('A study.\nQuestion: why? "Now the paper ends." they wrote.'), Text("What is studied?")],
                "Nothing.",
            )
        ],
    ),
    "longqlora": (
        {"input": "A long chapter.\n\nQ: Can you write a summary?\nA:", "output": "Short."},
        [sample("none", [LongText("A long chapter."), Text("Can you write a summary?")], "Short.")],
    ),
    "messages": (
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "<image>Compare with <image>."},
                {"role": "assistant", "content": "Equal."},
            ],
            "images": ["1.jpg", "2.jpg"],
        },
        [
            Sample(
                "none",
                "test",
                (
                    Message("system", (Text("Be brief."),)),
                    Message("user", (Image("1.jpg"), Text("Compare with "), Image("2.jpg"), Text("."))),
                    Message("assistant", (Text("Equal."),)),
                ),
            )
        ],
    ),
    "minicpmv": (
        {
            "id": "0",
            "image": {"<image_00>": "a.jpg", "<image_01>": "b.jpg"},
            "conversations": [
                {"role": "user", "content": "What differs?\n<image_01>\n<image_00>\n"},
                {"role": "assistant", "content": "The sky."},
            ],
        },
        [sample("0", [Text("What differs?"), Image("b.jpg"), Image("a.jpg")], "The sky.")],
    ),
    "qmsum": (
        {
            "general_query_list": [{"query": "Summarize.", "answer": "They met."}],
            "specific_query_list": [{"query": "Who spoke?", "answer": "Ann.", "relevant_text_span": [["0", "1"]]}],
            "meeting_transcripts": [{"speaker": "Ann", "content": "Hello ."}, {"speaker": "Bo", "content": "Hi ."}],
        },
        [
            sample("none", [LongText("Ann: Hello .\nBo: Hi ."), Text("Summarize.")], "They met."),
            sample("none", [LongText("Ann: Hello .\nBo: Hi ."), Text("Who spoke?")], "Ann."),
        ],
    ),
    "sharegemini": (
        {
            "video": "001.mp4",
            "conversations": [
                {"from": "human", "value": "Describe it.\n<video>"},
                {"from": "gpt", "value": "A dog runs."},
            ],
        },
        [sample("none", [Text("Describe it."), Video("001.mp4")], "A dog runs.")],
    ),
    "videochatgpt": (
        {"q": "What is shown?", "a": "A boat.", "video_id": "v_k_ZXmr8pmrs"},
        [sample("none", [Video("v_k_ZXmr8pmrs.mp4"), Text("What is shown?")], "A boat.")],
    ),
}


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_literal_record_becomes_the_literal_samples(name: str) -> None:
    record, expected = CASES[name]
    assert converted(name, record) == expected


def llava(question: str, **fields: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "Yes."}]
    return {"conversations": turns, **fields}


def book(text: str) -> str:
    head = (
        "Below is some paragraphs in the book, A. B. See. Memorize the content and answer my question after the book."
    )
    return f"{head}\n{text}\n Now the material ends. Who?"


@pytest.mark.parametrize(
    ("name", "record", "parts"),
    [
        ("llava", llava("Is it?", video="a.mp4"), [Video("a.mp4"), Text("Is it?")]),
        ("llava", llava("<image>\nIs it?", video="a.mp4"), [Video("a.mp4"), Text("Is it?")]),
        ("llava", llava("<video>Is it?", video="frames/7", fps=3, start=1.5, end="2"),
         [Video("frames/7", start_s=1.5, end_s=2.0, fps=3.0), Text("Is it?")]),
        ("llava", llava("<image>\n<image>\nSame?", image=["a.png", "b.png"]),
         [Image("a.png"), Image("b.png"), Text("Same?")]),
        ("llava", llava("<image> then <video>", images=["a.png"], videos=["b.mp4"]),
         [Image("a.png"), Text(" then "), Video("b.mp4")]),
        ("llava", llava("Is it?"), [Text("Is it?")]),
        ("llava", llava("<image>Is it?", image={"path": "a.png", "bytes": None}), [Image("a.png"), Text("Is it?")]),
        ("llava", llava("<image>Is it?", image="file:///data/a.png"), [Image("/data/a.png"), Text("Is it?")]),
        ("videochatgpt", llava("<video>\nIs it?", video="v_1.mp4"), [Video("v_1.mp4"), Text("Is it?")]),
        ("videochatgpt", {"q": "Is it?", "a": "Yes.", "video_id": "v_1.mkv"}, [Video("v_1.mkv"), Text("Is it?")]),
        ("minicpmv",
         {"image": {"<image_00>": "a.jpg"},
          "conversations": [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes."}]},
         [Image("a.jpg"), Text("Is it?")]),
        ("minicpmv",
         {"image": "a.jpg",
          "conversations": [{"role": "user", "content": "<image>\nIs it?"}, {"role": "assistant", "content": "Yes."}]},
         [Image("a.jpg"), Text("Is it?")]),
        ("messages",
         {"messages": [
             {"role": "user", "content": [
                 {"type": "text", "text": "Is it "},
                 {"type": "image_url", "value": "a.jpg"},
                 {"type": "image"},
                 {"type": "video", "video": "c.mp4", "video_start": 2, "video_end": 5.5}]},
             {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}],
          "images": ["b.jpg"]},
         [Text("Is it"), Image("a.jpg"), Image("b.jpg"), Video("c.mp4", 2.0, 5.5)]),
        ("messages",
         {"messages": [
             {"role": "user", "content": [
                 {"type": "long_text", "text": "A tale.\nThe end."}, {"type": "text", "text": "Is it?"}]},
             {"role": "assistant", "content": "Yes."}]},
         [LongText("A tale.\nThe end."), Text("Is it?")]),
        ("messages",
         {"messages": [{"role": "user", "content": "<video>Is it?"}, {"role": "assistant", "content": "Yes."}],
          "videos": '["a.mp4"]'},
         [Video("a.mp4"), Text("Is it?")]),
        ("messages",
         {"messages": [{"role": "user", "content": "<video>Is it?"}, {"role": "assistant", "content": "Yes."}],
          "video": "[2020] day.mp4"},
         [Video("[2020] day.mp4"), Text("Is it?")]),
        ("messages",  # templates put text parts together as they are
         {"messages": [
             {"role": "user", "content": [
                 {"type": "text", "text": " What "}, {"type": "text", "text": "is it "}, {"type": "video"},
                 {"type": "text", "text": "\nnow"}, {"type": "text", "text": "?"}]},
             {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}],
          "video": "a.mp4"},
         [Text("What is it"), Video("a.mp4"), Text("now?")]),
        ("llava", llava("<video>Is it?", video="a.webp"), [Video("a.webp"), Text("Is it?")]),
        ("minicpmv",
         {"video": "a.mp4",
          "conversations": [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes."}]},
         [Video("a.mp4"), Text("Is it?")]),
        ("minicpmv",
         {"video": "a.mp4", "image": {"<image_00>": "b.jpg"},
          "conversations": [{"role": "user", "content": "<video>Is <image_00> in it?"},
                            {"role": "assistant", "content": "Yes."}]},
         [Video("a.mp4"), Text("Is "), Image("b.jpg"), Text(" in it?")]),
        ("longalpaca", {"instruction": book("Q: x\nA: y"), "output": "Ann"}, [LongText("Q: x\nA: y"), Text("Who?")]),
        ("longalpaca",
         {"instruction": "Below is a paper. Memorize the material and answer my question after the paper.\n"
                         " Text. \n Now the material ends. Who?", "output": "Ann"},
         [LongText("Text."), Text("Who?")]),
        ("longalpaca",
         {"instruction": "There are two papers. Memorize them and answer my question after the paper.\n"
                         " The first paper begins. \n One. \n Now the first paper ends. \n The second paper begins. \n"
                         " Two. \n Now the second paper ends. Which?", "output": "One"},
         [LongText("One. \n Now the first paper ends. \n The second paper begins. \n Two."), Text("Which?")]),
        ("longqlora", {"input": book("Text."), "output": "Ann"}, [LongText("Text."), Text("Who?")]),
        ("longqlora",
         {"input": "Docs.\n\nQuestion: who won?\nAnswer:",
          "output": "Answer: Ann\nLong Answer: Ann won.\nGold Document ID: 3"},
         [LongText("Docs."),
          Text("Who won?\nAnswer the question in short and give the corresponding document ID.")]),
        ("llava", llava("<video>Is it?", video="a.mp4", start_time=1.5, end_time=2),
         [Video("a.mp4", 1.5, 2.0), Text("Is it?")]),
        ("llava", llava("<video>Is it?", video="a.mp4", video_start=0, video_end=2),
         [Video("a.mp4", 0.0, 2.0), Text("Is it?")]),
        ("llava", llava("<image>\n<image>\n<image>\nIs it?", video="a.mp4"), [Video("a.mp4"), Text("Is it?")]),
        ("llava", llava("<image>\n<image>\nSame?", videos=["a.mp4", "b.mp4"]),
         [Video("a.mp4"), Video("b.mp4"), Text("Same?")]),
        ("llava", llava("<video>Is it?", videos=[["1.jpg", {"path": "2.jpg"}]], fps=2),
         [Video("1.jpg\n2.jpg", fps=2.0), Text("Is it?")]),
        ("llava", llava("<video>Is it?", video=["1.jpg", "2.jpg"]), [Video("1.jpg\n2.jpg"), Text("Is it?")]),
        ("messages",
         {"messages": [{"role": "USER", "content": "Is it?"}, {"role": "Assistant", "content": "Yes."}]},
         [Text("Is it?")]),
        ("messages",
         {"messages": [
             {"role": "user", "content": [
                 {"type": "video", "video": ["1.jpg", "2.jpg"], "fps": 1}, {"type": "text", "text": "Is it?"}]},
             {"role": "assistant", "content": "Yes."}]},
         [Video("1.jpg\n2.jpg", fps=1.0), Text("Is it?")]),
        ("videochatgpt", {"q": "Is it?", "a": "Yes.", "video_id": "v", "start": 2},
         [Video("v.mp4", 2.0), Text("Is it?")]),
        ("booksum", {"prompt": "Q: a\nA: b\n\nQ: What\nof it?\nA: \n\n", "completion": "Short."},
         [LongText("Q: a\nA: b"), Text("What\nof it?")]),
    ],
)  # fmt: skip
def test_forms_of_the_schemas(name: str, record: dict[str, Any], parts: list[Part]) -> None:
    (one,) = converted(name, record)
    assert list(one.messages[-2].parts) == parts


@pytest.mark.parametrize("content", ["Is it?", [{"type": "text", "text": "Is it?"}]])
def test_a_system_turn_without_words_is_none(content: Any) -> None:
    turns = [
        {"role": "system", "content": ""},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "Yes."},
    ]
    assert converted("messages", {"messages": turns}) == [sample("none", [Text("Is it?")], "Yes.")]


@pytest.mark.parametrize(
    "mark",
    [{"loss": False}, {"weight": 0}, {"loss_weight": 0.0}, {"train": False}, {"training": False}, {"loss_scale": 0.0}],
)
@pytest.mark.parametrize("typed", [False, True])
def test_a_turn_that_is_marked_so_is_not_learnt(mark: dict[str, Any], typed: bool) -> None:
    def said(text: str) -> Any:
        return [{"type": "text", "text": text}] if typed else text

    turns = [
        {"role": "user", "content": said("Is it?"), **mark},
        {"role": "assistant", "content": said("No."), **mark},
        {"role": "user", "content": said("Sure?")},
        {"role": "assistant", "content": said("Yes."), **dict.fromkeys(mark, 1)},
    ]
    (one,) = converted("messages", {"messages": turns})
    assert [(turn.parts, turn.supervised) for turn in one.messages if turn.role == "assistant"] == [
        ((Text("No."),), False),
        ((Text("Yes."),), True),
    ]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("llava", llava("Is it?", system_prompt="Be brief.")),
        ("alpaca", {"instruction": "Is it?", "output": "Yes.", "system": "Be brief."}),
        ("videochatgpt", {"q": "Is it?", "a": "Yes.", "video_id": "v", "system": "Be brief."}),
        ("messages", {"messages": [
            {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Is it?"},
            {"role": "assistant", "content": "Yes."}]}),
        ("messages", {"system_prompt": "Be brief.", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Is it?"}]}, {"role": "assistant", "content": "Yes."}]}),
    ],
)  # fmt: skip
def test_the_system_turn_of_a_field_comes_first(name: str, record: dict[str, Any]) -> None:
    (one,) = converted(name, record)
    assert one.messages[0] == Message("system", (Text("Be brief."),))


def test_fields_that_are_not_known_are_named_with_their_path() -> None:
    record = {
        "id": 1,
        "note": "x",
        "image": {"path": "a.png", "height": 3},
        "gone": None,
        "none": [],
        "tools": "[]",
        "__index_level_0__": 7,
        "Unnamed: 0": "seven",
    }
    turns = [{"from": "human", "value": "a", "emotion": "glad"}, {"from": "gpt", "value": "b", "emotion": "sad"}]
    named = ["Unnamed: 0", "conversations[].emotion", "image[].height", "note"]
    assert CONVERTERS["llava"].unknown_fields(Record(record | {"conversations": turns})) == named
    in_a_cell = record | {"conversations": json.dumps(turns)}
    assert CONVERTERS["llava"].unknown_fields(Record(in_a_cell)) == named


@pytest.mark.parametrize("name", CONVERTERS)
def test_the_fields_of_a_schema_are_known(name: str) -> None:
    assert CONVERTERS[name].unknown_fields(Record(CASES[name][0])) == []


@pytest.mark.parametrize("name", CONVERTERS)
@pytest.mark.parametrize("field", ["image", "images", "video", "videos", "audio", "audios"])
def test_no_media_of_a_record_are_left_unseen(name: str, field: str) -> None:
    """They are shown, or the record is refused: nothing is learnt about what is not shown."""
    record = {key: value for key, value in CASES[name][0].items() if not key.startswith(("image", "video"))} | (
        {"video_id": "v"} if name == "videochatgpt" else {}
    )
    path = f"shown.{'wav' if field.startswith('audio') else 'mp4' if field.startswith('video') else 'png'}"
    record[field] = [path]
    try:
        (one, *_) = converted(name, record)
    except RecordError as error:
        assert error.remedy
        return
    assert path in [part.path for part in one.parts() if isinstance(part, (Image, Video))]


def test_seed_tasks_of_alpaca_give_a_sample_an_instance() -> None:
    record = {
        "id": "seed_1",
        "instruction": "Classify.",
        "instances": [{"input": "red", "output": "colour"}, {"input": "", "output": "none"}],
    }
    assert converted("alpaca", record) == [
        sample("seed_1.1", [Text("Classify.\n\nred")], "colour"),
        sample("seed_1.2", [Text("Classify.")], "none"),
    ]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("longalpaca", {"instruction": "Name three fruits.", "output": "Apple, pear, plum."}),
        ("longqlora", {"input": "Write a poem.", "output": "Roses."}),
    ],
)
def test_short_instructions_of_long_sources_are_left_out(name: str, record: dict[str, Any]) -> None:
    with pytest.raises(LeftOutError):
        converted(name, record)


def test_many_marks_in_a_text_take_no_more_time_each() -> None:
    """These took minutes where every mark was tried with every other."""
    with pytest.raises(LeftOutError):
        converted("longqlora", {"input": "Q: What is it?\nIt is so.\n" * 50_000 + "Summarize.", "output": "x"})
    answer = "Answer: Ann\nLong Answer: Ann did.\nGold Document ID: 1"
    (one,) = converted("long_nq", {"prompt": f"Docs.\nQuestion: who{' ' * 200_000}did", "completion": answer})
    assert one.parts()[0] == LongText("Docs.")
    cut = "Answer: Ann\n" + "Long Answer: Ann did.\n" * 50_000
    with pytest.raises(RecordError, match="the completion lacks 'Answer: '"):
        converted("long_nq", {"prompt": "Docs.\nQuestion: who", "completion": cut})
    (one,) = converted("long_nq", {"prompt": "Docs.\nQuestion: who", "completion": f"{cut}Gold Document ID: 1\n"})
    assert one.messages[-1].parts == (Text("Ann\nDocument ID: 1"),)


def test_an_error_names_source_place_field_and_remedy() -> None:
    with pytest.raises(RecordError) as caught:
        converted("llava", {"video": "a.mp4"})
    assert str(caught.value) == (
        "source 'test', file.json, line 1: field 'conversations' is missing; "
        "add it, or choose the converter of this schema (fields of the record: 'video')"
    )
