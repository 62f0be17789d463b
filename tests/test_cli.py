"""`sparrow ask`, `sparrow rescore` and `sparrow compare` as a user calls them."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sparrow.cli import run
from sparrow.commands.rescore import rescore
from sparrow.commands.train import MODEL_FOLDER
from sparrow.core.files import write_json
from sparrow.runs.folder import locked
from sparrow.runs.record import RunRecord


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(32):
            frame = np.full((64, 96, 3), 8 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def trained(tiny_checkpoint, tmp_path) -> Path:
    """A run's folder with a model, trained with 6 frames."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_checkpoint("idefics3"), folder / MODEL_FOLDER)
    config = {"frames": {"policy": "uniform", "max_frames": 6, "fps": None}}
    RunRecord(run_id="r", name="n", command="train", config=config).save(folder)
    return folder


def test_a_question_is_answered_with_its_frames(trained, clip, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    arguments = [str(trained), str(clip), "What moves?", "--max-new-tokens", "4", "--accelerator", "cpu"]
    assert run("ask", [*arguments, "--contact-sheet", str(sheet)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("reply:  ")
    assert f"frames: 6 of {clip}, at 0.5, 1.8, " in printed
    with Image.open(sheet) as picture:
        assert picture.size == (8 + 3 * (224 + 8), 8 + 2 * (14 + 8 + 149 + 8)), "two rows of three"
        grey = [picture.getpixel((x, y))[0] for y in (100, 280) for x in (100, 340, 570)]
    assert grey == sorted(set(grey)), "the frames stand in their order"


def test_options_are_weighed(trained, clip, capsys):
    arguments = ["--options", "a circle", "a square", "--frames", "2", "--start", "2", "--end", "4"]
    assert run("ask", [str(trained), str(clip), "What moves?", *arguments, "--accelerator", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("option: ") for line in lines)
    weighed = [line for line in lines if line.startswith(("  A. a circle: ", "  B. a square: "))]
    values = {line: float(line.split(" log-probability ")[1].split(",")[0]) for line in weighed}
    assert len(values) == 2 and all(value < 0 for value in values.values())
    assert [line for line in lines if line.endswith(", the likeliest")] == [max(values, key=values.get)]
    assert "frames: 2 of" in lines[-1]


def test_pictures_of_any_size_and_several_questions_are_answered_at_once(trained, tmp_path, capsys):
    pictures = [str(tmp_path / f"{size}.png") for size in (50, 120)]
    for picture, size in zip(pictures, (50, 120), strict=True):
        Image.new("RGB", (size, 40), "red").save(picture)
    arguments = ["--question", "What shape?", "--max-new-tokens", "2", "--accelerator", "cpu"]
    assert run("ask", [str(trained), *pictures, "What colour?", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0::2] == ["asked:  What colour?", "asked:  What shape?", "pictures: 2; 14 tokens"]
    assert all(line.startswith("reply:  ") for line in lines[1::2])


def test_a_question_without_anything_shown_is_answered(trained, capsys):
    assert run("ask", [str(trained), "Say a colour.", "--max-new-tokens", "2", "--accelerator", "cpu"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("reply:  ")


def test_a_published_folder_shows_frames_of_the_usual_size_unless_another_is_given(tmp_path, clip, capsys):
    from tests.models.published_checkpoints import write_checkpoint

    folder = str(write_checkpoint("qwen3_vl_2b", tmp_path / "published"))
    arguments = [folder, str(clip), "What moves?", "--frames", "2", "--max-new-tokens", "1", "--accelerator", "cpu"]
    for size, tokens in (([], 140), (["--frame-size", "224"], 70)):
        assert run("ask", [*arguments, *size]) == 0
        assert f"{tokens} tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CHECKPOINT", "nowhere.mp4", "What?"], "nowhere.mp4: there is no such file; check the path"),
        (["CHECKPOINT", "CLIP", "CLIP", "What?"], "is no picture; a question is about one video, or about pictures"),
        (["CHECKPOINT", "CLIP", "What?", "--options", "one"], "one option is no choice"),
        (["CHECKPOINT", "What?", "--start", "1"], "--start, --end and --frames are about a video, and none is given"),
        (["CHECKPOINT", "What?", "--frames", "2"], "--start, --end and --frames are about a video, and none is given"),
        (["CHECKPOINT", "CLIP", "What?", "--frames", "0"], "max_frames: must be at least 1, or null, is 0"),
        (["./nothing", "CLIP", "What?"], "does not exist"),
    ],
)
def test_what_cannot_be_asked_is_one_message(tiny_checkpoint, clip, capsys, arguments, message):
    named = {"CHECKPOINT": str(tiny_checkpoint("idefics3")), "CLIP": str(clip)}
    assert run("ask", [*(named.get(argument, argument) for argument in arguments), "--accelerator", "cpu"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(("BackboneError: ", "ConfigError: ", "MediaError: "))
    assert message in error


def write_run(folder: Path, *lines: dict) -> Path:
    """A run with a stored score of zero and predictions whose replies older rules could not read."""
    common = {"video": "v.mp4", "category": "c", "groups": {}, "labels": [], "gold": 1, "scoring": "generate"}
    common |= {"choice": None, "correct": False, "likelihoods": None, "frame_indices": [0], "prompt_hash": "h"}
    rows = [{**common, **line} for line in lines]
    file = folder / "predictions/after/mine.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score = {"accuracy": 0.0, "low": 0.0, "high": 1.0, "chance": 0.5, "num_correct": 0}
    score |= {"num_questions": sum(bool(row["options"]) for row in rows)}
    score |= {"num_unanswered": 2, "predictions": "predictions/after/mine.jsonl", "scoring": "generate"}
    RunRecord(run_id="r", name="n", command="evaluate", status="finished").save(folder)
    run = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", {**run, "scores": {"mine": {"after": {**score, "protocol": {"format": "mlvu"}}}}})
    return folder


def test_a_run_is_rescored_without_its_model(tmp_path, capsys):
    options = {"options": ["Red", "Blue"], "rule": "nothing named"}
    folder = write_run(
        tmp_path / "run",
        {"question_id": "1", "reply": "The answer is B.", **options},
        {"question_id": "2", "reply": "", **options},
        {"question_id": "3", "reply": "A man walks.", "options": [], "gold": None, "rule": "unscored: needs a judge"},
    )
    assert run("rescore", [str(folder)]) == 0
    row = capsys.readouterr().out.splitlines()[5].split()
    assert row[:5] == ["mine", "after", "accuracy", "0.0", "50.0"]
    assert row[-5:] == ["2", "1", "0", "1", "2"], "questions, unanswered, not asked, unscored, read otherwise"
    stored = RunRecord.load(folder).scores["mine"]["after"]
    assert (stored.accuracy, stored.num_unscored, stored.protocol) == (0.5, 1, {"format": "mlvu"})
    assert run("rescore", [str(folder)]) == 0
    again = capsys.readouterr().out.splitlines()[5].split()
    assert (again[3:5], again[-1]) == (["50.0", "50.0"], "0")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows[1:], "the file holds the answers to 1 questions, 2 were scored"),
        (lambda rows: rows[:2], "the file holds 0 answers that are not scored, 1 were written"),
        (
            lambda rows: [rows[0] | {"gold": 0, "correct": True}, *rows[1:]],
            "other than when it was scored: right answers",
        ),
        (lambda rows: [rows[0] | {"options": ["Red", "Pink"]}, *rows[1:]], "other than when it was scored: options"),
        (lambda rows: [rows[0] | {"question_hash": "c.d"}, *rows[1:]], "other than when it was scored: prompts"),
        (lambda rows: [rows[0] | {"question_hash": "a.d"}, *rows[1:]], "when it was scored: white space in prompts"),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "question_hash"} for row in rows],
            "the digests of prompts",
        ),
    ],
)
def test_answers_to_other_questions_than_were_scored_are_not_rescored(tmp_path, capsys, change, named):
    common = {"options": ["Red", "Blue"], "choice": 0, "rule": "letter", "question_hash": "a.b", "reply": "A"}
    open_ended = {
        "question_id": "9",
        "options": [],
        "gold": None,
        "rule": "",
        "reply": "A man.",
        "question_hash": "e.f",
    }
    folder = write_run(tmp_path / "run", *({"question_id": str(i), **common} for i in range(2)), open_ended)
    assert run("rescore", [str(folder)]) == 0
    file, before = folder / "predictions/after/mine.jsonl", (folder / "run.json").read_text()
    changed = change([json.loads(line) for line in file.read_text().splitlines()])
    file.write_text("".join(json.dumps(row) + "\n" for row in changed))
    capsys.readouterr()
    assert run("rescore", [str(folder)]) == 1
    assert named in capsys.readouterr().err
    assert (folder / "run.json").read_text() == before


