"""Each official schema is read into questions, under both protocols, with every trap of its publisher."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparrow.core.errors import ConfigError, DataError
from sparrow.evaluation.formats import FORMATS, oddities, read_benchmark, size_note
from sparrow.evaluation.questions import Question, missing_videos, option_names, prompt_text
from sparrow.evaluation.settings import FORMAT_NAMES
from sparrow.evaluation.subtitles import Subtitle

FIXTURES = Path(__file__).parent.parent / "fixtures"
OFFICIAL = [name for name in FORMAT_NAMES if name != "multiple_choice"]
NUM_VIDEOS = {"video_mme": 900, "tempcompass": 410}
DIRECTLY = "Answer with the option's letter from the given choices directly."


def read(name: str, location: Path | None = None, **settings: object) -> dict[str, Question]:
    questions = read_benchmark(name, location or FIXTURES / name, benchmark="mine", **settings)  # type: ignore[arg-type]
    return {question.id: question for question in questions}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all fixtures, to spoil."""
    return Path(shutil.copytree(FIXTURES, tmp_path / "fixtures"))


def edit(path: Path, change: object) -> None:
    records = json.loads(path.read_text())
    change(records)  # type: ignore[operator]
    path.write_text(json.dumps(records, indent=1))


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("protocol", ["official", "released"])
def test_every_format_is_read(name: str, protocol: str) -> None:
    questions = list(read(name, protocol=protocol).values())
    assert len({question.id for question in questions}) == len(questions) >= 7
    odd = oddities(questions)
    without_gold = {*odd.get("no_right_option", []), *odd.get("needs_a_judge", [])}
    assert {question.id for question in questions if question.gold is None} == without_gold


@pytest.mark.parametrize(
    ("name", "question_id", "prompts"),
    [
        (
            "video_mme",
            "001-1",
            (
                "Select the best answer to the following multiple-choice question based on the video. Respond with "
                "only the letter (A, B, C, or D) of the correct option.\nWhat colour is the square?\nA. Red.\n"
                "B. Blue.\nC. Green.\nD. Yellow.\nThe best answer is:",
                f"What colour is the square?\nA. Red.\nB. Blue.\nC. Green.\nD. Yellow.\n{DIRECTLY}",
            ),
        ),
        (
            "mvbench",
            "object_existence/0",
            (
                "Question: Are there any moving green objects when the video ends?\nOptions:\n(A) not sure\n(B) yes\n"
                "(C) no\nOnly give the best option.",
                f"Are there any moving green objects when the video ends?\nA. not sure\nB. yes\nC. no\n{DIRECTLY}",
            ),
        ),
        (
            "tempcompass",
            "multi-choice/27537016/speed/0",
            (
                "How fast is the video playing?\nA. 2x speed\nB. 1x speed\nPlease directly give the best option:",
                f"How fast is the video playing?\nA. 2x speed\nB. 1x speed\n{DIRECTLY}",
            ),
        ),
        (
            "mlvu",
            "topic_reasoning/0",
            (
                "Question: What is the main background of the video?\nOptions:\n(A) Grassland\n(B) Lake\n(C) Ocean\n"
                "(D) Desert\nOnly give the best option.",
                "Question: What is the main background of the video?\nA. Grassland\nB. Lake\nC. Ocean\nD. Desert\n"
                f"{DIRECTLY}",
            ),
        ),
        (
            "longvideobench",
            "soNQYQXrx_A_1",
            (
                "Question: What colour is his tie?\nA. A red square\nB. A blue circle\nC. A green star\n"
                f"D. A yellow cross\n{DIRECTLY}",
            )
            * 2,
        ),
    ],
)
def test_prompts_are_these(name: str, question_id: str, prompts: tuple[str, str]) -> None:
    read_both = (read(name, protocol=protocol)[question_id] for protocol in ("official", "released"))
    assert tuple(prompt_text(question) for question in read_both) == prompts


def test_video_mme_records_become_questions() -> None:
    questions = read("video_mme")
    assert len(questions) == 12
    first = questions["001-3"]
    assert (first.video, first.options, first.gold, first.category) == (
        "redsquare01.mp4",
        ("A circle.", "A star.", "Nothing.", "A cross."),
        2,
        "Temporal Reasoning",
    )
    assert first.groups == {"duration": "short", "domain": "Knowledge", "sub_category": "Geography"}
    # the README's field names, options without letters, the video's id in its url only
    renamed = questions["301-2"]
    assert (renamed.video, renamed.gold, renamed.options[2:]) == ("greenstar_3.mp4", 3, ("STAR", "None of the above"))
    assert renamed.groups["duration"] == "medium"


