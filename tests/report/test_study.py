"""Arms over seeds: means and deviations by hand, seeds that are factors, twins, and numbers that are none."""

import json
import re
import shutil

import pytest
from matplotlib.axes import Axes

from sparrow.analysis.answers import read_predictions
from sparrow.analysis.scores import score
from sparrow.report.arm import Arm
from sparrow.report.data_value import curves
from sparrow.report.plots import bars
from sparrow.report.study import read_studies
from sparrow.runs.settings import Study
from tests.report.run_folders import (
    CATEGORIES,
    add_exact_run,
    ask_another,
    cells,
    rewrite_answers,
    text_of,
    write_answers,
)

FACTORS = {"mixture": "a", "mixture.num_samples": 120}


def seeds(root, correct, mixture="a", first=0, **changes):
    for seed, count in enumerate(correct, first):
        scores = {"clips": {"before": 10, "after": count}}
        add_exact_run(root / f"{mixture}{seed}", {**FACTORS, "mixture": mixture}, scores, seed=seed, **changes)


def table(root, title):
    return cells(text_of(root), title)


def test_mean_and_deviation_over_seeds_the_best_in_bold(tmp_path):
    seeds(tmp_path, [20, 22, 24])
    seeds(tmp_path, [30, 30, 33], "b")
    assert table(tmp_path, "Results") == [
        ["a", "55.0 ± 5.0", "3", "120", "240,000", "2.00"],
        ["b", "**77.5 ± 4.3**", "3", "120", "240,000", "2.00"],
    ]
    row = table(tmp_path, "Scores")[0]
    assert row[2:6] == ["25.0", "55.0", "[42.6, 67.4]", "+30.0"]
    (row,) = table(tmp_path, "Differences between arms")
    # 10, 8, 9 questions of 40: mean 22.5 points, standard error 2.5 / sqrt(3), t(0.975, 2) = 4.3027.
    assert row[3:7] == ["higher", "3 seeds", "+22.5", "[+16.3, +28.7]"]
    assert row[7:] == ["0.004", "0.004"]


def test_a_single_seed_says_that_there_is_no_deviation(tmp_path):
    seeds(tmp_path, [20])
    text = text_of(tmp_path)
    assert cells(text, "Results")[0][1] == "50.0"
    assert "A single seed: no standard deviation." in text
    assert "±" not in text


def test_a_seed_is_averaged_also_where_it_is_declared_a_factor(tmp_path):
    study = Study(name="s", factors=["seed", "mixture"])
    for seed in (0, 1):
        add_exact_run(
            tmp_path / str(seed), {"seed": seed, "mixture": "a"}, {"clips": {"after": 20}}, seed=seed, study=study
        )
    (results,) = read_studies([tmp_path])
    assert [(arm.label, len(arm.runs)) for arm in results.arms] == [("a", 2)]


def test_p_values_are_adjusted_and_the_verdict_says_where_that_matters(tmp_path):
    for mixture, count in {"a": 10, "b": 16, "c": 17, "d": 18}.items():
        seeds(tmp_path, [count], mixture)
    rows = table(tmp_path, "Differences between arms")
    # McNemar for 6 of 6: 2 / 2^6 = 0.031, the third smallest of six.
    (row,) = [row for row in rows if row[1:3] == ["a", "b"]]
    assert (row[3], row[7], row[8]) == ("higher, not after Holm", "0.031", "0.125")


def test_arms_are_called_by_what_tells_them_apart_and_the_baseline_by_a_value(tmp_path):
    seeds(tmp_path, [20, 22])
    seeds(tmp_path, [30, 30], "b")
    declared = {"study": Study("scaling", factors=[*FACTORS], baseline="b"), "started_at": "2026-01-02T00:00:00+00:00"}
    add_exact_run(tmp_path / "b2", FACTORS | {"mixture": "b"}, {"clips": {"after": 30}}, seed=2, **declared)
    (results,) = read_studies([tmp_path])
    assert [arm.label for arm in results.arms] == ["a", "b"]
    assert [arm.label for arm in results.baselines] == ["b"]
    half = {"mixture": "half", "mixture.num_samples": 60}  # a size that follows from the mixture
    add_exact_run(tmp_path / "half", half, {"clips": {"after": 30}}, **declared)
    (results,) = read_studies([tmp_path])
    assert [arm.label for arm in results.arms] == ["half", "a", "b"]
    assert curves(results) == []
    more = {"mixture": "b", "mixture.num_samples": 240}
    add_exact_run(tmp_path / "b3", more, {"clips": {"after": 30}}, seed=3, **declared)
    (results,) = read_studies([tmp_path])
    assert [arm.label for arm in results.arms] == [
        "mixture=half, num_samples=60",
        "mixture=a, num_samples=120",
        "mixture=b, num_samples=120",
        "mixture=b, num_samples=240",
    ]
    half, a, *baselines = results.arms
    assert results.baselines == baselines
    assert all(baselines[0].is_called(name) for name in ("b", "mixture=b", "mixture.num_samples=120,mixture=b"))
    assert not baselines[0].is_called("mixture=a")
    assert results.baseline_of(a).label == "mixture=b, num_samples=120"
    assert results.baseline_of(half).label == "mixture=b, num_samples=240", "the last where none has more in common"
    assert results.baseline_of(baselines[0]) is None


