"""What data was worth, in the written tables, on studies whose numbers follow from counts of right answers."""

import re
from pathlib import Path

import numpy as np
import pytest

from sparrow.analysis.seeds import student_interval
from sparrow.report.cost import shared_steps
from sparrow.report.data_value import curves
from sparrow.report.output import build_report
from sparrow.report.plots import pictures, vendi_score
from sparrow.report.study import read_studies
from sparrow.runs.record import Diversity, RunRecord
from sparrow.runs.settings import Study
from tests.report.run_folders import add_exact_run, add_run, cells, text_of

SIZES = (30_000, 60_000, 120_000)
OURS = {"seed": 0, "data_seed": 0, "trainer": {"devices": 4, "num_nodes": 2}, "backbone": {"checkpoint": "org/Some-8B"}}


def scaling(root: Path, video=(100, 120, 140), sparrow=(110, 130, 150), seeds=1, **changes) -> Path:
    """Two curves of 400 questions: each doubling of the video samples is worth 5 points."""
    for mixture, counts in {"video": video, "sparrow": sparrow}.items():
        for minute, (size, count) in enumerate(zip(SIZES, counts, strict=False)):
            for seed in range(seeds):
                add_exact_run(
                    root / f"{mixture}{size}s{seed}",
                    {"mixture": mixture, "mixture.num_samples": size},
                    {"clips": {"before": 80, "after": count + 4 * seed}},
                    num_questions=400,
                    seed=seed,
                    started_at=f"2026-01-01T00:{minute:02d}:{0 if mixture == 'video' else 30}+00:00",
                    **changes,
                )
    return root


def test_gains_and_their_price(tmp_path):
    rows = cells(text_of(scaling(tmp_path)), "Gain over zero-shot and its price")
    # 100 of 400 after 80 of 400: 5 points for 30K samples, 60M tokens, 900 s on 4 x 2 GPUs.
    assert rows[0] == ["clips", "mixture=video, num_samples=30000", "+5.0", "+0.167", "+0.0833", "+2.5"]
    assert rows[1] == ["clips", "mixture=sparrow, num_samples=30000", "+7.5", "+0.25", "+0.125", "+3.75"]


def test_without_a_gpu_there_is_no_price_in_gpu_hours(tmp_path):
    rows = cells(text_of(scaling(tmp_path, peak_memory_bytes={"host": 1})), "Gain over zero-shot and its price")
    assert {row[5] for row in rows} == {"-"}


def test_equivalent_samples_and_their_ratio(tmp_path):
    text = text_of(scaling(tmp_path))
    rows = cells(text, "Equivalent samples of video")
    # Half a doubling: 30K x sqrt(2), 60K x sqrt(2); the last is half a doubling above what was measured.
    assert [row[1:3] + row[4:5] for row in rows] == [
        ["mixture=sparrow, num_samples=30000", "42,426", "1.41"],
        ["mixture=sparrow, num_samples=60000", "84,853", "1.41"],
        ["mixture=sparrow, num_samples=120000", r"outside the measured range: > 120,000", "> 1.00"],
    ]
    low, high = rows[0][3].strip("[]").split(", ")
    assert low.startswith(r"\<") or float(low.replace(",", "")) < 42_426
    assert float(high.replace(",", "")) > 42_426
    fits = cells(text, "Learning curves")
    residuals = "30,000: +0.00, 60,000: +0.00, 120,000: +0.00"
    assert fits[0][:5] == ["clips", "video", "-49.4 +7.2 ln n", residuals, "0.00"]
    # From 20 % at 0 over 25, 30 to 35 % at 120K: (22.5 x 30 + 27.5 x 30 + 32.5 x 60) / 120.
    assert fits[0][5] == "28.8"