def test_video_mme_parquet_reads_like_its_json(tmp_path: Path) -> None:
    rows = []
    for video in json.loads((FIXTURES / "video_mme" / "video_mme.json").read_text()):
        nested = video.pop("questions")
        if "videoID" in video:
            rows += [{**video, **question} for question in nested]
    (tmp_path / "videomme").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "videomme" / "test-00000-of-00001.parquet")
    expected = {key: value for key, value in read("video_mme").items() if not key.startswith("301")}
    assert read("video_mme", tmp_path) == expected


def test_video_mme_subtitles_are_read_where_a_video_has_them() -> None:
    questions = read("video_mme", subtitles="on")
    assert questions["001-1"].subtitles == (
        Subtitle(0.0, 1.5, "A red square"),
        Subtitle(1.5, 3.0, "moves to the right."),
    )
    assert questions["301-1"].subtitles == ()
    assert read("video_mme")["001-1"].subtitles == ()


def test_mvbench_bounds_frame_folders_and_sources() -> None:
    questions = read("mvbench")
    assert list(questions)[:3] == ["action_sequence/0", "action_sequence/1", "action_prediction/0"]
    first, second = questions["action_sequence/0"], questions["action_sequence/1"]
    assert first.video == second.video == "star/Charades_v1_480/ZS9XR.mp4"
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (11.1, 21.0, 2.5, 7.1)
    folder = questions["episodic_reasoning/0"]
    assert (folder.video, folder.fps) == ("tvqa/frames_fps3_hq/friends_s01e01_seg02_clip_00", 3.0)
    assert (folder.start_s, folder.end_s, len(folder.options), folder.gold) == (10.2, 25.6, 5, 1)
    same_name = {question.video for question in questions.values() if question.video.endswith("video_1.mp4")}
    assert same_name == {
        "Moments_in_Time_Raw/videos/video_1.mp4",
        "clevrer/video_validation/video_1.mp4",
        "perception/videos/video_1.mp4",
    }
    unbounded = questions["moving_count/0"]
    assert (unbounded.start_s, unbounded.end_s, unbounded.fps) == (None, None, None)
    assert (first.reply_start, first.system[:27]) == ("Best option:(", "Carefully watch the video a")
    assert option_names(first) == ("A", "B", "C", "D")


def test_tempcompass_tasks_and_malformed_items() -> None:
    questions = read("tempcompass")
    assert {key.split("/")[0] for key in questions} == {"multi-choice", "yes_no", "caption_matching", "captioning"}
    repeated = questions["multi-choice/27537016/order/0"]
    assert prompt_text(repeated).count("A. the key is shown") == 1
    assert (repeated.question, repeated.gold) == ("What happens first?", 0)
    assert repeated.groups == {"dimension": "order", "task_dimension": "multi-choice: order"}
    yes_no = questions["yes_no/27537016/order/1"]
    assert prompt_text(yes_no) == "Did the man pull back inside the car first?\nPlease answer yes or no:"
    assert (yes_no.options, yes_no.gold, option_names(yes_no)) == (("yes", "no"), 1, ("yes", "no"))
    sentence = questions["caption_matching/1034419625/action/1"]
    assert sentence.options == ("A man is dunking a basketball.", "A video: a person passes.")
    assert (sentence.gold, option_names(sentence)) == (0, ("Sentence A", "Sentence B"))
    assert option_names(questions["caption_matching/1034419625/action/0"]) == ("Option 1", "Option 2")
    altered = questions["caption_matching/1034419625/action/2"]
    assert (altered.options[1], altered.gold) == ("A man is dunking a basketball.", 1)
    caption = questions["captioning/1034419625/action/0"]
    assert prompt_text(caption).endswith("'dunking'}\nGenerated Caption:")
    assert oddities(list(questions.values())) == {"needs_a_judge": [caption.id]}
    assert {q.category for q in read("tempcompass", tasks=["multi-choice"]).values()} == {"multi-choice"}


