"""Broken records and files: each gives the named error, or is rejected and counted, and changes nothing beside it."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from sparrow.core.errors import DataError
from sparrow.data.batching import StepDataset
from sparrow.data.mixture import Selection
from sparrow.data.plan_builder import build_plan
from sparrow.data.settings import Batching, Source
from sparrow.data.sources import SourceData, load_source
from sparrow.planning.run_inputs import Prepared, prepare
from tests.media.video_clips import write_clip

ASK = {"from": "human", "value": "What?"}
TELL = {"from": "gpt", "value": "That."}
SHOW = {"from": "human", "value": "<video>\nWhat?"}
BOOK = "Below is some paragraphs in the book, A. Memorize the content and answer my question after the book.\n"
NQ = "Docs.\n\nQuestion: who\n"
NQ_ANSWER = "Answer: Ann\nLong Answer: Ann did.\nGold Document ID: 1"
LONG_NQ = f"{'word ' * 3000}\n\nQuestion: who\n"

GOOD: dict[str, list[Any]] = {
    "alpaca": [{"instruction": f"Say {n}.", "output": n} for n in ("one", "two")],
    "booksum": [{"prompt": f"{'word ' * 3000}\nQ: {n}?\nA:", "completion": n} for n in ("one", "two")],
    "context_qa": [{"id": n, "context": n, "question": n, "answer": n} for n in ("one", "two")],
    "llava": [{"id": n, "video": f"{n}.mp4", "conversations": [SHOW, TELL]} for n in ("one", "two")],
    "long_nq": [{"prompt": LONG_NQ, "completion": NQ_ANSWER.replace("Ann", n)} for n in ("one", "two")],
    "longalpaca": [{"instruction": f"{BOOK}{n}\n Now the material ends. Who?", "output": n} for n in ("one", "two")],
    "longqlora": [{"input": f"{n}\nQ: Who?\nA:", "output": n} for n in ("one", "two")],
    "messages": [{"messages": [{"role": "user", "content": n}, {"role": "assistant", "content": n}]} for n in "ab"],
    "minicpmv": [
        {"conversations": [{"role": "user", "content": n}, {"role": "assistant", "content": n}]} for n in "ab"
    ],
    "qmsum": [
        {
            "meeting_transcripts": [{"speaker": "A", "content": n}],
            "specific_query_list": [{"query": "Who?", "answer": n}],
        }
        for n in "ab"
    ],
    "videochatgpt": [{"q": n, "a": n, "video_id": n} for n in ("one", "two")],
}


def typed(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}, {"role": "assistant", "content": "Yes."}]}


PLAIN = typed({"type": "text", "text": "a"})


def numbered(content: str, **image: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "Yes."}]
    return {"image": {f"<{name}>": path for name, path in image.items()}, "conversations": turns}


# converter, the broken record (its JSON text where a string), what the error says
BAD_RECORDS: dict[str, tuple[str, Any, str]] = {
    "line is cut off": ("llava", '{"id": "x", "vid', "the line is not JSON: Unterminated string"),
    "line is two objects": ("llava", "{} {}", "the line is not JSON: Extra data"),
    "line is single-quoted": ("llava", "{'id': 1}", "the line is not JSON"),
    "line has a raw control character": ("llava", '{"id": "a\x01b"}', "the line is not JSON: Invalid control char"),
    "number of 5,000 digits": ("llava", '{"id": ' + "9" * 5000 + "}", "the line is not JSON"),
    "nesting of 100,000 levels": ("llava", "[" * 100_000, "the line is not JSON"),
    "record is a list": ("llava", ["a"], "the record is a list, expected an object"),
    "record is null": ("llava", "null", "the record is null, expected an object"),
    "record is text": ("llava", '"a"', "the record is text, expected an object"),
    "record is empty": ("llava", {}, "field 'conversations' is missing"),
    "no conversations": ("llava", {"video": "a.mp4"}, "field 'conversations' is missing"),
    "conversations null": ("llava", {"conversations": None}, "field 'conversations' is missing"),
    "conversations empty": ("llava", {"conversations": []}, "field 'conversations' is empty"),
    "conversations an object": ("llava", {"conversations": {"a": 1}}, "field 'conversations' is an object"),
    "turn is text": ("llava", {"conversations": ["What?", "That."]}, "a turn of 'conversations' has no text"),
    "turn without value": ("llava", {"conversations": [{"from": "human"}]}, "has no text in 'value'"),
    "value a number": ("llava", {"conversations": [{"from": "human", "value": 3}]}, "has no text in 'value'"),
    "unknown speaker": ("llava", {"conversations": [{"from": "bot", "value": "a"}]}, "a turn is spoken by 'bot'"),
    "no speaker": ("llava", {"conversations": [{"value": "a"}]}, "a turn is spoken by None"),
    "answer first": ("llava", {"conversations": [TELL, ASK]}, "turn 1 is 'assistant', expected 'user'"),
    "two questions": ("llava", {"conversations": [ASK, ASK, TELL]}, "turn 2 is 'user', expected 'assistant'"),
    "late system turn": ("llava", {"conversations": [ASK, {"from": "system", "value": "x"}]}, "a system turn stands"),
    "no answer": ("llava", {"conversations": [ASK]}, "the last question has no answer"),
    "last question open": ("llava", {"conversations": [ASK, TELL, ASK]}, "the last question has no answer"),
    "blank answer": (
        "llava",
        {"conversations": [ASK, {"from": "gpt", "value": " \n"}]},
        "of the assistant turn is empty",
    ),
    "blank question": (
        "llava",
        {"conversations": [{"from": "human", "value": " "}, TELL]},
        "the user turn has no parts",
    ),
    "placeholder, no video": ("llava", {"conversations": [SHOW, TELL]}, "more <video> placeholders than videos (0)"),
    "two placeholders, one video": (
        "llava",
        {"video": "a.mp4", "conversations": [{"from": "human", "value": "<video><video>"}, TELL]},
        "more <video> placeholders than videos (1)",
    ),
    "two images, one placeholder": (
        "llava",
        {"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "<image>?"}, TELL]},
        "1 of 2 images have no <image> placeholder",
    ),
    "placeholder in an answer": (
        "llava",
        {"video": "a.mp4", "conversations": [SHOW, {"from": "gpt", "value": "See <video>"}]},
        "a turn of the assistant holds a media placeholder",
    ),
    "video and videos": ("llava", {"video": "a", "videos": ["b"], "conversations": [SHOW, TELL]}, "both 'video' and"),
    "video a number": ("llava", {"video": 3, "conversations": [SHOW, TELL]}, "field 'video' is a number, expected a"),
    "video blank": ("llava", {"video": " ", "conversations": [SHOW, TELL]}, "field 'video' is text, expected a path"),
    "video an address": (
        "llava",
        {"video": "https://x/a.mp4", "conversations": [SHOW, TELL]},
        "field 'video' holds an address",
    ),
    "image as base64": (
        "llava",
        {"image": "data:image/png;base64,AA", "conversations": [ASK, TELL]},
        "field 'image' holds an address",
    ),
    "videos a list of frames": (
        "llava",
        {"videos": ["1.jpg", "2.jpg"], "conversations": [SHOW, TELL]},
        "field 'videos' names a picture",
    ),
    "start of 400 digits": (
        "llava",
        {"video": "a", "start": 10**400, "conversations": [SHOW, TELL]},
        "field 'start' is 100000000000000000...0000000000000000000, expected a number",
    ),
    "conversations a text of 100,000 levels": (
        "llava",
        {"conversations": "[" * 100_000},
        "field 'conversations' is text, expected a list",
    ),
    "start negative": ("llava", {"video": "a", "start": -1, "conversations": [SHOW, TELL]}, "field 'start' is -1"),
    "end not a number": (
        "llava",
        {"video": "a", "end": "soon", "conversations": [SHOW, TELL]},
        "field 'end' is 'soon'",
    ),
    "fps infinite": ("llava", '{"video": "a", "fps": Infinity, "conversations": []}', "field 'conversations' is empty"),
    "bounds of two videos": (
        "llava",
        {"videos": ["a", "b"], "end": 2, "conversations": [SHOW, TELL]},
        "'start', 'end' or 'fps' with 2 videos",
    ),
    "no video_id": ("videochatgpt", {"q": "What?", "a": "That."}, "field 'video_id' is missing"),
    "no answer field": ("videochatgpt", {"q": "What?", "video_id": "v"}, "field 'a' is missing"),
    "question null": ("videochatgpt", {"q": None, "a": "x", "video_id": "v"}, "field 'q' is missing"),
    "question a list": ("videochatgpt", {"q": ["a"], "a": "x", "video_id": "v"}, "field 'q' is a list, expected text"),
    "question blank": ("videochatgpt", {"q": " ", "a": "x", "video_id": "v"}, "field 'q' is empty"),
    "sound": ("llava", {"audio": "a.wav", "conversations": [ASK, TELL]}, "field 'audio' holds sound, which no model"),
    "placeholder of sound": (
        "llava",
        {"conversations": [{"from": "human", "value": "<audio>What is said?"}, TELL]},
        "a user turn holds <audio>, sound that no",
    ),
    "image that is not read": (
        "alpaca",
        {"instruction": "x", "output": "y", "image": "a.png"},
        "field 'image' is not read by this converter",
    ),
    "image key not named": (
        "minicpmv",
        numbered("<image_01>", image_00="a.jpg"),
        "the turns mention <image_01>, which 'image' does not name",
    ),
    "image key not used": (
        "minicpmv",
        numbered("<image_00>", image_00="a.jpg", image_01="b.jpg"),
        "no turn mentions the image <image_01>",
    ),
    "image key without a path": ("minicpmv", numbered("<image_00>", image_00=""), "field '<image_00>' is text"),
    "message is text": ("messages", {"messages": ["hello"]}, "a message is text"),
    "message of a tool": ("messages", {"messages": [{"role": "tool", "content": "x"}]}, "a turn is spoken by 'tool'"),
    "content a number": (
        "messages",
        {"messages": [{"role": "user", "content": 1}]},
        "content of a user message is a n",
    ),
    "part of unknown type": (
        "messages",
        typed({"type": "audio", "audio": "a.wav"}),
        "field 'messages[].content[].audio' holds sound",
    ),
    "half of a character in JSON of a cell": (
        "messages",
        {
            "messages": json.dumps(
                [{"role": "user", "content": "Is it \ud83d?"}, {"role": "assistant", "content": "\0"}]
            )
        },
        "field 'messages' is JSON that holds 2 NULs or halves of surrogate pairs",
    ),
    "part is text": ("messages", typed("hello"), "a part of a user message is text"),
    "repeated key": ("llava", '{"id": 1, "id": 2}', "the key 'id' stands twice in an object"),
    "repeated key in a turn": (
        "llava",
        '{"conversations": [{"from": "human", "value": "a", "value": "b"}]}',
        "the key 'value' stands twice",
    ),
    "repeated key in JSON of a cell": (
        "llava",
        {"conversations": '[{"from": "human", "from": "gpt", "value": "a"}]'},
        "field 'conversations' is JSON in which the key 'from' stands twice",
    ),
    "half a turn to be learnt": (
        "llava",
        {"conversations": [ASK, TELL | {"weight": 0.5}]},
        "'weight' of a turn is 0.5",
    ),
    "marks that disagree": (
        "llava",
        {"conversations": [ASK, TELL | {"loss": True, "train": False}]},
        "'train' of a turn is False",
    ),
    "question to be learnt": ("llava", {"conversations": [ASK | {"loss": True}, TELL]}, "only answers are learnt"),
    "record not to be learnt": ("llava", {"conversations": [ASK, TELL], "weight": 0}, "field 'weight' is 0: it is not"),
    "preference": ("messages", {**PLAIN, "rejected": "No."}, "field 'rejected' holds a preference"),
    "preference of ms-swift": (
        "messages",
        {**PLAIN, "rejected_response": "No."},
        "field 'rejected_response' holds a preference",
    ),
    "undesired answer": ("messages", {**PLAIN, "label": False}, "field 'label' is False: it is not to be learnt"),
    "undesired answer of LLaMA-Factory": (
        "alpaca",
        {"instruction": "x", "output": "y", "kto_tag": False},
        "field 'kto_tag' is False",
    ),
    "undesired answer in CSV": (
        "alpaca",
        {"instruction": "x", "output": "y", "label": "False"},
        "field 'label' is Fal",
    ),
    "record not to be learnt in CSV": (
        "alpaca",
        {"instruction": "x", "output": "y", "weight": "0.0"},
        "'weight' is 0.0",
    ),
    "half a turn to be learnt, by its letters": (
        "messages",
        {"messages": [PLAIN["messages"][0], {**PLAIN["messages"][1], "train_detail": [{"end_offset": 2}]}]},
        "field 'messages[].train_detail' says which parts of a turn are learnt",
    ),
    "placeholder with a number": (
        "llava",
        {"images": ["a.png"], "conversations": [{"from": "human", "value": "See <image_1>?"}, TELL]},
        "a user turn holds <image_1>, a placeholder that is not read",
    ),
    "path between tags": (
        "messages",
        {"messages": [{"role": "user", "content": "<img>a.png</img>?"}, PLAIN["messages"][1]]},
        "a user turn holds <img>, a placeholder",
    ),
    "two things in a part": (
        "messages",
        typed({"type": "image", "image": "a.png", "text": "What?"}),
        "a part of type image holds 'text' and 'image'",
    ),
    "part of another type": (
        "messages",
        typed({"type": "image", "video": "a.mp4"}),
        "a part of type image holds 'video'",
    ),
    "grounding": (
        "messages",
        {**PLAIN, "objects": {"bbox": [[1, 2, 3, 4]]}},
        "field 'objects' grounds the words <bbox>",
    ),
    "grounding without its objects": (
        "llava",
        {"conversations": [ASK, {"from": "gpt", "value": "At <bbox>."}]},
        "a turn holds <bbox>, which is not filled in",
    ),
    "tools": ("messages", {**PLAIN, "tools": [{"name": "x"}]}, "field 'tools' is about tools"),
    "call of a tool": (
        "messages",
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "tool_calls": [{"id": 1}]},
            ]
        },
        "field 'messages[].tool_calls' is about tools",
    ),
    "history that is not read": (
        "llava",
        {"conversations": [ASK, TELL], "history": [["a", "b"]]},
        "field 'history' is not read by this converter",
    ),
    "system turn that is not read": (
        "context_qa",
        {"context": "a", "question": "b", "answer": "c", "system_prompt": "Be brief."},
        "field 'system_prompt' is not read by this converter",
    ),
    "two system turns": (
        "llava",
        {"system": "a", "system_prompt": "b", "conversations": [ASK, TELL]},
        "both 'system' and 'system_prompt' are given",
    ),
    "part of a video in frames": (
        "llava",
        {"video": "a.mp4", "start_frame": 0, "conversations": [SHOW, TELL]},
        "field 'start_frame' says which part of the video is meant",
    ),
    "part of a video as a pair": (
        "videochatgpt",
        {"q": "a", "a": "b", "video_id": "v", "clip": [1, 2]},
        "field 'clip' says which part of the video is meant",
    ),
    "part of a video in a part": (
        "messages",
        typed({"type": "video", "video": "a.mp4", "timestamp": [1, 2]}, {"type": "text", "text": "a"}),
        "field 'timestamp' says which part",
    ),
    "part of a video beside its path": (
        "llava",
        {"video": {"path": "a.mp4", "start": 1}, "conversations": [SHOW, TELL]},
        "field 'video[].start' bounds a video, and is not read there",
    ),
    "two starts": (
        "llava",
        {"video": "a.mp4", "start": 1, "video_start": 2, "conversations": [SHOW, TELL]},
        "both 'start' and 'video_start' are given",
    ),
    "time of day as a start": (
        "llava",
        {"video": "a.mp4", "start_time": "00:01", "conversations": [SHOW, TELL]},
        "field 'start_time' is '00:01', expected a number",
    ),
    "bounds of no video": (
        "messages",
        {**typed({"type": "video", "video": "a.mp4"}), "video_start": 2},
        "field 'video_start' bounds a video, and no field names one",
    ),
    "text part without text": ("messages", typed({"type": "text"}), "a text part of a user message has no text"),
    "image part without image": ("messages", typed({"type": "image"}), "more <image> placeholders than images (0)"),
    "embedded bytes": ("messages", typed({"type": "image", "image": {"bytes": "AA"}}), "holds a file's bytes"),
    "no instruction": ("alpaca", {"output": "x"}, "field 'instruction' is missing"),
    "instance is text": (
        "alpaca",
        {"instruction": "x", "instances": ["a"]},
        "an entry of 'instances' is not an object",
    ),
    "instance without output": ("alpaca", {"instruction": "x", "instances": [{"input": ""}]}, "field 'output' is miss"),
    "context blank": ("context_qa", {"context": "\n", "question": "a", "answer": "b"}, "field 'context' is empty"),
    "wrapper not closed": ("longalpaca", {"instruction": f"{BOOK}Text. Who?", "output": "x"}, "closing mark 'Now the"),
    "wrapper around nothing": (
        "longalpaca",
        {"instruction": f"{BOOK} Now the material ends. Who?", "output": "x"},
        "there is no long text between the wrapper's marks",
    ),
    "wrapper without question": (
        "longalpaca",
        {"instruction": f"{BOOK}Text. Now the material ends. ", "output": "x"},
        "there is no question after 'Now the material ends.'",
    ),
    "prompt without question": (
        "long_nq",
        {"prompt": "Docs.", "completion": NQ_ANSWER},
        "has no line that starts with",
    ),
    "completion without document": (
        "long_nq",
        {"prompt": NQ, "completion": "Answer: Ann\nLong Answer: Ann did."},
        "the completion lacks",
    ),
    "completion without short answer": (
        "long_nq",
        {"prompt": NQ, "completion": NQ_ANSWER.replace("Ann\n", "\n")},
        "there is no short answer",
    ),
    "summary without question": ("booksum", {"prompt": "Text.", "completion": "x"}, "does not end with 'Q: ...'"),
    "summary of nothing": ("booksum", {"prompt": "Q: What?\nA:", "completion": "x"}, "there is no text before 'Q:'"),
    "no output": ("longqlora", {"input": "x"}, "field 'output' is missing"),
    "transcript turn without words": (
        "qmsum",
        {"meeting_transcripts": [{"speaker": "A", "content": None}], "specific_query_list": [{"query": "a"}]},
        "lacks 'speaker' or 'content'",
    ),
    "image key for one image": (
        "minicpmv",
        {"image": "a.jpg", "conversations": numbered("<image_00>\nWhat?")["conversations"]},
        "the turns mention <image_00>, 'image' is text",
    ),
    "transcript turn without speaker": ("qmsum", {"meeting_transcripts": [{"content": "x"}]}, "lacks 'speaker'"),
    "meeting without queries": (
        "qmsum",
        {"meeting_transcripts": [{"speaker": "A", "content": "x"}]},
        "field 'specific_query_list' is missing",
    ),
    "one query of two without answer": (
        "qmsum",
        {
            "meeting_transcripts": [{"speaker": "A", "content": "x"}],
            "specific_query_list": [{"query": "a", "answer": "b"}, {"query": "c"}],
        },
        "field 'answer' is missing",
    ),
}


def load(folder: Path, converter: str, file: str, on_bad_sample: str = "fail") -> SourceData:
    source = Source(converter=converter, files=[file], root=str(folder))
    return load_source("shelf", source, cache_root=folder / "cache", on_bad_sample=on_bad_sample)


def write_lines(path: Path, records: list[Any]) -> None:
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_is_named_or_counted(case: str, tmp_path: Path) -> None:
    converter, record, said = BAD_RECORDS[case]
    first, last = GOOD[converter]
    write_lines(tmp_path / "good.jsonl", [first, last])
    write_lines(tmp_path / "bad.jsonl", [first, record, last])

    with pytest.raises(DataError) as caught:
        load(tmp_path, converter, "bad.jsonl")
    message = str(caught.value)
    assert message.startswith("source 'shelf', bad.jsonl, line 2: ")
    assert said in message
    assert "; " in message.removeprefix("source 'shelf', bad.jsonl, line 2: ")

    skipped = load(tmp_path, converter, "bad.jsonl", "skip")
    (rejected,) = skipped.rejected
    assert rejected.where == "bad.jsonl, line 2"
    assert said in rejected.reason
    assert rejected.remedy
    assert (skipped.stats.num_records, skipped.stats.num_used_records) == (3, 2)
    good = load(tmp_path, converter, "good.jsonl")
    assert skipped.ids == good.ids
    assert skipped.content_hash == good.content_hash


ONE = '{"context": "a", "question": "b", "answer": "c"}'
ONE_CSV = b"context,question,answer\na,b,c\n"

# name and content of a file that cannot be read to its end, where, and what the error says
BAD_FILES: dict[str, tuple[str, bytes, str, str]] = {
    "array cut off in a record": (
        "a.json",
        f"[\n{ONE},\n".encode() + b'{"context": "x',
        ", line 3",
        "in the middle of",
    ),
    "array cut off after a record": ("a.json", f"[\n{ONE}\n".encode(), ", line 3", "the array is not closed"),
    "array cut off after a comma": ("a.json", f"[{ONE},\n".encode(), ", line 2", "it ends in the middle of a record"),
    "array with a trailing comma": ("a.json", f"[{ONE},\n]\n".encode(), ", line 2", "it is not JSON: Expecting value"),
    "array without a comma": ("a.json", f"[{ONE}\n{ONE}]".encode(), ", line 2", "'{' stands after a record"),
    "text after the array": ("a.json", f"[{ONE}]\n\nx".encode(), ", line 3", "text stands after the end"),
    "missing quote in an array": ("a.json", f'[{ONE},\n{{"id: 3}},\n{ONE}]'.encode(), ", line 2", "it is not JSON"),
    "bare word in an array": ("a.json", f"[{ONE},\n{{'a': 1}}]".encode(), ", line 2", "it is not JSON"),
    "nested array of 100,000 levels": ("a.json", b"[" + b"[" * 100_000, ", line 1", "nested too deeply"),
    "number of 5,000 digits in an array": ("a.json", b'[{"a": ' + b"9" * 5000 + b"}]", ", line 1", "cannot be read"),
    "HTML instead of JSON": ("a.json", b"<html>Sign in</html>", ", line 1", "it is not JSON"),
    "Latin-1 text": ("a.jsonl", f"{ONE}\n".encode() + '{"a": "é"}'.encode("latin-1"), ", line 2", "it is not UTF-8"),
    "UTF-16 text": ("a.json", f"[{ONE}]".encode("utf-16"), ", line 1", "it is not UTF-8 text"),
    "gzip cut off": ("a.jsonl.gz", gzip.compress(f"{ONE}\n".encode() * 9)[:-20], "", "it is damaged or cut off"),
    "gzip that is none": ("a.jsonl.gz", f"{ONE}\n".encode(), "", "it is damaged or cut off"),
    "zstd that is none": ("a.jsonl.zst", f"{ONE}\n".encode(), "", "it cannot be read"),
    "parquet that is none": ("a.parquet", b"PAR1 and no more", "", "it is not a whole parquet file"),
    "empty parquet file": ("a.parquet", b"", "", "it is not a whole parquet file"),
    "unknown ending": ("a.xlsx", b"", "", "its format is not known from its name"),
    "no ending": ("a", b"", "", "its format is not known from its name"),
    "CSV with an open quote": ("a.csv", ONE_CSV + b'"a,b,c\n', ", line 3", "it is not CSV"),
    "CSV with a doubled column": ("a.csv", b"answer,answer\na,b\n", ", line 1", "a column has no name, or two have"),
    "CSV with a nameless column": ("a.csv", b"context,\na,b\n", ", line 1", "a column has no name"),
}


@pytest.mark.parametrize("on_bad_sample", ["fail", "skip"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_cannot_be_read_on_fails_and_leaves_nothing(case: str, on_bad_sample: str, tmp_path: Path) -> None:
    name, content, place, said = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "context_qa", name, on_bad_sample)
    assert str(caught.value).startswith(f"source 'shelf', {name}{place}")
    assert said in str(caught.value)
    assert not list((tmp_path / "cache/sources").glob("*/*.arrow"))
    assert not list((tmp_path / "cache/sources").glob(".*"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", b"[]", "the files are empty"),
        ("a.json", b"", "the files are empty"),
        ("a.jsonl", b"\n\n", "the files are empty"),
        ("a.csv", b"context,question,answer\n", "the files are empty"),
        ("a.jsonl", b'{"a": 1}\n{"a": 2}\n', "2 x field 'context' is missing"),
    ],
)
def test_a_source_without_samples_is_an_error(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="records became a sample") as caught:
        load(tmp_path, "context_qa", name, "skip")
    assert told in str(caught.value)


def test_a_csv_row_of_another_length_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(ONE_CSV + b"a,b\n" + b"d,e,f\n")
    with pytest.raises(DataError, match=r"a\.csv, line 3: the row has 2 cells, the header 3"):
        load(tmp_path, "context_qa", "a.csv")
    assert len(load(tmp_path, "context_qa", "a.csv", "skip")) == 2


def picture_bytes(kind: str = "png", mode: str = "RGB", size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def with_bytes(content: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    """The content with other bytes some way after a mark."""
    at = content.index(mark) + offset
    return content[:at] + new + content[at + len(new) :]


PICTURE = picture_bytes()
TEXT = b"this is neither a video nor a picture"
NO_VIDEOS = "the file is not in a container of videos"
LIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n../outside.mp4\n#EXT-X-ENDLIST\n"
REAL_FOLDER = os.environ.get("SPARROW_TEST_DATA")
FETCH, FIX_PATH, SMALLER = "fetch it again", "fix the record's path", "scale it down"
DAMAGED = "it may be truncated or damaged: fetch it again or encode it anew"
ROOT = "use a path relative to the source's media_root"
LINK = "fix the record's path or the link"

# path in a record, what lies there (bytes, files of a folder, or where a link leads), what is wrong and the remedy
BAD_MEDIA: dict[str, tuple[bytes | dict[str, bytes] | str | None, str, str]] = {
    "nowhere.mp4": (None, "there is no such file", FIX_PATH),
    "nowhere.png": (None, "there is no such file", FIX_PATH),
    "empty.mp4": (b"", "the file is empty", FETCH),
    "empty.png": (b"", "the file is empty", FETCH),
    "words.mp4": (TEXT, "the video cannot be decoded", DAMAGED),
    "zeros.mp4": (b"\0" * 5000, "the video cannot be decoded", DAMAGED),
    "words.png": (TEXT, "the file is not a picture", FIX_PATH),
    "words.gif": (b"GIF89a" + TEXT, "the file is not a picture", FIX_PATH),
    "cut.png": (PICTURE[:60], "the picture cannot be read", FETCH),
    "format.dds": (
        with_bytes(picture_bytes("dds"), b"DDS ", 80, b"\4\0\0\0ABCD"),
        "the picture cannot be read (Unimplemented pixel format",
        FETCH,
    ),
    "item.avif": (with_bytes(picture_bytes("avif"), b"iloc", 22, bytes(4)), "the picture cannot be read", FETCH),
    "9000.png": (picture_bytes(mode="1", size=(9000, 9000)), "the picture has 9000 x 9000 pixels, at most", SMALLER),
    "20000.bmp": (
        with_bytes(picture_bytes("bmp"), b"BM", 18, struct.pack("<II", 20_000, 20_000)),
        "the picture has far too many pixels",
        SMALLER,
    ),
    "32_bits.tif": (picture_bytes("tiff", "I"), "the picture has values of 32 bits", "save it with 8 bits"),
    "no_frames": ({}, "the folder holds no pictures", "fetch its frames"),
    "other_files": ({"notes.txt": TEXT}, "the folder holds no pictures", "fetch its frames"),
    "bad_frame": ({"1.png": TEXT}, "the file is not a picture", FIX_PATH),
    "list.m3u8": (LIST, NO_VIDEOS, "name the video itself"),
    "list.mp4": (LIST, "the video cannot be decoded", DAMAGED),
    "joined.mp4": (b"ffconcat version 1.0\nfile title.mp4\n", NO_VIDEOS, "name the video itself"),
    "received.sdp": (b"# " * 5000 + b"\nv=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", NO_VIDEOS, "name the video"),
    "link.mp4": ("../outside.mp4", "is a link that leads out of the media root", "copy or hard-link the file"),
    "circle.mp4": ("circle.mp4", "the media path cannot be followed (its links go in a circle)", LINK),
    "A man walks down the street. " * 12: (None, "the media path cannot be followed (File name too long)", LINK),
    "../outside.mp4": (None, "leads out of the media root", ROOT),
    "/etc/hostname": (None, "leads out of the media root", ROOT),
    "linked_frames": (None, "the frame '1.png' leads out of its folder", "copy the picture there"),
    "circling_frames": (None, "the media path cannot be followed (its links go in a circle)", LINK),
    "codec.mp4": (None, "the video's codec is not known", "encode it as H.264"),
    "cut.mp4": (None, "the video cannot be decoded", DAMAGED),
}
GOOD_MEDIA = ("title.mp4", "good.png")
REAL_SOUND, REAL_DAMAGED = "small_mp4-with-audio.mp4", "decord_corrupted.mp4"  # in its later frames


@pytest.fixture(scope="module")
def media_plan(settings, tmp_path_factory) -> Prepared:
    """A plan of a source whose records name every broken file and two good ones."""
    folder = tmp_path_factory.mktemp("bad_media")
    media = folder / "media"
    media.mkdir()
    for name, (content, _, _) in BAD_MEDIA.items():
        if isinstance(content, bytes):
            (media / name).write_bytes(content)
        elif isinstance(content, str):
            (media / name).symlink_to(content)
        elif content is not None:
            (media / name).mkdir()
            for frame, picture in content.items():
                (media / name / frame).write_bytes(picture)
    (folder / "outside.mp4").write_bytes(TEXT)
    for name, target in (("linked_frames", media / "good.png"), ("circling_frames", Path("1.png"))):
        (media / name).mkdir()
        (media / name / "1.png").symlink_to(target)
    clip = write_clip(folder / "clip.mp4", 8, title="caf\N{LATIN SMALL LETTER E WITH ACUTE}").read_bytes()
    (media / "title.mp4").write_bytes(clip.replace("caf\xe9".encode(), "caf\xe9 ".encode("latin-1")))
    (media / "codec.mp4").write_bytes(clip.replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzz"))
    (media / "cut.mp4").write_bytes(clip[:-300])
    (media / "good.png").write_bytes(PICTURE)
    names = [*BAD_MEDIA, *GOOD_MEDIA]
    if REAL_FOLDER:
        for name in (REAL_SOUND, REAL_DAMAGED):
            shutil.copy(Path(REAL_FOLDER) / "clips_broken" / name, media)
            names.append(name)
    write_lines(folder / "clips.jsonl", [about(name) for name in names])
    return prepare(
        settings(
            "mixture=world/video",
            f"mixture.num_samples={len(names)}",
            "source.world_clips.use_world=false",
            "source.world_clips.files=[clips.jsonl]",
            f"source.world_clips.root={folder}",
            "source.world_clips.media_root=media",
            "on_bad_sample=skip",
            "max_bad_fraction=1.0",
        )
    )


def about(name: str) -> dict[str, Any]:
    kind = "image" if Path(name).suffix in (".png", ".bmp", ".dds", ".avif", ".tif") else "video"
    asked = {"from": "human", "value": f"<{kind}>\nWhat?"}
    return {"id": f"about {name}", kind: name, "conversations": [asked, TELL]}


def assert_named_or_counted(prepared: Prepared, id: str, what: str, remedy: str) -> None:
    """With `fail` one message holds source, sample, what is wrong and the remedy; with `skip` the ledger does."""
    ledger = prepared.plan.ledger
    (row,) = ledger[ledger["sample_id"] == id].itertuples()
    assert row.status == "rejected"
    assert what in row.reason
    assert what in row.detail and remedy in row.detail
    good = ledger.loc[ledger["status"] == "used", "row"].tolist()[0]
    selection = Selection(row.component, row.source, [int(row.row), good])
    with pytest.raises(DataError) as caught:
        build_plan([selection], prepared, Batching(max_seq_len_tokens=4096, num_workers=0), data_seed=0)
    message = str(caught.value)
    assert message.startswith(f"source '{row.source}', sample {id!r}: ")
    assert what in message and remedy in message
    assert "1 of 2 samples cannot be used: fix them, or set on_bad_sample=skip" in message


@pytest.mark.parametrize("name", BAD_MEDIA)
def test_a_bad_file_is_named_or_counted(name: str, media_plan: Prepared) -> None:
    _, what, remedy = BAD_MEDIA[name]
    assert_named_or_counted(media_plan, f"about {name}", what, remedy)


@pytest.mark.skipif(not REAL_FOLDER, reason="SPARROW_TEST_DATA names no folder of real clips")
def test_a_real_broken_clip_is_named_or_counted(media_plan: Prepared) -> None:
    """One while planning, one when its later frames are read, in a slot that stays empty."""
    assert_named_or_counted(media_plan, f"about {REAL_SOUND}", "the file has no video stream", FIX_PATH)
    parts = (media_plan.plan, media_plan)
    (failed,) = StepDataset(*parts, skip_failed=True)[0].failed
    assert failed.sample_id == f"about {REAL_DAMAGED}"
    assert "cannot be decoded" in failed.reason and REAL_DAMAGED in failed.detail and DAMAGED in failed.detail
    with pytest.raises(DataError, match=f"source 'world_clips', sample 'about {REAL_DAMAGED}', .*{DAMAGED}"):
        StepDataset(*parts)[0]


def test_the_files_beside_bad_ones_are_used(media_plan: Prepared) -> None:
    ledger = media_plan.plan.ledger
    used = set(ledger.loc[ledger["status"] == "used", "sample_id"]) - {f"about {REAL_DAMAGED}"}
    assert used == {f"about {name}" for name in GOOD_MEDIA}


# text, what is wrong with it on pages and the remedy
BAD_TEXTS: dict[str, tuple[str, str, str]] = {
    "zero-width": ("\u200b\u200b", "the text is empty", "remove the record"),
    "long": ("word " * 20, "the text has 4 pages, max_pages is 2", "raise max_pages"),
}


@pytest.fixture(scope="module", params=["null", "5"])
def pages_plan(request, settings, tmp_path_factory) -> Prepared:
    """A plan of texts that cannot be shown as pages and three that can, without and with a rule on their pages."""
    folder = tmp_path_factory.mktemp("bad_texts")
    texts = {name: text for name, (text, _, _) in BAD_TEXTS.items()} | dict.fromkeys("abc", "a red circle")
    write_lines(
        folder / "texts.jsonl",
        [{"id": name, "context": text, "question": "What?", "answer": "red"} for name, text in texts.items()],
    )
    return prepare(
        settings(
            "mixture=world/sparrow",
            "~mixture.components.video",
            "mixture.components.text.fraction=1.0",
            f"mixture.components.text.max_pages={request.param}",
            f"mixture.num_samples={len(texts)}",
            "text_to_image.max_pages=2",
            "source.world_event_texts.use_world=false",
            "source.world_event_texts.converter=context_qa",
            "source.world_event_texts.files=[texts.jsonl]",
            f"source.world_event_texts.root={folder}",
            "on_bad_sample=skip",
            "max_bad_fraction=1.0",
        )
    )


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_text_without_pages_is_named_or_counted(name: str, pages_plan: Prepared) -> None:
    _, what, remedy = BAD_TEXTS[name]
    assert_named_or_counted(pages_plan, name, what, remedy)
    ledger = pages_plan.plan.ledger
    assert set(ledger.loc[ledger["status"] == "used", "sample_id"]) == set("abc")