def test_the_interval_over_three_seeds_is_wider_than_what_they_say(tmp_path):
    """The video arms do not vary, the other one is worth 106 to 114 questions: Student's interval has them 110 -+ 9.9,
    which the curve of 100 + 20 log2(n / 30000) reaches at these n."""
    study = Study("s", factors=["mixture", "mixture.num_samples"], baseline="video")
    for seed, count in enumerate((106, 110, 114)):
        arms = [*(("video", size, 100 + 20 * i) for i, size in enumerate(SIZES)), ("b", 60_000, count)]
        for mixture, size, right in arms:
            factors, scores = {"mixture": mixture, "mixture.num_samples": size}, {"clips": {"after": right}}
            add_exact_run(
                tmp_path / f"{mixture}{size}{seed}", factors, scores, num_questions=400, seed=seed, study=study
            )
    (row,) = cells(text_of(tmp_path), "Equivalent samples of video")
    low, high = student_interval([106, 110, 114])
    found = [float(bound.replace(",", "")) for bound in re.findall(r"[\d,]+\d", row[3])]
    assert found == pytest.approx([30_000 * 2 ** ((bound - 100) / 20) for bound in (low, high)], rel=1e-3)


def test_seeds_by_which_all_arms_shift_alike_leave_the_videos_to_be_resampled(tmp_path):
    (row, *_) = cells(text_of(scaling(tmp_path, seeds=3)), "Equivalent samples of video")
    low, high = (float(bound.replace(",", "")) for bound in re.findall(r"[\d,]+\d", row[3]))
    assert row[2] == "42,426"
    assert low < 40_500 and high > 44_500


@pytest.mark.parametrize("baseline", ["sparrow", "mixture=sparrow", "mixture=sparrow, num_samples=30000"])
def test_the_baseline_can_be_named(tmp_path, baseline):
    study = Study(name="scaling", factors=["mixture", "mixture.num_samples"], baseline=baseline)
    rows = cells(text_of(scaling(tmp_path, study=study)), "Equivalent samples of sparrow")
    assert rows[0][1:3] == ["mixture=video, num_samples=30000", r"outside the measured range: \< 30,000"]


def test_of_several_curves_that_are_the_baseline_the_one_of_most_sizes_is(tmp_path):
    study = Study(name="s", factors=["mixture", "mixture.num_samples", "share"], baseline="video")
    for mixture, share, sizes in (("sparrow", 0, SIZES), ("video", 1, SIZES[:1]), ("video", 0, SIZES[:2])):
        for size in sizes:
            factors = {"mixture": mixture, "mixture.num_samples": size, "share": share}
            add_exact_run(tmp_path / f"{mixture}{share}{size}", factors, {"clips": {"after": 20}}, study=study)
    (results,) = read_studies([tmp_path])
    assert curves(results)[0].label == "mixture=video, share=0"


def test_too_few_points_are_refused_with_how_many_are_needed(tmp_path):
    text = text_of(scaling(tmp_path, video=(100, 120), sparrow=(110, 130)))
    why = "none: a fit needs 3 different sizes above 0, there are 2"
    assert {row[2] for row in cells(text, "Learning curves")} == {why}
    assert [row[:3] for row in cells(text, "Equivalent samples of video")] == [["clips", "all arms", why]]


def test_a_study_without_a_swept_size_has_no_curve(tmp_path):
    for mixture in ("a", "b"):
        add_exact_run(tmp_path / mixture, {"mixture": mixture}, {"clips": {"before": 10, "after": 20}})
    text = text_of(tmp_path)
    assert "Learning curves" not in text and "Equivalent samples" not in text
    assert "Gain over zero-shot" in text


def published(**table):
    table = {
        "backbone": "Some-8B",
        "source": "arXiv 1, Table 2",
        "protocol": "released",
        "max_frames": 8,
        "zero_shot": {"clips": 20.0},
        "arms": {"mixture=video,mixture.num_samples=30000": {"clips": 24.0}, "another": {"clips": 31.5}},
        **table,
    }
    return Study(name="scaling", factors=["mixture", "mixture.num_samples"], published=table)