def test_rescoring_waits_for_the_run_and_keeps_what_it_wrote(tmp_path):
    folder = write_run(tmp_path / "run", {"question_id": "1", "reply": "B", "options": ["x", "y"], "rule": "letter"})
    with ThreadPoolExecutor() as pool:
        with locked(folder):
            rescoring = pool.submit(rescore, folder)
            with pytest.raises(TimeoutError):
                rescoring.result(timeout=0.3)
            record = RunRecord.load(folder)
            record.notes.append("written last")
            record.save(folder)
        assert rescoring.result(timeout=60)[0].after.accuracy == 1.0
    assert RunRecord.load(folder).notes == ["written last"]


def test_what_cannot_be_rescored_is_one_message(tmp_path, capsys):
    assert run("rescore", [str(tmp_path)]) == 1
    assert "run.json: there is no such file" in capsys.readouterr().err
    folder = write_run(tmp_path / "run", {"question_id": "1", "reply": "B", "options": ["x", "y"], "rule": "letter"})
    (folder / "predictions/after/mine.jsonl").unlink()
    assert run("rescore", [str(folder)]) == 1
    assert "evaluate the run first" in capsys.readouterr().err
    record = RunRecord.load(folder)
    record.scores = {}
    record.save(folder)
    assert run("rescore", [str(folder)]) == 1
    assert f"`sparrow evaluate checkpoint={folder} benchmark=[NAME]`, then give the folder" in capsys.readouterr().err


def test_two_runs_are_compared_question_by_question(tmp_path, capsys):
    options = {"options": ["Red", "Blue", "Green"], "rule": "letter"}
    first, second = (
        write_run(
            tmp_path / name,
            *(
                {"question_id": str(i), "video": f"{i}.mp4", "reply": "x", "choice": c, "correct": c == 1, **options}
                for i, c in enumerate(choices)
            ),
        )
        for name, choices in (("a", [0, 0, 1, 1] * 10), ("b", [0, 2, 1, 1] * 5 + [1] * 20))
    )
    assert run("compare", [str(first), str(second)]) == 0
    table = capsys.readouterr().out.split("Paired differences\n")[1].splitlines()
    row = table[2].split()
    assert row[:3] == ["mine", "after", "higher"]
    assert row[-4:] == ["40", "0", "10", "15"], "questions, only A, only B, answers that differ"
    (second / "predictions/after/mine.jsonl").unlink()
    assert run("compare", [str(first), str(second)]) == 0
    assert "not compared" in capsys.readouterr().out