@pytest.mark.parametrize("name", ["claim_video", "world/claim_video", "mixture=world/claim_video, num_samples=4"])
def test_an_arm_of_the_world_goes_by_the_name_that_is_typed_too(name):
    arm = Arm("mixture=claim_video, num_samples=4", (), {"mixture": "claim_video", "mixture.num_samples": 4})
    assert arm.is_called(name)
    assert not arm.is_called("world/video")


def test_only_comparisons_that_were_declared_primary_are_adjusted(tmp_path):
    study = Study(name="s", factors=["mixture"], baseline="c", primary=["clips"])
    for mixture, count in {"a": 17, "b": 18, "c": 10}.items():
        scores = {"clips": {"after": count}, "others": {"after": count}}
        add_exact_run(tmp_path / mixture, {"mixture": mixture}, scores, study=study)
    rows = {tuple(row[:3]): row[3:] for row in table(tmp_path, "Differences between arms")}
    # McNemar for 7 of 7 and 8 of 8: 0.0156 and 0.0078, of two comparisons.
    assert [rows["clips", "c", mixture][0] for mixture in "ab"] == ["higher", "higher"]
    assert [rows["clips", "c", mixture][-2:] for mixture in "ab"] == [["0.016", "0.016"], ["0.008", "0.016"]]
    assert rows["clips", "a", "b"][0] == "no difference shown"
    assert (rows["others", "c", "a"][0], rows["others", "c", "a"][-2:]) == ("higher, exploratory", ["0.016", "-"])
    assert len(rows) == 6
    told = "over the comparisons with a baseline on clips (other rows are exploratory)"
    assert told in text_of(tmp_path)


def test_twins_are_counted_once_or_kept_apart(tmp_path):
    seeds(tmp_path, [20, 24])
    add_exact_run(tmp_path / "copy", FACTORS, {"clips": {"after": 20}}, seed=0, started_at="2026-01-02T00:00:00+00:00")
    add_exact_run(tmp_path / "other", FACTORS, {"clips": {"after": 40}}, seed=1, run_id="x", started_at="2026-01-03")
    rows = table(tmp_path, "Results")
    name = tmp_path.name
    assert [row[:3] for row in rows] == [
        ["mixture=a, num_samples=120", "55.0 ± 7.1", "2"],
        [f"mixture=a, num_samples=120 [{name}/other]", "**100.0**", "1"],
    ]
    assert [row[2:] for row in table(tmp_path, "Runs to look at")] == [
        [f"{name}/copy", f"the same run as {name}/a0: counted once"],
        [f"{name}/other", f"same arm and seed as {name}/a1, other settings: an arm of its own"],
    ]


def test_of_two_equal_runs_the_finished_one_counts(tmp_path):
    add_exact_run(tmp_path / "1", FACTORS, {}, status="failed")
    add_exact_run(tmp_path / "2", FACTORS, {"clips": {"after": 20}})
    assert table(tmp_path, "Results")[0][:2] == ["mixture=a, num_samples=120", "50.0"]


def test_nan_in_a_record_is_a_marked_row_and_no_number(tmp_path):
    seeds(tmp_path, [20, 24])
    path = tmp_path / "a1" / "run.json"
    raw = json.loads(path.read_text())
    raw["scores"]["clips"]["after"] |= {"accuracy": float("nan"), "low": float("nan")}
    path.write_text(json.dumps(raw))
    text = text_of(tmp_path)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert cells(text, "Results")[0][1] == "50.0"
    assert cells(text, "Runs to look at")[0][3] == "clips, after: the score is not a number"