def test_a_published_score_stands_beside_ours_on_the_same_backbone(tmp_path):
    text = text_of(scaling(tmp_path, study=published(), config=OURS))
    assert cells(text, "Published") == [
        ["Some-8B", "zero-shot", "clips", "20.0", "-", "20.0", "-"],
        ["Some-8B", "mixture=video,mixture.num_samples=30000", "clips", "24.0", "+4.0", "25.0", "+5.0"],
        ["Some-8B", "another", "clips", "31.5", "+11.5", "-", "-"],
    ]
    assert "Some-8B: arXiv 1, Table 2." in text


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"protocol": "official"}, "clips: protocol official there, released here"),
        ({"max_frames": 24}, "clips: max frames 24 there, 8 here"),
        ({"metrics": {"clips": "macro_accuracy"}}, "clips: metric macro_accuracy there, accuracy here"),
        ({"protocol": None}, "study.published does not state its protocol"),
    ],
)
def test_a_published_score_that_was_asked_otherwise_is_left_out_and_the_difference_named(tmp_path, changes, named):
    text = text_of(scaling(tmp_path, study=published(**changes), config=OURS))
    assert cells(text, "Published") == [
        ["Some-8B", "mixture=video,mixture.num_samples=30000", "clips", "-", "+4.0", "25.0", "+5.0"],
        ["Some-8B", "another", "clips", "31.5", "+11.5", "-", "-"],
    ]
    assert f"Left out, since ours were asked otherwise: {named}." in text


def test_of_another_backbone_only_the_published_gain_is_shown(tmp_path):
    rows = cells(text_of(scaling(tmp_path, study=published(backbone="Other-8B"), config=OURS)), "Published")
    assert rows == [
        ["Other-8B", "mixture=video,mixture.num_samples=30000", "clips", "-", "+4.0", "25.0", "+5.0"],
        ["Other-8B", "another", "clips", "-", "+11.5", "-", "-"],
    ]


@pytest.mark.parametrize(("backbone", "lines"), [("Some-8B", 1), ("Other-8B", 0)])
def test_a_published_curve_is_a_reference_line_on_the_same_backbone_only(tmp_path, monkeypatch, backbone, lines):
    drawn = []
    monkeypatch.setattr("sparrow.report.plots._saved", lambda figure: (drawn.append(figure), (b"", b""))[1])
    pictures(read_studies([scaling(tmp_path, study=published(backbone=backbone), config=OURS)]))
    (axes,) = drawn[1].get_axes()
    labels = axes.get_legend_handles_labels()[1]
    assert [label for label in labels if label.startswith("published")] == ["published: Some-8B, video"] * lines
    assert {"video", "sparrow"} <= set(labels)
    (line,) = [container[0] for container in axes.containers if container.get_label() == "video"]
    assert np.diff(line.get_xdata()).tolist() == np.diff([0, *SIZES]).tolist()
    assert line.get_ydata().tolist() == [20, 25, 30, 35]


def test_several_published_tables_and_one_that_cannot_be_read(tmp_path):
    good = published().published
    study = Study(
        name="scaling", factors=["mixture", "mixture.num_samples"], published={"one": good, "two": {"arms": 3}}
    )
    rows = cells(text_of(scaling(tmp_path, study=study, config=OURS)), "Published")
    assert rows[-1][0].startswith("study.published.two cannot be read")
    assert rows[0][:4] == ["Some-8B", "zero-shot", "clips", "20.0"]