def test_tempcompass_parquet_reads_like_its_json(tmp_path: Path) -> None:
    for task in ("multi-choice", "yes_no", "caption_matching", "captioning"):
        rows = [
            {"video_id": video, "dim": dimension, **item}
            for video, dimensions in json.loads((FIXTURES / f"tempcompass/questions/{task}.json").read_text()).items()
            for dimension, items in dimensions.items()
            for item in items
        ]
        (tmp_path / task).mkdir()
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / task / "test-00000-of-00001.parquet")
    assert read("tempcompass", tmp_path) == read("tempcompass")


def test_mlvu_repeated_options_absent_golds_and_open_tasks() -> None:
    questions = read("mlvu")
    assert questions["plotQA/1"].gold == 2
    assert questions["needle/1"].gold is None
    assert questions["count/1"].options == ("0", "2", "3", "6")
    assert questions["count/0"].video == "4_count/count_126.mp4"
    assert questions["plotQA/0"].video != questions["topic_reasoning/1"].video
    summary = questions["summary/0"]
    assert prompt_text(summary) == "Can you summarize the main content of this video?"
    assert (summary.options, summary.gold, summary.reply_start) == ((), None, "")
    assert summary.system.endswith("answer the given questions.")
    assert questions["ego/0"].reply_start == "Best Option: ("
    assert oddities(list(questions.values())) == {
        "needs_a_judge": ["sub_scene/0", "summary/0"],
        "no_right_option": ["needle/1"],
        "repeated_options": ["plotQA/1"],
    }


def test_longvideobench_subtitles_are_in_the_time_of_the_clip() -> None:
    questions = read("longvideobench", subtitles="interleaved")
    assert questions["86CxyhFV9MI_0"].subtitles[2] == Subtitle(8.0, 10.5, "the end")
    assert questions["midOne_0"].subtitles == (Subtitle(1.0, 3.0, "a circle"),)
    assert questions["soNQYQXrx_A_0"].subtitles == (
        Subtitle(0.0, 3.0, "driven out of the world"),
        Subtitle(4.5, 6.75, "he floats"),
    )
    assert questions["hourLong_1"].options[0] == "N/A"
    assert questions["hourLong_1"].groups == {"duration_group": "3600"}
    assert read("longvideobench")["midOne_0"].subtitles == ()


def test_longvideobench_parquet_reads_like_its_json(tmp_path: Path) -> None:
    rows = json.loads((FIXTURES / "longvideobench" / "lvb_val.json").read_text())
    rows = [row for row in rows if "N/A" not in row["candidates"]]
    for row in rows:
        options = row.pop("candidates")
        row |= {f"option{i}": options[i] if i < len(options) else "N/A" for i in range(5)}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "validation-00000-of-00001.parquet")
    shutil.copytree(FIXTURES / "longvideobench" / "subtitles", tmp_path / "subtitles")
    expected = {key: value for key, value in read("longvideobench").items() if key != "hourLong_1"}
    assert read("longvideobench", tmp_path) == expected


def test_only_the_tasks_named_are_read(copy: Path) -> None:
    (copy / "mvbench" / "json" / "action_count.json").unlink()
    assert list(read("mvbench", copy / "mvbench", tasks=["moving_count"])) == ["moving_count/0"]
    assert len(read("video_mme", tasks=["Counting Problem"])) == 2
    with pytest.raises(
        DataError, match=r"no questions of the tasks colours; choose among Action Reasoning, Action Recognition"
    ):
        read("video_mme", tasks=["colours", "OCR Problems"])


def test_size_is_told_beside_the_published_one() -> None:
    assert size_note("video_mme", list(read("video_mme").values())) == "12 of 2700 published questions"
    questions = list(read("mlvu", tasks=["plotQA", "ego"]).values())
    assert size_note("mlvu", questions).startswith("3 of 2175 published questions (plotQA 2 of 539, needle 0 of 355,")
    assert sum(FORMATS["mvbench"].num_questions.values()) == 4000
    assert list(FORMATS["mvbench"].num_questions) == list(dict.fromkeys(q.category for q in read("mvbench").values()))