def test_a_folder_of_another_version_is_named(tmp_path):
    seeds(tmp_path, [20])
    path = tmp_path / "a0" / "run.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 7'))
    assert "schema version 7, this version of Sparrow reads 1" in table(tmp_path, "Runs to look at")[0][3]


def test_studies_of_one_name_in_several_folders_are_one_and_labels_stay_apart(tmp_path):
    seeds(tmp_path / "x" / "study", [20])
    seeds(tmp_path / "y" / "study", [30], "b")
    (results,) = read_studies([tmp_path / "x" / "study", tmp_path / "y" / "study"])
    assert sorted(run.label for run in results.runs) == ["study#2/b0", "study/a0"]
    assert len(results.arms) == 2


def test_an_evaluation_of_the_backbone_is_the_zero_shot_arm(tmp_path):
    config = {"seed": 0, "data_seed": 0, "backbone": {"checkpoint": "org/model"}}
    add_exact_run(tmp_path / "a", FACTORS, {"clips": {"after": 30}}, config=config)
    zero = {"checkpoint": "org/model", "seed": 0, "data_seed": 0}
    add_exact_run(
        tmp_path / "z", {"mixture": None}, {"clips": {"after": 10}}, command="evaluate", config=zero, data={}, time_s={}
    )
    (results,) = read_studies([tmp_path])
    arm = next(arm for arm in results.arms if not arm.is_zero_shot)
    assert {other.label for other in results.arms} == {"a", "zero-shot"}
    assert results.gain(arm, "clips") == pytest.approx(0.5)


def test_each_backbone_has_its_own_zero_shot_score(tmp_path):
    study = Study(name="two", factors=["backbone"])
    zero = {"command": "evaluate", "data": {}, "time_s": {}, "study": study}
    for name, before, after in (("small", 11, 24), ("big", 28, 33)):
        config = {"seed": 0, "data_seed": 0, "backbone": {"checkpoint": f"org/{name}"}}
        add_exact_run(tmp_path / name, {"backbone": name}, {"clips": {"after": after}}, config=config, study=study)
        asked = {"seed": 0, "data_seed": 0, "checkpoint": f"org/{name}"}
        factors = {"checkpoint": f"org/{name}"}
        add_exact_run(tmp_path / f"zero_{name}", factors, {"clips": {"after": before}}, config=asked, **zero)
    (results,) = read_studies([tmp_path])
    gains = {arm.factors.get("backbone"): results.gain(arm, "clips") for arm in results.arms if not arm.is_zero_shot}
    assert gains == {"small": pytest.approx(13 / 40), "big": pytest.approx(5 / 40)}


def test_checkpoints_of_one_folder_name_are_two_arms(tmp_path):
    study = Study(name="frames", factors=["checkpoint", "frames.max_frames"])
    for seed, (mixture, right) in enumerate({"video": 11, "sparrow": 33}.items()):
        for frames in (24, 48):
            factors = {"checkpoint": f"outputs/{mixture}/run", "frames.max_frames": frames}
            config = {"checkpoint": factors["checkpoint"], "seed": 0, "data_seed": seed}
            evaluated = {"command": "evaluate", "config": config, "data": {}, "time_s": {}, "study": study}
            add_exact_run(tmp_path / f"{mixture}{frames}", factors, {"clips": {"after": right}}, **evaluated)
    (results,) = read_studies([tmp_path])
    labels = [f"checkpoint={mixture}/run, max_frames={n}" for n in (24, 48) for mixture in ("video", "sparrow")]
    assert sorted(arm.label for arm in results.arms) == sorted(labels)


def test_categories_and_groups_of_a_benchmark_have_names(tmp_path):
    seeds(tmp_path, [20])
    (results,) = read_studies([tmp_path])
    assert results.arms[0].estimate("clips.colour").mean == 0.5
    assert results.arms[0].estimate("clips.macro_accuracy").mean == 0.5
    assert results.arms[0].estimate("clips.absent") is None


def test_answers_that_changed_on_disk_are_read_again(tmp_path):
    seeds(tmp_path, [20])
    seeds(tmp_path, [20], "b")
    assert table(tmp_path, "Differences between arms")[0][3] == "no difference shown"
    write_answers(tmp_path / "b0" / "predictions" / "after" / "clips.jsonl", [True] * 40)
    assert table(tmp_path, "Differences between arms")[0][3] == "higher"


