"""The confound guard: each kind of undeclared difference is found, declared and harmless ones are not."""

from dataclasses import asdict, replace

import pytest

from sparrow.data.settings import Component, Mixture, Source
from sparrow.evaluation.settings import Benchmark
from sparrow.media.settings import FramePolicy
from sparrow.report.confounds import undeclared_differences
from sparrow.report.output import build_report, print_table
from sparrow.report.study import read_studies
from sparrow.runs.record import DataCounts, GitRevision, RunRecord
from sparrow.runs.settings import Paths
from sparrow.settings import EvaluateConfig, ExperimentConfig
from tests.report.run_folders import add_exact_run, ask_another, cells

VIDEO = Mixture(num_samples=6, components={"video": Component(source="clips", fraction=1.0)})
BASE = ExperimentConfig(mixture=VIDEO, source={"clips": Source("llava", root="/here")})


def run(settings=BASE, factors=None, **changes):
    record = RunRecord(run_id="1", name="run", command="train", config=asdict(settings), factors=factors or {})
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def found(one, other, factors=("mixture",)):
    return {d.what: d.arms for d in undeclared_differences([("A", one), ("B", other)], factors)}


def test_equal_runs_differ_in_nothing():
    assert found(run(), run()) == {}


def test_a_setting_that_is_no_factor_is_found_with_its_values():
    other = replace(BASE, optimizer=replace(BASE.optimizer, weight_decay=0.01))
    assert found(run(), run(other)) == {"optimizer.weight_decay": {"0.05": ("A",), "0.01": ("B",)}}
    assert found(run(), run(other), ["optimizer.weight_decay"]) == {}
    assert found(run(), run(other), ["optimizer"]) == {}, "a group declares what is below it"
    assert found(run(), run(other, factors={"optimizer": "x"})) == {}, "what was swept stands in the arm's name"


def test_settings_that_cannot_change_a_result_do_not_count_but_precision_does():
    trainer = replace(BASE.trainer, devices=8, num_nodes=2, precision="32-true")
    batching = replace(BASE.batching, num_workers=9)
    other = replace(BASE, trainer=trainer, batching=batching, paths=Paths("a", "b", "c"))
    assert set(found(run(), run(other))) == {"trainer.precision"}


def test_sources_and_benchmarks_count_where_both_runs_have_them():
    other = replace(BASE, source={"texts": Source("alpaca", root="/here")}, benchmark={"x": Benchmark()})
    assert found(run(), run(other)) == {}
    changed = replace(BASE, source={"clips": Source("llava", root="/there", min_context_words=3)})
    assert set(found(run(), run(changed))) == {"source.clips.min_context_words"}


def test_a_setting_that_takes_its_value_from_a_factor_is_declared():
    def asked(frames):
        settings = EvaluateConfig(
            checkpoint="x",
            frames=FramePolicy(max_frames=frames),
            benchmark={"mlvu": Benchmark(max_frames=frames)},
        )
        return run(settings, command="evaluate")

    assert found(asked(24), asked(48), ["frames.max_frames"]) == {}
    assert set(found(asked(24), asked(48), [])) == {"frames.max_frames", "benchmark.mlvu.max_frames"}


@pytest.mark.parametrize(
    ("what", "one", "other"),
    [
        ("version of torch", {"versions": {"torch": "2.8"}}, {"versions": {"torch": "2.9"}}),
        ("code revision", {"git": GitRevision("a" * 40, False)}, {"git": GitRevision("a" * 40, True)}),
        ("device", {"peak_memory_bytes": {"host": 1}}, {"peak_memory_bytes": {"host": 1, "cuda": 2}}),
        ("model started from (seed 0, data_seed 0)", {"parent": "x"}, {"parent": "y"}),
        ("planned data at equal settings", {"manifest_hash": "x"}, {"manifest_hash": "y"}),
        (
            "samples used of those requested",
            {"data": {"clips": DataCounts(120, 118)}},
            {"data": {"clips": DataCounts(120, 120)}},
        ),
    ],
)
def test_what_is_not_in_the_settings_is_found_too(what, one, other):
    assert set(found(run(**one), run(**other))) == {what}
    assert found(run(**one), run(**one)) == {}


