"""Benchmarks that are described by tables: rows of our own in the exact public forms, and a run over all of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sparrow.analysis.answers import read_predictions
from sparrow.core.errors import DataError
from sparrow.evaluation.formats import oddities, read_benchmark, size_note, spread_evenly
from sparrow.evaluation.formats.protocols import Reading
from sparrow.evaluation.formats.table_format import table
from sparrow.evaluation.questions import Question, prompt_text
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.evaluation.settings import FORMATS, TABLE_NAMES, Benchmark
from sparrow.media.settings import FramePolicy
from sparrow.models.loading import load_backbone
from tests.evaluation.benchmark_folders import write_video
from tests.evaluation.published_rows import WRITERS, picture

DIRECTLY = "Answer with the option's letter from the given choices directly"
FIVE = "A. red\nB. green\nC. blue\nD. white\nE. black"
IN_PARQUET = ("ai2d", "mmstar", "video_eval_pro", "video_mme_v2", "vsi_bench")
# The last question that each of `WRITERS` holds: id, media, category, groups, right answer, and the end of its prompt.
LAST = {
    "nextqa": ("clip3_11", "clip3.mp4", "DO", {"kind": "D"}, 1, f"what moves\n{FIVE}\n{DIRECTLY}."),
    "egoschema": ("clip3", "clip3.mp4", "withheld", {}, None, f"E. C cooks black soup\n{DIRECTLY}."),
    "perception_test": ("clip3/2", "clip3.mp4", "Memory", {"reasoning": "Descriptive"}, 1, f"C. blue\n{DIRECTLY}."),
    "tvbench": (
        *("moving_direction/1", "moving_direction/clip1.mp4", "moving_direction", {}, 1),
        "Question: What moves?\nOptions:\n(A) red\n(B) blue\nOnly give the best option.",
    ),
    "tomato": (
        *("visual_cues/7", "human/0209-04.mp4", "visual_cues", {"demonstration_type": "human"}, 2),
        "DO NOT GENERATE ANSWER SUCH AS 'NOT POSSIBLE TO DETERMINE.'",
    ),
    "motionbench": ("q11", "clip3.mp4", "withheld", {}, None, "letter (A, B, C, D, E, or F)."),
    "lvbench": (
        *("32", "clip3.mp4", "summarization", {"summarization": "yes"}, 3),
        "(C) 1363\n(D) 1633\nAnswer the question with the option letter",
    ),
    "mmvu": ("validation_11", "Art/3.mp4", "open-ended", {"subject": "Art"}, None, "Directly output the final short answer."),
    "cg_bench": ("11", "clip3.mp4", "Entity Perception", {"domain": "Art & Culture"}, 3, "G:pink\nH:brown"),
    "video_eval_pro": (
        *("test-00000-of-00001/11", "clip3.mp4", "Local Perception", {"source": "LVBench", "subtype": "Entity"}, 1),
        "with no text around it.\nWhich colour?\nA. red\nB. green\nC. blue\nD. white",
    ),
    "video_mme_v2": (
        *("002/002-4", "002.mp4", "logic"),
        {"group_type": "logic", "group_structure": "[1, [2, 3], 4]", "level": "2", "head": "Temporal"},
        *(7, "H. brown\nSelect the best answer to the following multiple-choice question based on the video. Respond with "
          "only the letter (A, B, C, D, E, F, G, or H) of the correct option."),
    ),
    "vsi_bench": (
        *("11", "arkitscenes/clip2.mp4", "room_size_estimation", {"question_type": "room_size_estimation"}, None),
        "These are frames of a video.\nWhere or how many?\nPlease answer the question using a single word or phrase.",
    ),
    "mmstar": ("11", None, "math", {"l2_category": "geometry"}, 2, f"B. It is a mix, or so: both.\nC. blue\nD. none\n{DIRECTLY}"),
    "mmbench": (
        *("4/1", None, "recognition", {"l2_category": "perception"}, 0),
        "Question: Which colour?\nOptions:\nA. green\nB. red\nPlease select the correct answer from the options above.",
    ),
    "ai2d": ("test-00001-of-00002/5", None, "diagrams", {}, 2, f"Which is it?\nA. red\nB. green\nC. blue\nD. white\n{DIRECTLY}."),
}  # fmt: skip


def read(name: str, folder: Path, **settings: object) -> list[Question]:
    WRITERS[name](folder)
    return read_benchmark(name, folder, benchmark="mine", **settings)


@pytest.mark.parametrize("name", TABLE_NAMES)
def test_a_benchmark_is_read_from_the_form_that_is_published(name: str, tmp_path: Path) -> None:
    *_, last = read(name, tmp_path)
    expected_id, video, category, groups, gold, ending = LAST[name]
    assert (last.id, last.video, last.category, last.groups, last.gold) == (expected_id, video, category, groups, gold)
    assert prompt_text(last).endswith(ending)
    if video is None:
        (stored,) = last.pictures
        assert (tmp_path / stored).read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize("name", [name for name in TABLE_NAMES if name not in IN_PARQUET])
def test_a_row_without_its_question_is_named_with_file_and_place(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".json", ".jsonl", ".csv", ".tsv")]
    for path in files:
        path.write_text(
            path.read_text().replace('"question"', '"q"').replace("question,", "q,").replace("\tquestion", "\tq")
        )
    with pytest.raises(DataError, match=rf"benchmark 'mine'.*\n  {min(files).stem[:4]}.*missing 'question'"):
        read_benchmark(name, tmp_path, benchmark="mine")


def test_published_sizes_are_said_and_what_is_not_confirmed_is_not_compared(tmp_path: Path) -> None:
    notes = {name: size_note(name, read(name, tmp_path / name)) for name in TABLE_NAMES}
    assert notes["nextqa"] == "12 of 4996 published questions"
    assert notes["egoschema"] == "2 of 500 published questions (subset 2 of 500)"
    assert notes["mmbench"] == "5 of 1164 published questions, 12 with their turns"
    assert notes["vsi_bench"] == "12 questions"
    questions = read("cg_bench", tmp_path / "again")
    many = [replace(questions[0], id=str(number)) for number in range(3001)]
    assert size_note("cg_bench", many) == "3001 questions, of another file than the 3000 published ones"


def test_answers_that_are_kept_numbers_and_open_questions_are_told_apart(tmp_path: Path) -> None:
    found = {name: oddities(read(name, tmp_path / name)) for name in ("egoschema", "motionbench", "mmvu", "vsi_bench")}
    assert found["egoschema"] == {"answer_withheld": ["clip2", "clip3"]}
    assert list(found["motionbench"]) == ["answer_withheld"]
    assert list(found["mmvu"]) == ["needs_a_judge"]
    assert found["vsi_bench"] == {}
    for name, tasks in (("egoschema", ["subset"]), ("mmvu", ["multiple-choice"])):
        assert Benchmark(**Benchmark.completed({"format": name, "root": "x"})).tasks == tasks


def test_bounds_are_those_of_the_tasks_that_have_them_and_no_task_file_may_be_missing(tmp_path: Path) -> None:
    questions = {question.id: question for question in read("tvbench", tmp_path)}
    assert (questions["action_sequence/0"].start_s, questions["action_sequence/0"].end_s) == (1.0, 3.5)
    assert questions["action_count/0"].start_s is None
    assert questions["action_count/0"].reply_start == "Best option:("
    (tmp_path / "json/object_count.json").unlink()
    with pytest.raises(DataError, match=r"1 of 10 task files are missing: object_count\.json"):
        read_benchmark("tvbench", tmp_path, benchmark="mine")


def test_a_question_of_mmbench_is_asked_with_each_option_first_and_shows_the_picture_of_the_row_it_names(
    tmp_path: Path,
) -> None:
    questions = read("mmbench", tmp_path)
    turns = [question for question in questions if question.id.startswith("1/")]
    assert [question.options for question in turns] == [
        ("red", "green", "blue"), ("green", "blue", "red"), ("blue", "red", "green")
    ]  # fmt: skip
    assert [question.options[question.gold or 0] for question in turns] == ["green"] * 3
    assert len({question.pictures for question in questions}) == 1
    assert (tmp_path / questions[0].pictures[0]).read_bytes() == picture(1)
    assert prompt_text(questions[0]).startswith("Hint: It is bright.\nQuestion: ")
    assert prompt_text(turns[0]).startswith("Question: ")


def test_questions_that_are_scored_together_are_taken_together(tmp_path: Path) -> None:
    taken = spread_evenly("video_mme_v2", read("video_mme_v2", tmp_path), 5)
    assert [question.id for question in taken] == [f"000/000-{place}" for place in (1, 2, 3, 4)]
    rows = read("lvbench", tmp_path / "lvbench")
    assert [question.id for question in spread_evenly("lvbench", rows, 3)] == ["0", "11", "22"]


@pytest.mark.parametrize(
    ("name", "old", "new", "what"),
    [
        ("nextqa", "CH,red", "CH,,,,,", "the row has 17 cells, the header 13"),
        (
            "cg_bench",
            '"right_answer": "D"',
            '"right_answer": "Z"',
            "'right_answer' is 'Z', expected the letter of one of",
        ),
        ("egoschema", '"clip0": 3', '"clip0": 7', "'answer' is 7, expected the place of one of"),
        ("perception_test", '"mc_question"', '"questions"', "it is no record of this benchmark"),
        ("lvbench", "\\n(A) 1636\\n(B) 1366\\n(C) 1363\\n(D) 1633", "", "no options found"),
        (
            "tomato",
            '"demonstration_type"',
            '"demo"',
            "count.json, line 1 (record 1), '7': missing a field of '{demonstration_type}'",
        ),
        ("mmbench", "\tscienceqa", "!\tscienceqa", "the picture is neither a path nor base64"),
        ("mmbench", "\tred\tgreen", "\tred\t", "option 2 of 3 is empty"),
        ("cg_bench", '"right_answer": "D"', '"right_answer": "BC"', "'right_answer' is 'BC', expected the letter of"),
        ("cg_bench", '"video_uid": "clip1"', '"video_uid": null', "missing a field of '{video_uid}.mp4' ('video_uid')"),
        ("nextqa", "what moves", "what \0 moves", "a text holds a NUL or half of a surrogate pair"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(name: str, old: str, new: str, what: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert old in path.read_text() or path.name == "subset_answers.json" or name == "egoschema"
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError) as caught:
        read_benchmark(name, tmp_path, benchmark="mine")
    assert what in str(caught.value)


def test_a_protocol_that_a_table_has_no_prompts_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"benchmark 'mine': there are no prompts of the protocol 'released'"):
        read("nextqa", tmp_path, protocol="released")


def test_a_table_of_ones_own_is_a_format(tmp_path: Path) -> None:
    (tmp_path / "exam.yaml").write_text(
        "num_questions: {all: 2}\ntable: {files: ['*.tsv'], id: '{row}', video: '{clip}', category: exam, options: [x, y]}"
    )
    (tmp_path / "exam.tsv").write_text("clip\tquestion\tx\ty\tanswer\na.mp4\tWhat, then?\tone\ttwo\tB\n")
    (question,) = table(tmp_path / "exam.yaml").read(tmp_path, Reading(benchmark="mine"))
    assert (question.video, question.options, question.gold) == ("a.mp4", ("one", "two"), 1)
    (tmp_path / "exam.yaml").write_text("table: {id: a, category: b, optoins: x}")
    with pytest.raises(TypeError, match="optoins"):
        table(tmp_path / "exam.yaml")


@pytest.mark.slow
def test_every_benchmark_is_asked_from_its_files_to_its_score(settings, tiny_checkpoint, tmp_path: Path) -> None:
    """One tiny model, a dozen questions of each benchmark about generated clips and pictures."""
    config = settings("benchmark=[" + ",".join(TABLE_NAMES) + "]", f"paths.data_root={tmp_path}")
    benchmarks = {}
    for name, benchmark in config.benchmark.items():
        WRITERS[name](tmp_path / name)
        tasks = [] if name in ("egoschema", "motionbench") else benchmark.tasks
        benchmarks[name] = replace(benchmark, use_world=False, tasks=tasks, max_frames=2, max_new_tokens=4)
    evaluator = Evaluator(replace(config, benchmark=benchmarks, frames=FramePolicy(policy="uniform", max_frames=2)))
    for name in TABLE_NAMES:
        media_root = tmp_path / name / benchmarks[name].media_root
        for question in read_benchmark(name, tmp_path / name, benchmark=name):
            if question.video and not (media_root / question.video).exists():
                write_video(media_root / question.video, seconds=4)
    backbone = load_backbone(str(tiny_checkpoint("idefics3")), frame_size_px=64)
    for name in TABLE_NAMES:
        evaluator.answer(name, backbone, "model", tmp_path / "run", "after")
        evaluator.answer(name, backbone, "model", tmp_path / "run", "blind")
    scores = evaluator.collect("model", tmp_path / "run", "after")
    blind = evaluator.collect("model", tmp_path / "run", "blind")
    for name, score in scores.items():
        lines = [json.loads(line) for line in (tmp_path / "run" / score.predictions).read_text().splitlines()]
        assert not [line["rule"] for line in lines if "not asked" in (line["rule"] or "")], name
        assert score.missing_videos == []
        assert score.official is not None, name
        assert score.metric == FORMATS[name].protocols.get("official", {}).get("metric", "accuracy")
        assert score.num_questions + score.num_unscored == len(lines) >= 4
        assert blind[name].num_questions == score.num_questions
        assert len(read_predictions(tmp_path / "run" / score.predictions)) == score.num_questions
    assert {name: scores[name].num_unscored for name in ("egoschema", "motionbench")} == {
        "egoschema": 2,
        "motionbench": 4,
    }
    submitted = json.loads((tmp_path / "run/predictions/after/egoschema.submission.json").read_text())
    assert submitted.keys() <= {f"clip{n}" for n in range(4)}
    assert all(place in range(5) for place in submitted.values())