def test_categories_are_compared_over_seeds_with_the_baseline(tmp_path):
    study = Study(name="s", factors=["mixture"], baseline="plain")
    for seed, gained in enumerate((6, 8, 10)):
        # The first questions are right, of which every second is of each category.
        for mixture, right in (("mixed", 10 + 2 * gained), ("plain", 10)):
            add_exact_run(
                tmp_path / f"{mixture}{seed}", {"mixture": mixture}, {"clips": {"after": right}}, study=study, seed=seed
            )
    text = text_of(tmp_path)
    rows = cells(text, "Differences by category, from plain")
    half = 100 * 4.3026527 * 2 / 20 / 3**0.5  # t(0.975, 2) s / sqrt(3), of 6, 8 and 10 more of 20 questions
    expected = f"**+40.0 [{40 - half:+.1f}, {40 + half:+.1f}]**"
    assert rows == [["clips", name, expected] for name in sorted(CATEGORIES[:2])]
    assert "Nothing is adjusted for the number of categories" in text
    assert cells(text, "By category, after training")[1][-2:] == ["65.0 ± 10.0", "25.0 ± 0.0"]


def test_records_alone_give_the_differences_over_seeds(tmp_path):
    """A lab book keeps `run.json`, a hundredth of the answers' size."""
    for seed in range(3):
        for mixture, right in (("a", 20 - seed), ("b", 28 + seed)):
            add_exact_run(tmp_path / f"{mixture}{seed}", {"mixture": mixture}, {"clips": {"after": right}}, seed=seed)
    whole = text_of(tmp_path)
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder / "predictions")
    assert text_of(tmp_path) == whole
    record = add_exact_run(tmp_path / "b1", {"mixture": "b"}, {"clips": {"after": 29}}, seed=1)
    ask_another(record, tmp_path / "b1")
    shutil.rmtree(tmp_path / "b1" / "predictions")
    assert "not compared: the questions differ" in table(tmp_path, "Differences between arms")[0][3]
    for path in (tmp_path / "b1").glob("run.json"):  # of an older version, which did not say which questions it asked
        path.write_text(re.sub(r'"questions_hash": "\w+"', '"questions_hash": ""', path.read_text()))
    assert text_of(tmp_path) == whole


def test_records_alone_do_not_tell_where_questions_would_be_the_unit(tmp_path):
    for seed in range(2):
        for mixture, right in (("a", 20 - seed), ("b", 28 + seed)):
            folder = tmp_path / f"{mixture}{seed}"
            add_exact_run(folder, {"mixture": mixture}, {"clips": {"after": right}}, seed=seed)
            shutil.rmtree(folder / "predictions")
    assert "cannot be read" in table(tmp_path, "Differences between arms")[0][3]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"question_id": lambda row: f"other {row['question_id']}"}, "the questions differ: 40 only in the first, 40"),
        ({"gold": 1}, "40 of 40 questions have another gold answer or video"),
        ({"video": "another.mp4"}, "40 of 40 questions have another gold answer or video"),
    ],
)
def test_arms_that_answered_other_questions_are_not_compared(tmp_path, changes, why):
    seeds(tmp_path, [20, 22, 24])
    seeds(tmp_path, [30, 30, 33], "b")
    for seed in range(3):
        rewrite_answers(tmp_path / f"b{seed}", **changes)
    (row,) = table(tmp_path, "Differences between arms")
    assert row[3].startswith(f"not compared: {why}")
    assert set(row[4:]) == {"-"}


def test_each_data_seed_may_ask_its_own_questions(tmp_path):
    for seed, counts in enumerate([(20, 30), (22, 30), (24, 33)]):
        for mixture, count in zip("ab", counts, strict=True):
            config = {"seed": 0, "data_seed": seed}
            folder = tmp_path / f"{mixture}{seed}"
            add_exact_run(folder, {"mixture": mixture}, {"clips": {"after": count}}, seed=seed, config=config)
            rewrite_answers(folder, question_id=lambda row, seed=seed: f"{seed} {row['question_id']}")
    (row,) = table(tmp_path, "Differences between arms")
    assert row[3:7] == ["higher", "3 seeds", "+22.5", "[+16.3, +28.7]"]
    for mixture in "ab":
        shutil.rmtree(tmp_path / f"{mixture}2")
    (row,) = table(tmp_path, "Differences between arms")
    assert row[3].startswith("not compared: each pair of runs was asked its own questions")


