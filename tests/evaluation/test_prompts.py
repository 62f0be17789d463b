"""A question reaches the model as a training sample would, with its subtitles, its reply start and its labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparrow.core.samples import Message, Sample, Text, Video
from sparrow.data.encode import Presentation, encode, measure
from sparrow.evaluation.prompts import Protocol, chat_of, clip_of, rows_of
from sparrow.evaluation.questions import Question, prompt_text
from sparrow.evaluation.subtitles import Subtitle
from sparrow.evaluation.units import Units, group_into_units
from sparrow.media.frames import Clip
from sparrow.media.settings import FramePolicy
from sparrow.models.chat import ChatTemplate
from sparrow.models.loading import load_backbone
from sparrow.models.registry import FAMILIES, NATIVE_VIDEO
from tests.evaluation.benchmark_folders import FPS, write_video

QUESTION = Question(
    id="q",
    video="a.mp4",
    question="What moves?",
    options=("a square", "a red circle", "nothing at all"),
    gold=0,
    category="motion",
    instruction="Only give the best option.",
)
SUBTITLES = (Subtitle(0.5, 2.5, "It begins."), Subtitle(5.0, 7.5, "It ends."))
FRAMES = Presentation(frames=FramePolicy(max_frames=4))


def protocol(scoring="generate", **changes) -> Protocol:
    values = {"show_options": scoring != "option_likelihood", "max_new_tokens": 4, "presentation": FRAMES}
    return Protocol(scoring=scoring, **(values | changes))


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("media")
    write_video(root / "a.mp4", seconds=8)
    return root


@pytest.fixture(scope="module")
def backbone(tiny_checkpoint):
    return load_backbone(str(tiny_checkpoint("idefics3")), with_model=False)


def decoded(backbone, ids) -> str:
    text = backbone.tokenizer.decode(ids)
    for token in {backbone.tokenizer.decode([i]) for i in backbone.frame_token_ids((64, 64))}:
        text = text.replace(token, "")
    return text


WAYS = [(family, way) for family in sorted(FAMILIES) for way in ("images", "images with times")] + [
    (family, "native video") for family in NATIVE_VIDEO
]


@pytest.mark.parametrize(("family", "way"), WAYS)
@pytest.mark.parametrize("scoring", ["generate", "letter_likelihood", "option_likelihood"])
def test_a_question_has_the_tokens_and_frames_of_the_same_training_sample(tiny_checkpoint, media, family, way, scoring):
    backbone = load_backbone(str(tiny_checkpoint(family)), with_model=False, native_video=way == "native video")
    presentation = replace(FRAMES, frames=replace(FRAMES.frames, timestamps=way == "images with times"))
    how = protocol(scoring, presentation=presentation)
    clip = clip_of(QUESTION, media, how)
    rows = rows_of(QUESTION, clip, backbone, how, "b")
    replies = {"generate": [None], "letter_likelihood": ["A", "B", "C"], "option_likelihood": QUESTION.options}[scoring]
    user = Message("user", (Video("a.mp4"), Text(prompt_text(QUESTION, show_options=how.show_options))))
    for row, reply in zip(rows, replies, strict=True):
        turns = (user,) if reply is None else (user, Message("assistant", (Text(reply),)))
        sample = Sample("q", "b", turns)
        trained = encode(sample, media, backbone, presentation, add_generation_prompt=reply is None)
        frames = Units([[QUESTION]], backbone, media, how, "b")[0].frames
        assert torch.equal(frames.pixels, trained.frames.pixels)
        assert (frames.sizes, frames.videos) == (trained.frames.sizes, trained.frames.videos)
        assert len(frames.videos) == (way == "native video")
        if reply is not None:
            planned, num_frames, *_ = measure(sample, media, backbone, presentation)
            assert planned.input_ids.tolist() == trained.input_ids.tolist()
            assert (planned.num_visual_tokens, num_frames) == (trained.num_visual_tokens, 4)
        assert torch.equal(row.ids, trained.input_ids[: len(row.ids)])
        scored = (trained.labels >= 0).nonzero().squeeze(1).tolist()
        if reply is None:
            assert len(row.ids) == len(trained.input_ids)
        else:
            assert backbone.tokenizer.decode(row.ids[row.begin : row.end]).strip() == reply
            assert row.begin == scored[0]
            assert int(trained.input_ids[row.end]) == backbone.tokenizer.eos_token_id


def test_a_reply_start_is_part_of_the_prompt_and_of_no_score(backbone, media):
    question = replace(QUESTION, reply_start="Best option:(", labels=("(A) ", "(B) ", "(C) "))
    clip = clip_of(question, media, protocol())
    (asked,) = rows_of(question, clip, backbone, protocol(), "b")
    assert decoded(backbone, asked.ids).endswith("Assistant: Best option:(")
    rows = rows_of(question, clip, backbone, protocol("letter_likelihood"), "b")
    for letter, row in zip("ABC", rows, strict=True):
        assert decoded(backbone, row.ids).endswith(f"Best option:({letter}")
        assert letter in backbone.tokenizer.decode(row.ids[row.begin : row.end])
        assert "option:" not in backbone.tokenizer.decode(row.ids[row.begin : row.end])
    for option, row in zip(
        question.options, rows_of(question, clip, backbone, protocol("option_likelihood"), "b"), strict=True
    ):
        assert decoded(backbone, row.ids).endswith(f"Assistant: {option}"), "a text does not stand behind 'option:('"


def test_likelihood_is_that_of_what_the_prompt_calls_the_options(backbone, media):
    question = replace(QUESTION, labels=("Option 1: ", "Option 2: ", "Option 3: "))
    clip = clip_of(question, media, protocol())
    rows = rows_of(question, clip, backbone, protocol("letter_likelihood"), "b")
    assert [backbone.tokenizer.decode(row.ids[row.begin :]).strip() for row in rows] == [
        "Option 1",
        "Option 2",
        "Option 3",
    ]


def test_a_task_without_options_is_generated_whatever_the_scoring(backbone, media):
    question = replace(QUESTION, options=(), gold=None, reply_start="Best option:(")
    clip = clip_of(question, media, protocol())
    for scoring in ("generate", "letter_likelihood", "option_likelihood"):
        how = protocol(scoring, max_new_tokens_open_ended=99, show_options=True)
        (row,) = rows_of(question, clip, backbone, how, "b")
        assert (row.begin, row.end, row.max_new_tokens) == (len(row.ids), len(row.ids), 99)
        assert decoded(backbone, row.ids).endswith("Assistant:")


def shown(question: Question, clip: Clip, how: Protocol) -> list:
    sample, of_parts = chat_of(question, clip, how, "b")
    numbers = iter(of_parts)
    return [len(next(numbers).sizes) if isinstance(part, Video) else part.text for part in sample.parts()]


def test_subtitles_stand_where_the_protocol_puts_them(media):
    question = replace(QUESTION, subtitles=SUBTITLES)
    clip = clip_of(question, media, protocol())
    assert (
        [round(time, 2) for time in clip.times_s] == [index / FPS for index in clip.indices] == [1.0, 3.0, 4.75, 6.75]
    )
    text = prompt_text(question)
    assert shown(question, clip, protocol()) == [4, text]
    assert shown(question, clip, protocol(subtitles="on")) == [
        4,
        f"This video's subtitles are listed below:\nIt begins.\nIt ends.\n{text}",
    ]
    assert shown(question, clip, protocol(subtitles="interleaved")) == [
        *(1, "\nIt begins.\n", 2, "\nIt ends.\n", 1, f"\n{text}"),
    ]
    assert shown(question, clip, protocol(subtitles="interleaved", blind=True)) == [text]


def test_interleaved_subtitles_leave_every_frame_its_tokens(backbone, media):
    question = replace(QUESTION, subtitles=SUBTITLES)
    clip = clip_of(question, media, protocol())
    (plain,), (between,) = (
        rows_of(question, clip, backbone, protocol(subtitles=subtitles), "b") for subtitles in ("off", "interleaved")
    )
    for row in (plain, between):
        assert int((row.ids == backbone.image_token_id).sum()) == 4 * backbone.frame_token_ids((64, 64)).count(
            backbone.image_token_id
        )
    assert "It begins." in decoded(backbone, between.ids)


@pytest.mark.parametrize("family", NATIVE_VIDEO)
def test_frames_between_subtitles_are_videos_of_their_own(tiny_checkpoint, media, family):
    backbone = load_backbone(str(tiny_checkpoint(family)), with_model=False, native_video=True)
    question = replace(QUESTION, subtitles=SUBTITLES)
    unit = Units([[question]], backbone, media, protocol(subtitles="interleaved"), "b")[0]
    assert [(video.first, video.num_frames, video.interval_s) for video in unit.frames.videos] == [
        (0, 1, 0.0),
        (1, 2, 1.75),
        (3, 1, 0.0),
    ]
    visual = sum(backbone.visual_tokens((64, 64), count) for count in (1, 2, 1))
    assert int((unit.rows[0][0].ids == backbone.video_token_id).sum()) == visual


def test_questions_of_one_unit_share_frames_and_all_before_them(media):
    def unit_ids(*questions: Question, **changes) -> list[list[str]]:
        return [[q.id for q in unit] for unit in group_into_units(questions, media, protocol(**changes))]

    first = replace(QUESTION, id="1", subtitles=SUBTITLES)
    same, other = replace(first, id="2"), replace(first, id="3", subtitles=SUBTITLES[:1])
    assert unit_ids(first, same, other) == [["1", "2", "3"]]
    assert unit_ids(first, same, other, subtitles="interleaved") == [["1", "2"], ["3"]]
    bounded = replace(first, id="4", start_s=1.0, end_s=3.0)
    assert unit_ids(first, bounded, replace(first, id="5", system="Look.")) == [["1"], ["4"], ["5"]]
    alone = [replace(first, id=name, video=None) for name in "ab"]
    assert unit_ids(*alone) == [["a"], ["b"]]


def test_the_costliest_unit_comes_first(tmp_path):
    for name, size in (("small.mp4", 10), ("large.mp4", 5_000_000)):
        (tmp_path / name).write_bytes(bytes(size))
    questions = [
        replace(QUESTION, id=f"{video}{i}", video=video) for video in ("small.mp4", "large.mp4") for i in (1, 2)
    ]
    questions += [replace(QUESTION, id="one", video="gone.mp4")]
    units = group_into_units(questions, tmp_path, protocol())
    assert [unit[0].video for unit in units] == ["large.mp4", "small.mp4", "gone.mp4"]


def test_a_folder_of_frames_without_a_clock_has_no_subtitles(tmp_path):
    write_video(tmp_path / "frames", seconds=2)
    question = replace(QUESTION, video="frames", subtitles=SUBTITLES)
    clip = clip_of(question, tmp_path, protocol())
    assert np.isnan(clip.times_s).all()
    assert shown(question, clip, protocol(subtitles="on"))[-1] == prompt_text(question)


def test_subtitles_stand_between_frames_for_a_family_that_puts_frames_first(tiny_checkpoint, media):
    backbone = load_backbone(str(tiny_checkpoint("llava_onevision")))
    question = replace(QUESTION, subtitles=SUBTITLES)
    clip = clip_of(question, media, protocol())
    (row,) = rows_of(question, clip, backbone, protocol("generate", subtitles="interleaved"), "b")
    text = backbone.tokenizer.decode(row.ids)
    first, second = text.index("It begins."), text.index("It ends.")
    assert text.index("<image>") < first < text.index("<image>", first) < second < text.index("<image>", second)
    assert text.index("<image>", second) < text.index("\n" + prompt_text(question))
    assert backbone.can_interleave()
    frames_first = (
        "{%- for m in messages -%}{%- for p in m['content'] if p['type'] == 'image' -%}<image>{%- endfor -%}"
        "{%- for p in m['content'] if p['type'] == 'text' -%}{{- p['text'] -}}{%- endfor -%}{%- endfor -%}"
    )
    backbone.use_template(ChatTemplate(frames_first, "<|im_end|>", marks_answers=False))
    assert not backbone.can_interleave()
