"""`sparrow compare` over literal run folders: settings, data, order and scores."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from sparrow.analysis.answers import read_predictions
from sparrow.analysis.scores import Score, score
from sparrow.cli import run as run_command
from sparrow.commands.compare import compare, paired_tables
from sparrow.core.errors import RunError
from sparrow.core.settings import run_id
from sparrow.data.plan import Origin, Plan
from sparrow.data.sample_costs import COUNTS
from sparrow.data.settings import Component, Mixture
from sparrow.media.settings import FramePolicy
from sparrow.runs.record import RunRecord
from sparrow.runs.settings import Paths
from sparrow.settings import EvaluateConfig, ExperimentConfig, is_recorded

BASE = ExperimentConfig(mixture=Mixture(num_samples=6, components={"video": Component(source="clips", num_samples=6)}))


def ledger_of(ids, component="video", tokens=10):
    return pd.DataFrame(
        {
            "component": component,
            "source": "clips",
            "row": range(len(ids)),
            "sample_id": ids,
            "status": "used",
            "reason": "",
            **dict.fromkeys(COUNTS, 0),
            "num_frames": 1,
            "visual_tokens": tokens,
            "text_tokens": 5,
            "supervised_tokens": 2,
            "showing": 0,
        }
    )


def write_plan(folder, ledger, steps):
    folder.mkdir(exist_ok=True)
    origins = {name: Origin(len(ledger), 0, {}, {}, "video") for name in ledger["component"]}
    Plan(ledger, [np.array(step) for step in steps], f"hash of {folder.name}", origins).write(folder)


def write_run(folder, settings=BASE, accuracy=0.5, **changes):
    folder.mkdir(exist_ok=True)
    score = Score(
        accuracy=accuracy,
        low=accuracy - 0.1,
        high=accuracy + 0.1,
        chance=0.25,
        num_questions=40,
        num_correct=int(40 * accuracy),
        num_unanswered=0,
    )
    record = RunRecord(
        run_id=run_id(settings), name=folder.name, command="train", status="finished", config=asdict(settings)
    )
    record.scores = {"clips_short": {"after": score}}
    for name, value in changes.items():
        setattr(record, name, value)
    record.save(folder)


@pytest.fixture
def two(tmp_path):
    return tmp_path / "a", tmp_path / "b"


def rows(text, title):
    """The rows of a table by their first cell; cells are two spaces apart."""
    lines = text.split(f"{title}\n")[1].split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([c.strip() for c in line.split("  ") if c.strip()] for line in lines)}


def test_settings_that_determine_the_result_stand_apart(two):
    one, other = two
    write_run(one)
    changed = replace(
        BASE,
        data_seed=3,
        trainer=replace(BASE.trainer, devices=4, precision="32-true"),
        batching=replace(BASE.batching, num_workers=9),
        mixture=Mixture(num_samples=7, components={"text": Component(source="tales", fraction=1.0)}),
        paths=Paths("data", "out", "cache"),
    )
    write_run(other, changed, versions={"torch": "9"})
    text = compare(one, other)
    assert rows(text, "Settings that determine the result") == {
        "data_seed": ["0", "3"],
        "mixture.num_samples": ["6", "7"],
        "mixture.components.video.source": ["clips", "-"],
        "mixture.components.video.num_samples": ["6", "-"],
        "mixture.components.video.fraction": ["None", "-"],
        "mixture.components.video.present_as": ["video", "-"],
        **{
            f"mixture.components.text.{key}": ["-", str(value)]
            for key, value in asdict(changed.mixture.components["text"]).items()
            if value != {}
        },
        "trainer.precision": ["bf16-mixed", "32-true"],
    } | {
        f"mixture.components.video.{key}": [str(value), "-"]
        for key, value in asdict(BASE.mixture.components["video"]).items()
        if value != {}
    }
    assert set(rows(text, "Settings that do not")) == {
        "trainer.devices",
        "batching.num_workers",
        "paths.data_root",
        "paths.output_root",
        "paths.cache_root",
    }
    assert rows(text, "Versions") == {"torch": ["-", "9"]}


def test_recorded_settings_are_known_at_any_depth():
    assert is_recorded(ExperimentConfig, "paths.data_root")
    assert is_recorded(ExperimentConfig, "source.clips.root")
    assert is_recorded(EvaluateConfig, "benchmark.mlvu.presets.official.max_frames")
    assert not is_recorded(ExperimentConfig, "source.clips.files")
    assert not is_recorded(ExperimentConfig, "benchmark.mlvu.max_frames")
    assert not is_recorded(ExperimentConfig, "optimizer.of_another_version")


def test_of_a_run_and_an_evaluation_only_what_both_heed_is_compared(two):
    one, other = two
    write_run(one, replace(BASE, seed=7))
    evaluation = EvaluateConfig(checkpoint=str(one), frames=FramePolicy(max_frames=4), num_workers=1)
    write_run(other, evaluation, command="evaluate")
    text = compare(*two)
    assert rows(text.replace("None differs", ""), "Settings that determine the result")["frames.max_frames"] == [
        "24",
        "4",
    ]
    assert not any(key in text for key in ("seed", "checkpoint", "optimizer", "Settings that do not", "backbone"))


def test_equal_runs_differ_in_nothing(two):
    for folder in two:
        write_run(folder)
        write_plan(folder, ledger_of(list("abcd")), [[0, 1], [3, 2]])
    text = compare(*two)
    assert rows(text, "Settings that determine the result") == {"None differs.": []}
    assert "Settings that do not" not in text
    assert "Every step holds the same samples." in text


def test_samples_are_counted_in_both_and_in_one(two):
    one, other = two
    write_plan(one, ledger_of(list("abcdef")), [[0, 1, 2], [3, 4, 5]])
    moved = pd.concat([ledger_of(list("abc"), tokens=20), ledger_of(list("dx"), component="more")], ignore_index=True)
    moved.loc[2, "status"] = "rejected"
    write_plan(other, moved, [[0, 1, 3], [4]])
    text = compare(one, other)
    assert rows(text, "Data") == {
        "video": ["6", "2", "2", "4", "0", "2"],
        "more": ["0", "2", "0", "0", "2", "0"],
        "all": ["6", "4", "3", "3", "1", "2"],
        "Step 0 is the first that holds other samples; the first is step 0.": [],
    }
    assert "not compared" in text


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([[1, 0], [3, 2], [4, 5]], "Every step holds the same samples."),
        ([[0, 1], [2, 4], [3, 5]], "Step 1 is the first that holds other samples"),
        ([[0, 1], [2, 3], [4]], "Step 2 is the first that holds other samples"),
        ([[0, 1], [2, 3]], "Step 2 is the first that holds other samples"),
    ],
)
def test_the_first_step_with_other_samples_is_named(two, steps, told):
    one, other = two
    write_plan(one, ledger_of(list("abcdef")), [[0, 1], [2, 3], [4, 5]])
    ledger = ledger_of(list("abcdef"))
    missing = sorted(set(range(6)) - {position for step in steps for position in step})
    ledger.loc[missing, "status"] = "rejected"
    write_plan(other, ledger, steps)
    assert told in compare(one, other)


def test_scores_stand_side_by_side(two):
    one, other = two
    write_run(one)
    write_run(other, accuracy=0.75)
    assert rows(compare(one, other), "Scores in %")["clips_short"] == [
        *("after", "50.0", "[40.0, 60.0]", "75.0", "[65.0, 85.0]")
    ]


def test_the_command_prints_and_names_what_is_no_run(two, capsys):
    one, other = two
    write_run(one)
    write_run(other)
    assert run_command("compare", [str(one), str(other)]) == 0
    assert "Scores in %" in capsys.readouterr().out
    assert run_command("compare", [str(one), str(one.parent)]) == 1
    assert "there is no run.json and no manifest.json" in capsys.readouterr().err
    assert run_command("compare", [str(one), "nowhere"]) == 1
    assert "'nowhere' is not a folder" in capsys.readouterr().err


def test_a_damaged_ledger_is_named(two):
    one, other = two
    for folder in two:
        write_plan(folder, ledger_of(list("ab")), [[0, 1]])
    (other / "ledger.parquet").write_bytes(b"half a fi")
    with pytest.raises(RunError, match=r"b: its manifest or ledger cannot be read"):
        compare(one, other)


def write_answers(folder, easy, hard, metric):
    """A run with so many right of 128 easy and of 32 hard questions, a video each."""
    correct = [("easy", i < easy) for i in range(128)] + [("hard", i < hard) for i in range(32)]
    rows = [
        {"question_id": f"{i:03d}", "video": f"{i}.mp4", "category": category, "options": ["a", "b"], "gold": 0}
        | {"choice": 0 if is_correct else 1, "correct": is_correct}
        for i, (category, is_correct) in enumerate(correct)
    ]
    folder.mkdir()
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = score(read_predictions(folder / "answers.jsonl"), metric=metric, file="answers.jsonl")
    write_run(folder, scores={"clips": {"after": found}})


def test_the_difference_is_that_of_the_scores_beside_it(two):
    one, other = two
    write_answers(one, 120, 4, "macro_accuracy")
    write_answers(other, 88, 28, "macro_accuracy")
    text = compare(one, other)
    # (120 / 128 + 4 / 32) / 2 and (88 / 128 + 28 / 32) / 2, where 124 and 116 of all 160 are right.
    assert rows(text, "Scores in %")["clips"][1::2] == ["53.1", "78.1"]
    assert rows(text, "Paired differences")["clips"][1:3] == ["higher", "+25.0"]
    assert "Of the benchmark's own score" in text


def test_other_scores_of_one_benchmark_are_not_compared(two):
    one, other = two
    write_answers(one, 120, 4, "macro_accuracy")
    write_answers(other, 88, 28, "accuracy")
    (table,) = paired_tables(one, RunRecord.load(one), other, RunRecord.load(other))
    assert table.rows[0][2] == "not compared: the score is macro_accuracy of A and accuracy of B"