def test_seeds_that_only_one_arm_has_are_left_out_of_pairs_and_the_row_says_so(tmp_path):
    seeds(tmp_path, [20, 22, 24, 10, 10])
    seeds(tmp_path, [30, 30, 33], "b")
    (row,) = table(tmp_path, "Differences between arms")
    assert row[3:7] == ["higher", "3 of 5 seeds", "+22.5", "[+16.3, +28.7]"]
    shutil.rmtree(tmp_path / "b2")
    text = text_of(tmp_path)
    assert cells(text, "Differences between arms")[0][4:6] == ["40 questions, 2 of 5 seeds", "+22.5"]
    assert "Arms of unequal seeds are compared over those that both have" in text


@pytest.mark.parametrize(("correct", "first"), [([30, 30, 33], 2), ([30, 33, 30], 2), ([30, 30, 33], 3)])
def test_runs_without_two_common_seeds_are_no_pairs_whatever_their_order(tmp_path, correct, first):
    seeds(tmp_path, [20, 22, 24])
    seeds(tmp_path, correct, "b", first=first)
    text = text_of(tmp_path)
    (row,) = cells(text, "Differences between arms")
    # Means 55 and 77.5 %, standard deviations 5 and 4.33 over three runs: standard error 3.819, 3.92 degrees of freedom.
    assert row[3:] == ["higher", "3 and 3 runs", "+22.5", "[+11.8, +33.2]", "0.004", "0.004"]
    assert "Welch's t" in text
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder / "predictions")
    assert text_of(tmp_path) == text, "their scores say the same"


def test_a_single_run_stands_against_all_of_the_other_arm(tmp_path):
    seeds(tmp_path, [20])
    seeds(tmp_path, [20, 30, 40], "b")
    (row,) = table(tmp_path, "Differences between arms")
    assert row[4:6] == ["40 questions, 1 and 3 runs", "+25.0"]


def test_an_arm_is_its_own_pair_also_where_one_run_got_there(tmp_path):
    seeds(tmp_path, [20])
    for seed in (1, 2):
        add_exact_run(tmp_path / str(seed), FACTORS | {"mixture": "a"}, {"clips": {"before": 30}}, seed=seed)
    (row,) = table(tmp_path, "What training and frames gave")
    assert row[4:6] == ["40 questions, 1 of 3 seeds", "+25.0"]


def test_a_gain_is_of_the_runs_that_have_both_numbers(tmp_path):
    seeds(tmp_path, [20, 24])
    add_exact_run(tmp_path / "lost", FACTORS, {"clips": {"before": 40}}, seed=2, status="failed")
    text = text_of(tmp_path)
    assert cells(text, "Scores")[0][2:6:3] == ["50.0", "+30.0"]
    assert cells(text, "Gain over zero-shot and its price")[0][2] == "+30.0"
    (results,) = read_studies([tmp_path])
    assert results.gain(results.arms[0], "clips") == pytest.approx(0.3)


@pytest.mark.parametrize("started_at", ["2025-12-31", "2026-01-03"])
def test_a_later_evaluation_leaves_the_declaration_of_the_trainings(tmp_path, started_at):
    study = Study("s", "What?", ["mixture"], baseline="b", primary=["clips"])
    seeds(tmp_path, [20], study=study)
    seeds(tmp_path, [30], "b", study=study)
    evaluation = {"study": Study("s"), "command": "evaluate", "started_at": started_at, "data": {}, "time_s": {}}
    add_exact_run(tmp_path / "z", {"checkpoint": "org/model"}, {"clips": {"after": 10}}, **evaluation)
    (results,) = read_studies([tmp_path])
    assert results.study == study
    for folder in ("a0", "b0"):
        shutil.rmtree(tmp_path / folder)
    (results,) = read_studies([tmp_path])
    assert results.study == Study("s")


@pytest.mark.parametrize("baseline", ["2", "num_frames=2", "frames.num_frames=2"])
def test_a_baseline_may_be_a_number(tmp_path, baseline):
    study = Study("s", factors=["frames.num_frames"], baseline=baseline)
    for num_frames in (1, 2):
        add_exact_run(
            tmp_path / f"{num_frames}", {"frames.num_frames": num_frames}, {"clips": {"after": 9}}, study=study
        )
    (results,) = read_studies([tmp_path])
    assert [arm.label for arm in results.baselines] == ["num_frames=2"]
    assert "Runs to look at" not in text_of(tmp_path)