def test_the_mean_of_the_papers_benchmarks_is_a_column(tmp_path):
    formats = {"a": "video_mme", "b": "mvbench", "c": "tempcompass"}
    record = add_exact_run(
        tmp_path, {"mixture": "x"}, {name: {"after": 10 * (i + 1)} for i, name in enumerate(formats)}
    )
    for name, kind in formats.items():
        score = record.scores[name]["after"]
        score.protocol = {"format": kind, "frames": 8, "note": "40 of 2700 published questions"}
        score.by_category["multi-choice"] = score.by_category["colour"]
    record.save(tmp_path)
    (study,) = read_studies([tmp_path])
    assert study.measures == ["a", "b", "c", "general"]
    assert study.arms[0].estimate("general").mean == pytest.approx((0.25 + 0.5 + 0.75) / 3)
    asked = "; ".join(f"{name}: frames 8, 40 of 2700 published questions" for name in "abc")
    assert f"Evaluated here: {asked}." in text_of(tmp_path)
    published = {"backbone": "x", "zero_shot": {"a": 20}, "arms": {"x": {"a": 30}}}
    record.study = Study(name="scaling", factors=["mixture"], published=published)
    record.save(tmp_path)
    assert f"Ours were asked: {asked}." in text_of(tmp_path)


def test_steps_that_sizes_share_are_counted_once(tmp_path):
    for size, taken_over in ((30, 0), (60, 27), (100, 54)):
        factors = {"mixture": "sparrow", "mixture.num_samples": size}
        steps = {"num_steps_done": size, "num_steps_taken_over": taken_over}
        add_run(tmp_path / str(size), f"sparrow_{size}", {}, factors=factors, **steps)
    [study] = read_studies([tmp_path])
    table = shared_steps(study)
    assert [row[1:] for row in table.rows] == [("30", "0", "30"), ("60", "27", "33"), ("100", "54", "46")]
    assert "together 109 of 190 (0.57)" in table.note


def test_pictures_appear_where_there_is_something_to_show(tmp_path):
    paths = build_report([scaling(tmp_path / "study")], tmp_path)
    names = ("report", "scaling", "score_by_hours")
    assert [p.name for p in paths.pictures] == [f"{name}.{kind}" for name in names for kind in ("png", "pdf")]
    assert all(p.read_bytes()[:4] == (b"\x89PNG" if p.suffix == ".png" else b"%PDF") for p in paths.pictures)
    for name in "ab":
        add_exact_run(tmp_path / "plain" / name, {"mixture": name}, {"clips": {"after": 20}}, time_s={"train": 40.0})
    assert [p.name for p in build_report([tmp_path / "plain"], tmp_path).pictures] == ["report.png", "report.pdf"]
    assert not (tmp_path / "scaling.png").exists(), "pictures of an earlier report do not stay"


@pytest.mark.parametrize(("sizes", "drawn"), [((40, 40), True), ((40, 16), False)])
def test_scores_are_drawn_over_diversity_of_equally_many_instructions(tmp_path, sizes, drawn):
    for name, size, value in zip("ab", sizes, (12.5, 7.0), strict=True):
        record = add_exact_run(tmp_path / name, {"mixture": name}, {"clips": {"after": 20}})
        assert vendi_score(record) is None
        record.diversity = Diversity("tfidf", size, mixture={"vendi_score": value})
        record.save(tmp_path / name)
        assert vendi_score(RunRecord.load(tmp_path / name)) == value
    found = [picture.name for picture in pictures(read_studies([tmp_path]))]
    assert ("score_by_diversity" in found) is drawn


def test_a_power_law_is_fitted_where_the_study_asks_for_it(tmp_path):
    study = Study(name="s", factors=["mixture.num_samples"], fit="power_law")
    for size, right in ((1000, 20), (4000, 30), (16000, 35)):  # errors of 50, 25 and 12.5 %
        add_exact_run(tmp_path / str(size), {"mixture.num_samples": size}, {"clips": {"after": right}}, study=study)
    (row,) = cells(text_of(tmp_path), "Learning curves")
    assert row[2] == f"100 - {50 * 1000**0.5:.3g} n^-0.5"
    assert row[3] == "1,000: +0.00, 4,000: +0.00, 16,000: +0.00"
