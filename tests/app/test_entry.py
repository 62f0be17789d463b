"""What stands around the work of a command, as a user types it: what the machine or Hydra refuses is one message."""

import os
import sys

import pytest

from sparrow.app.entry import run_app
from sparrow.app.remember_sweep import RememberSweep
from tests.conftest import SMALL_RUN
from tests.report.run_folders import add_exact_run


@pytest.mark.parametrize(
    "given",
    [["hydra.run.dir=taken/x"], ["-m", "hydra.sweep.dir=taken/x", "seed=0,1"], ["paths.cache_root=taken/x"]],
    ids=["run", "sweep", "cache"],
)
def test_a_folder_that_cannot_be_made_is_one_message_with_its_path_and_a_remedy(sparrow, tmp_path, given):
    (tmp_path / "taken").touch()
    done = sparrow("prepare", *given, *SMALL_RUN)
    assert done.returncode == 1
    assert "taken/x" in done.stderr
    assert "a file stands where a folder is needed: choose another folder (paths.output_root" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["diversity", "source=[alpaca]", "--package", "source", "--cfg", "job"], "converter: alpaca"),
        (
            [
                *("train", "hydra/launcher=slurm", "hydra.launcher.additional_parameters.reservation=mine"),
                *("--package", "hydra.launcher.additional_parameters", "--cfg", "hydra"),
            ],
            "reservation: mine",
        ),
    ],
)
def test_what_help_lists_needs_no_plus(sparrow, given, shown):
    done = sparrow(*given)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


@pytest.mark.slow
def test_a_variable_that_is_not_set_is_one_message(sparrow):
    done = sparrow("prepare", *SMALL_RUN, "seed=${oc.env:NOT_SET}")
    assert done.returncode == 1
    assert "seed: KeyError" in done.stderr
    assert "'NOT_SET' not found\" (on the command line)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_whose_runs_lie_in_folders_of_folders_ends_with_its_report(tmp_path, monkeypatch):
    add_exact_run(tmp_path / "experiment=sub/mine", {"seed": 0}, {"clips": {"after": 20}})
    monkeypatch.setattr(RememberSweep, "folders", {tmp_path: {}})
    monkeypatch.setattr(sys, "argv", ["sparrow"])
    monkeypatch.setattr("hydra.main", lambda **_: lambda task: lambda: None)
    run_app("train", [], "train")
    assert "clips" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_flags_may_stand_between_overrides(sparrow, tmp_path):
    (tmp_path / "a=b/mixture").mkdir(parents=True)
    (tmp_path / "a=b/mixture/mine.yaml").write_text("defaults: [world/video]\nnum_samples: 5\n")
    done = sparrow("prepare", *SMALL_RUN, "-m", "seed=3", "--config-dir", "a=b", "mixture=mine", "hydra.mode=RUN")
    assert done.returncode == 0, done.stderr


USERS_FILES = {
    "benchmark/exam.yaml": "format: multiple_choice\nroot: /x\nfile: a.jsonl\n",
    "source/exam.yaml": "converter: llava\nfiles: [a.json]\nroot: /x\n",
    "mixture/exam.yaml": "defaults: [{/source: [exam]}]\ncomponents: {a: {source: exam, num_samples: 3}}\n",
    "experiment/bare.yaml": "defaults:\n- override /mixture: world/video\n",
}