def test_other_data_under_other_settings_of_data_is_explained():
    other = replace(BASE, mixture=replace(VIDEO, num_samples=5))
    assert found(run(manifest_hash="x"), run(other, manifest_hash="y")) == {}
    tuned = replace(BASE, optimizer=replace(BASE.optimizer, learning_rate=1.0))
    differences = found(run(manifest_hash="x"), run(tuned, manifest_hash="y"), ["optimizer"])
    assert set(differences) == {"planned data at equal settings"}


def test_seeds_count_where_arms_have_other_ones():
    seed1 = replace(BASE, seed=1)
    three = [("A", run()), ("A", run(seed1)), ("B", run())]
    assert [d.what for d in undeclared_differences(three, [])] == ["seeds"]
    assert undeclared_differences([*three, ("B", run(seed1))], []) == []


def test_questions_that_differ_between_arms_are_found(tmp_path):
    add_exact_run(tmp_path / "a", {"mixture": "a"}, {"clips": {"after": 20}})
    add_exact_run(tmp_path / "b", {"mixture": "b"}, {"clips": {"after": 20}}, num_questions=38)
    (study,) = read_studies([tmp_path])
    assert [d.what for d in study.confounds] == ["clips: questions"]


def test_other_questions_of_the_same_number_are_found_but_not_those_of_another_data_seed(tmp_path):
    ask_another(add_exact_run(tmp_path / "a0", {"mixture": "a"}, {"clips": {"after": 20}}), tmp_path / "a0")
    add_exact_run(tmp_path / "b0", {"mixture": "b"}, {"clips": {"after": 20}})
    for mixture in "ab":
        folder, settings = tmp_path / f"{mixture}1", {"seed": 0, "data_seed": 1}
        ask_another(add_exact_run(folder, {"mixture": mixture}, {"clips": {"after": 20}}, config=settings), folder)
    (study,) = read_studies([tmp_path])
    (difference,) = study.confounds
    assert difference.what == "clips: which questions (questions_hash)"
    assert sorted(difference.arms.values()) == [("a",), ("b",)]


def test_undeclared_differences_mark_tables_wherever_they_are_shown(tmp_path, capsys):
    for mixture, decay in {"a": 0.05, "b": 0.01}.items():
        settings = asdict(replace(BASE, optimizer=replace(BASE.optimizer, weight_decay=decay)))
        add_exact_run(tmp_path / mixture, {"mixture": mixture}, {"clips": {"after": 20}}, config=settings)
    paths = build_report([tmp_path], tmp_path)
    note = "The runs differ in more than the declared factors: optimizer.weight_decay (Undeclared differences)."
    text, latex, html = (path.read_text() for path in (paths.markdown, paths.latex, paths.html))
    assert "### Scores †" in text and f"† {note}" in text
    assert cells(text, "Undeclared differences") == [
        ["optimizer.weight_decay", "0.05", "a"],
        ["optimizer.weight_decay", "0.01", "b"],
    ]
    assert r"\caption{Results $^\dagger$}" in latex and r"optimizer.weight\_decay" in latex
    assert "<h3>Scores †</h3>" in html and note in html
    assert "† undeclared differences" in paths.csv.read_text()
    print_table(read_studies([tmp_path]))
    printed = capsys.readouterr().out
    assert "Scores †" in printed and "optimizer.weight_decay" in printed


def test_a_clean_study_has_no_mark(tmp_path):
    for mixture in ("a", "b"):
        add_exact_run(tmp_path / mixture, {"mixture": mixture}, {"clips": {"after": 20}})
    paths = build_report([tmp_path], tmp_path)
    assert all("†" not in path.read_text() and "dagger" not in path.read_text() for path in paths.all[:5])