def test_a_baseline_that_is_no_arm_is_told_and_nothing_is_primary(tmp_path):
    for mixture, count in {"a": 10, "b": 18}.items():
        seeds(tmp_path, [count], mixture, study=Study("s", factors=["mixture"], baseline="c", primary=["clips"]))
    text = text_of(tmp_path)
    (row,) = cells(text, "Differences between arms")
    assert (row[3], row[-1]) == ("higher, exploratory", "-")
    (row,) = cells(text, "Runs to look at")
    assert row[2] == f"{tmp_path.name}/b0"
    assert row[3].startswith("study.baseline 'c' names none of the arms with scores (a; b): the first stands in for it")
    shutil.rmtree(tmp_path / "a0")
    assert "Runs to look at" not in text_of(tmp_path), "nothing is compared"


def score_uneven(root, mixture, counts, metric="macro_accuracy"):
    """Runs with so many right of 128 easy and of 32 hard questions."""
    for seed, (easy, hard) in enumerate(counts):
        folder = root / f"{mixture}{seed}"
        record = add_exact_run(folder, {**FACTORS, "mixture": mixture}, {}, seed=seed)
        file = "predictions/after/clips.jsonl"
        write_answers(folder / file, [i < easy for i in range(128)] + [i < hard for i in range(32)])
        rewrite_answers(folder, category=lambda row: "easy" if row["question_id"] < "q0128" else "hard")
        record.scores["clips"] = {"after": score(read_predictions(folder / file), metric=metric, file=file)}
        record.save(folder)


@pytest.mark.parametrize("num_seeds", [1, 2, 3])
def test_arms_are_compared_by_the_benchmarks_own_score(tmp_path, num_seeds):
    """Fewer answers are right, and the mean of the categories is higher."""
    score_uneven(tmp_path, "a", [(120, 4), (112, 4), (116, 4)][:num_seeds])
    score_uneven(tmp_path, "b", [(88, 28), (80, 24), (85, 28)][:num_seeds])
    text = text_of(tmp_path)
    (results,) = read_studies([tmp_path])
    one, other = (arm.estimate("clips").mean for arm in results.arms)
    (row,) = cells(text, "Differences between arms")
    assert row[3] == "higher"
    assert float(row[5]) == pytest.approx(100 * (other - one), abs=0.05)
    assert "Second minus first, of each benchmark's own score" in text
    easy, hard = cells(text, "Differences by category, from a")
    assert (easy[1], easy[2][:3], hard[1], hard[2][:3]) == ("easy", "**-", "hard", "**+")
    if num_seeds == 3:
        for folder in tmp_path.iterdir():
            shutil.rmtree(folder / "predictions")
        assert text_of(tmp_path) == text, "their scores say the same"


def test_one_category_may_be_the_score_that_is_compared(tmp_path):
    for mixture, counts in {"a": (120, 4), "b": (8, 10)}.items():
        score_uneven(tmp_path, mixture, [counts], "by_category.hard.accuracy")
    (row,) = table(tmp_path, "Differences between arms")
    # McNemar for 6 of 6.
    assert (row[3:6], row[7]) == (["higher", "32 questions", "+18.8"], "0.031")


def test_arms_of_other_scores_are_not_compared(tmp_path):
    score_uneven(tmp_path, "a", [(30, 1)])
    score_uneven(tmp_path, "b", [(22, 7)], "accuracy")
    (row,) = table(tmp_path, "Differences between arms")
    assert row[3] == "not compared: the score is not the same number in all runs: accuracy, macro_accuracy"
    assert set(row[4:]) == {"-"}
    assert len(table(tmp_path, "Differences by category, from a")) == 2


def test_the_picture_shows_the_benchmarks_own_score_and_its_chance(tmp_path, monkeypatch):
    drawn, lines, names = [], [], []
    barh, axvline, set_xlabel = Axes.barh, Axes.axvline, Axes.set_xlabel
    monkeypatch.setattr(
        Axes, "barh", lambda self, y, width, *a, **k: (drawn.append(width), barh(self, y, width, *a, **k))
    )
    monkeypatch.setattr(Axes, "axvline", lambda self, x, **k: (lines.append(x), axvline(self, x, **k)))
    monkeypatch.setattr(Axes, "set_xlabel", lambda self, text: (names.append(text), set_xlabel(self, text)))
    score_uneven(tmp_path, "a", [(120, 4)])
    score_uneven(tmp_path, "b", [(88, 28)])
    (results,) = read_studies([tmp_path])
    assert bars([results]) is not None
    own = [100 * arm.estimate("clips").mean for arm in results.arms]
    assert (drawn, lines, names) == (pytest.approx(own), [50.0], ["macro_accuracy (%)"])