def test_missing_videos_are_listed(tmp_path: Path) -> None:
    (tmp_path / "midOne.mp4").touch()
    missing = missing_videos(read("longvideobench").values(), tmp_path)
    assert missing == ["86CxyhFV9MI.mp4", "hourLong.mp4", "soNQYQXrx_A.mp4"]


def test_every_benchmark_is_read_from_the_released_codes_jsonl_too(tmp_path: Path) -> None:
    record = {"question_id": 1, "video": "a.mp4", "prompt": "What?\nA. x\nB. y", "GT": "B", "category": "OCR"}
    (tmp_path / "Video-MME.jsonl").write_text(json.dumps(record) + "\n")
    for name in OFFICIAL:
        (question,) = read(name, tmp_path / "Video-MME.jsonl", protocol="released").values()
        assert (question.video, question.gold, prompt_text(question)) == ("a.mp4", 1, record["prompt"])
    with pytest.raises(ConfigError, match=r"no line of .*jsonl has subtitles"):
        read("video_mme", tmp_path / "Video-MME.jsonl", subtitles="on")


@pytest.mark.parametrize("name", OFFICIAL)
def test_missing_annotations_say_what_was_looked_for_and_where(name: str, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(
        DataError, match=r"benchmark 'mine'.*(looked for|are missing: ).*; it holds readme\.txt"
    ) as error:
        read(name, tmp_path)
    assert str(tmp_path) in str(error.value)


def test_unknown_protocol_format_or_subtitles_are_refused(copy: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown protocol 'mine'; choose one of official, released"):
        read("mlvu", protocol="mine")
    with pytest.raises(ConfigError, match=r"'nexttqa' is not one of multiple_choice, video_mme"):
        read("nexttqa")
    with pytest.raises(ConfigError, match=r"benchmark 'mine': mvbench has no subtitles; set subtitles=off"):
        read("mvbench", subtitles="on")
    shutil.rmtree(copy / "video_mme" / "subtitle")
    with pytest.raises(DataError, match=r"video_mme/subtitle: the folder of subtitles is missing"):
        read("video_mme", copy / "video_mme", subtitles="on")


def problems_of(name: str, location: Path, **settings: object) -> list[str]:
    with pytest.raises(DataError) as error:
        read(name, location, **settings)
    return str(error.value).split("\n  ")[1:]


def test_problems_of_video_mme_are_told_with_their_lines(copy: Path) -> None:
    def spoil(videos: list[dict]) -> None:
        videos[0]["questions"][1]["answer"] = "E"
        videos[0]["questions"][2]["question_id"] = "001-1"
        del videos[1]["questions"][0]["task_type"]
        videos[1]["questions"][2]["videoID"] = "../../secret"
        videos[2]["url"] = "unknown"
        videos[3]["questions"] = "none"

    edit(copy / "video_mme" / "video_mme.json", spoil)
    (copy / "video_mme/subtitle/redsquare01.srt").write_text("1\n00:00 --> 01\nwords\n")
    unread = "subtitles subtitle/redsquare01.srt: line 2: no subtitle times in '00:00 --> 01'"
    found = problems_of("video_mme", copy / "video_mme", subtitles="on")
    assert found.pop(4).startswith(
        "video_mme.json, line 48 (record 2), question 3: subtitles subtitle/../../secret.srt: "
        "'subtitle/../../secret.srt': the media path leads out of the media root"
    )
    assert found == [
        f"video_mme.json, line 2 (record 1), question 1: {unread}",
        "video_mme.json, line 2 (record 1), question 2: 'answer' is 'E', expected the letter of one of "
        "['1.', '2.', '3.', '4.']",
        f"video_mme.json, line 2 (record 1), question 3: {unread}",
        "video_mme.json, line 48 (record 2), question 1: missing a field of '{task_type}' ('task_type')",
        *[
            f"video_mme.json, line 94 (record 3), question {n}: missing 'videoID', which 'url' does not hold either"
            for n in (1, 2, 3)
        ],
        "video_mme.json, line 139 (record 4): it is no record of this benchmark ('str' object is not a mapping)",
    ]


def test_problems_of_mvbench_are_told_with_their_lines(copy: Path) -> None:
    def spoil(records: list[dict]) -> None:
        del records[0]["start"]
        records[1]["answer"] = "Took the boxes."

    edit(copy / "mvbench" / "json" / "action_sequence.json", spoil)
    edit(copy / "mvbench" / "json" / "moving_count.json", lambda records: records[0].update(candidates=[]))
    edit(copy / "mvbench" / "json" / "object_interaction.json", lambda records: records[0].update(end="late"))
    assert problems_of("mvbench", copy / "mvbench") == [
        "action_sequence.json, line 2 (record 1): missing 'start'",
        "action_sequence.json, line 14 (record 2): 'answer' is 'Took the boxes.', expected the text of one of "
        "['Opened the door.', 'Took the box.', 'Closed the book.', 'Held the phone.']",
        "object_interaction.json, line 2 (record 1): 'end' is 'late', expected seconds",
        "moving_count.json, line 2 (record 1): no options found in 'candidates' or the question: expected a list, or "
        "lines that begin 'A.', 'B.'",
    ]


def test_problems_of_tempcompass_are_told_with_their_places(copy: Path) -> None:
    def spoil(videos: dict) -> None:
        videos["1034419625"]["action"][0]["answer"] = "D. sleeping"
        videos["1034419625"]["action"][1]["question"] = "No options?"
        videos["27537016"]["mood"] = []
        videos["1"] = []

    edit(copy / "tempcompass" / "questions" / "multi-choice.json", spoil)
    edit(copy / "tempcompass" / "questions" / "yes_no.json", lambda v: v["27537016"]["order"][0].update(answer="maybe"))
    edit(
        copy / "tempcompass" / "questions" / "caption_matching.json",
        lambda v: v["1034419625"]["action"][0].update(question="Which?\n1. This\n2. That"),
    )
    assert problems_of("tempcompass", copy / "tempcompass") == [
        "multi-choice.json, video '1034419625', action 0: 'answer' 'D. sleeping' is not among the options "
        "['A. dunking a basketball', 'B. dribbling a basketball', 'C. passing a basketball']",
        "multi-choice.json, video '1034419625', action 1: no options found in 'No options?'",
        "multi-choice.json, video '27537016': 'mood' is no dimension with a list",
        "multi-choice.json, video '1': expected an object, found list",
        "yes_no.json, video '27537016', order 0: 'answer' is 'maybe', expected yes or no",
        "caption_matching.json, video '1034419625', action 0: no captions 'Option 1: ...', 'Sentence A: ...' or "
        "'Caption A: ...' found in 'Which?\\n1. This\\n2. That'",
    ]


def test_problems_of_mlvu_and_longvideobench_are_told_with_their_lines(copy: Path) -> None:
    edit(copy / "mlvu" / "json" / "3_ego.json", lambda records: records[0].pop("candidates"))
    edit(copy / "mlvu" / "json" / "9_summary.json", lambda records: records.append(7))
    assert problems_of("mlvu", copy / "mlvu") == [
        "3_ego.json, line 2 (record 1): no options found in 'candidates' or the question: expected a list, or lines "
        "that begin 'A.', 'B.'",
        "9_summary.json, line 9 (record 2): the record is a number, expected an object",
    ]

    def spoil(records: list[dict]) -> None:
        records[0]["correct_choice"] = 4
        records[1]["id"] = records[2]["id"]
        records[3]["candidates"] = ["alone"]
        del records[4]["duration"]
        records[5]["subtitle_path"] = "../lvb_val.json"

    edit(copy / "longvideobench" / "lvb_val.json", spoil)
    subtitles = copy / "longvideobench" / "subtitles"
    (subtitles / "midOne_en.json").write_text('[{"timestamp": 1}]')
    (subtitles / "hourLong_en.json").unlink()
    problems = problems_of("longvideobench", copy / "longvideobench", subtitles="interleaved")
    starts = [
        "'correct_choice' is 4, expected the place of one of",
        "question id '86CxyhFV9MI_2' stands already in lvb_val.json, line 28 (record 2)",
        "'correct_choice' is 4, expected the place of one of ['alone']",
        "subtitles subtitles/soNQYQXrx_A_en.json: missing 'duration'",
        "subtitles subtitles/../lvb_val.json: subtitle 0: fits neither subtitle schema",
        *["subtitles subtitles/midOne_en.json: subtitle 0: fits neither subtitle schema: {'timestamp': 1}"] * 3,
        *[f"subtitles subtitles/hourLong_en.json: benchmark 'mine', {subtitles}/hourLong_en.json: the file cannot be"]
        * 3,
    ]
    for problem, start in zip(problems, starts, strict=True):
        assert problem.split(": ", 1)[1].startswith(start)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_published_annotations_have_their_published_size(name: str) -> None:
    root = Path(os.environ.get("SPARROW_TEST_DATA", "")) / name
    if not os.environ.get("SPARROW_TEST_DATA") or not root.is_dir():
        pytest.skip(f"the annotations of {name} are not at hand in SPARROW_TEST_DATA")
    questions = list(read(name, root).values())
    total = sum(FORMATS[name].num_questions.values())
    assert size_note(name, questions) == f"{total} of {total} published questions"
    odd = {what: len(ids) for what, ids in oddities(questions).items() if what != "needs_a_judge"}
    if name == "mlvu":
        assert odd == {"no_right_option": 2, "repeated_options": 16}
    if name in NUM_VIDEOS:
        assert len({question.video for question in questions}) == NUM_VIDEOS[name]


DIRECTLY = "Answer with the option's letter from the given choices directly."
# Rows of one's own in the forms of benchmarks/*/*.jsonl of the released code.
RELEASED = {
    "mvbench": [
        ("star/Charades_v1_480/ABCDE.mp4", "What happened first?\nA. The door.\nB. The box.", "B", "action_sequence"),
        ("clevrer/video_validation/video_1.mp4", "Without the cube?\nA. A collision", "A", "counterfactual_inference"),
    ],
    "tempcompass": [
        ("videos/101.mp4", "Which way?\nA. left\nB. right\nC. up", "C", "direction"),
        ("videos/101.mp4", "What changes?\nA. colour\nB. size", "A", "attribute_change"),
    ],
    "mlvu": [
        ("video/2_needle/needle_1.mp4", "Question: Where?\nA. in\nB. out\nC. up\nD. on", "D", "findNeedle"),
        ("video/4_count/count_1.mp4", "Question: How often?\nA. 1\nB. 2\nC. 3\nD. 4", "A", "count"),
    ],
}


@pytest.mark.parametrize(
    ("name", "categories", "numbers"),
    [
        ("mvbench", ["action_sequence", "counterfactual_inference"], [2, 1]),
        ("tempcompass", ["multi-choice", "multi-choice"], [3, 2]),
        ("mlvu", ["needle", "count"], [4, 4]),
    ],
)
def test_released_files_are_read_as_the_tasks_of_their_benchmark(
    tmp_path: Path, name: str, categories: list[str], numbers: list[int]
) -> None:
    rows = [
        {"question_id": i, "video": video, "prompt": f"{prompt}\n{DIRECTLY}", "GT": gold, "category": category}
        for i, (video, prompt, gold, category) in enumerate(RELEASED[name], 1)
    ]
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = read_benchmark(name, path, benchmark=name, protocol="released")
    assert [question.category for question in questions] == categories
    assert [len(question.options) for question in questions] == numbers
    assert [prompt_text(question) for question in questions] == [row["prompt"] for row in rows]
    if name == "tempcompass":
        assert [question.groups["dimension"] for question in questions] == ["direction", "attribute_change"]


def test_one_candidate_is_a_question_of_mvbench_and_counted(copy: Path) -> None:
    def alone(records: list[dict]) -> None:
        records[0].update(candidates=["A collision"], answer="A collision")

    edit(copy / "mvbench" / "json" / "counterfactual_inference.json", alone)
    questions = read_benchmark("mvbench", copy / "mvbench", benchmark="mvbench")
    assert oddities(questions)["one_option"] == ["counterfactual_inference/0"]


def test_all_shards_of_a_table_are_read(tmp_path: Path) -> None:
    row = {"videoID": "x", "question": "?", "options": ["A. a", "B. b"], "answer": "A", "task_type": "t"}
    row |= {"duration": "short", "domain": "d", "sub_category": "s"}
    for shard in (0, 1):
        rows = [{**row, "question_id": f"{shard}-{i}"} for i in (0, 1)]
        (tmp_path / "videomme").mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "videomme" / f"test-0000{shard}.parquet")
    found = [question.id for question in read_benchmark("video_mme", tmp_path, benchmark="b")]
    assert found == ["0-0", "0-1", "1-0", "1-1"]