@pytest.mark.parametrize(
    ("typed", "problems"),
    [
        (
            ["benchmark=[exam]", "benchmark.exam.num_questions=3", "study.primary=[exam]"],
            ["benchmark.exam: begin {}/c/benchmark/exam.yaml with the line '# @package benchmark.exam'"],
        ),
        (
            ["mixture=exam"],
            ["source.exam: begin {}/c/source/exam.yaml with the line '# @package source.exam'"],
        ),
        (
            ["frames=unifrom", "frames.max_frames=x", "-m", "seed=0,1", "hydra.swep.dir=x"],
            [
                "frames=unifrom: there is no such choice; did you mean 'uniform'?",
                "hydra.swep: unknown key; did you mean 'hydra.sweep.dir'?",
                "frames.max_frames: expected int or null, found 'x'",
            ],
        ),
        (
            ["optimizer.learning_rate=fast"],
            ["optimizer.learning_rate: expected float, found 'fast' (on the command line)"],
        ),
        (["experiment=bare"], ["experiment=bare: begin c/experiment/bare.yaml with the line '# @package _global_'"]),
        (
            ["benchmark.mvbench.num_questions=3", "study.primary=[mvbench]"],
            [
                "benchmark.mvbench: has settings, but was not chosen; choose it, as in benchmark=[mvbench] "
                "(on the command line)"
            ],
        ),
        (
            ["optimizer.learning_rat=1", "optimizer.learning_rat=2", "batching.num_epochs=three"],
            [
                "optimizer.learning_rat: unknown key; did you mean 'learning_rate'?",
                "batching.num_epochs: expected int, found 'three'",
            ],
        ),
        (
            ["seed='${nowhere}'", "batching.num_epochs=three"],
            [
                "seed: Interpolation key 'nowhere' not found (on the command line)",
                "batching.num_epochs: expected int, found 'three' (on the command line)",
            ],
        ),
    ],
    ids=[
        "no package",
        "no package of a source",
        "a sweep",
        "a word for a number",
        "no package of an experiment",
        "not chosen",
        "wrong names and values",
        "unresolved",
    ],
)
def test_each_cause_is_one_problem_and_all_are_said_at_once(sparrow, tmp_path, typed, problems):
    for name, content in USERS_FILES.items():
        (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / name).write_text(content)
    done = sparrow("train", "--config-dir", "c", "mixture=world/video", *typed)
    said = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    assert (done.returncode, said) == (1, [problem.format(tmp_path) for problem in problems])
    assert done.stderr.startswith("ConfigError: ")
    assert "Error executing job" not in done.stderr
    assert "HYDRA_FULL_ERROR" not in done.stderr


def test_a_study_cannot_be_named_out_of_the_folder_of_runs(sparrow, tmp_path):
    done = sparrow("prepare", *SMALL_RUN, "study.name=../../evil", "paths.output_root=in/runs")
    assert done.returncode == 1
    assert done.stderr.startswith("ConfigError: study.name: ")
    assert not (tmp_path / "in").exists() and not (tmp_path / "evil").exists()


def test_a_benchmark_cannot_be_named_out_of_the_folder_of_a_run(sparrow, tmp_path):
    (tmp_path / "c/benchmark").mkdir(parents=True)
    file = "# @package _global_\nbenchmark: {../../evil: {format: multiple_choice, root: /x}}\n"
    (tmp_path / "c/benchmark/mine.yaml").write_text(file)
    done = sparrow("prepare", "--config-dir", "c", *SMALL_RUN, "benchmark=[mine]")
    assert "benchmark.../../evil: '../../evil' names a folder or file and would lead elsewhere" in done.stderr


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ("seed=-1", "seed: must lie between"),
        ("hydra/launcher=slurm", "hydra/launcher=slurm carries out the jobs of a multirun: add -m, or leave it out"),
    ],
)
def test_a_refused_run_leaves_its_folder_as_it_was(sparrow, tmp_path, refused, said):
    (tmp_path / "run/.hydra/earlier").mkdir(parents=True)
    (tmp_path / "run/run.json").write_text("{}")
    done = sparrow("train", "mixture=world/video", refused, "hydra.run.dir=run")
    assert done.returncode == 1 and said in done.stderr
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "run").rglob("*")) == [
        "run/.hydra",
        "run/.hydra/earlier",
        "run/run.json",
    ]
    sparrow("train", "mixture=world/video", refused, "hydra.run.dir=fresh")
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["hydra/launcher=parallel", "strategy=ddp", "trainer.num_nodes=2"], "on this machine only"),
        (["optimizer.learning_rate=0.1"], "2 of 2 jobs did not finish"),
    ],
)
def test_a_refused_sweep_does_not_end_with_the_report_of_an_earlier_one(sparrow, tmp_path, given, said):
    for seed in (0, 1):
        add_exact_run(tmp_path / f"outputs/s/seed={seed}", {"seed": seed}, {"clips": {"after": 10}})
    done = sparrow("train", "-m", *SMALL_RUN, "study.name=s", "seed=0,1", *given)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Scores" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("report.*"))


@pytest.mark.parametrize("given", [["prepare", *SMALL_RUN], ["train", "--help"], ["--help"]])
def test_a_reader_that_leaves_early_ends_nothing_and_is_no_error(sparrow, tmp_path, given):
    def close():
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, sys.stdout.fileno())

    done = sparrow(*given, prepare=close)
    assert (done.returncode, done.stderr) == (0, "")
    assert given[0] != "prepare" or list(tmp_path.rglob("manifest.json"))
