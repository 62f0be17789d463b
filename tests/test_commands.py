"""The commands as a user types them, each in a process of its own and in an empty folder."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import hydra
import hydra.core.utils
import pytest
from omegaconf import OmegaConf

from sparrow.app.entry import set_up
from sparrow.app.help import help_text
from sparrow.models.registry import FAMILIES, NATIVE_VIDEO
from sparrow.runs.record import RunRecord
from tests.conftest import SMALL_RUN, SMALL_WORLD, losses_of, trains, wait_until
from tests.forks import run_ranks

ROOT = Path(__file__).parents[1]
SPARROW = [sys.executable, "-m", "sparrow"]


def records_in(folder):
    return {path.parent.name: RunRecord.load(path.parent) for path in folder.rglob("run.json")}


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]])
@pytest.mark.parametrize("command", ["train", "evaluate", "prepare", "preview", "diversity"])
def test_help_and_cfg_answer_without_loading_torch(command, arguments, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *SPARROW[1:], command, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for library in ("torch", "transformers", "pytorch_lightning", "datasets", "pandas", "icu4py"):
        assert f"| {library}\n" not in done.stderr, library
    if arguments == ["--help"]:
        assert "Three useful commands" in done.stdout
        assert "benchmark: " in done.stdout


IMPORTED = """
import sys
from sparrow.app import jobs
from sparrow.commands import compare, report, rescore
print([name for name in ("torch", "transformers", "pytorch_lightning", "datasets") if name in sys.modules])
from sparrow.commands import prepare, preview
print([name for name in sys.modules if name == "pytorch_lightning" or name.startswith("sparrow.training.")])
"""


def test_what_trains_nothing_imports_no_trainer():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == ["[]", "['sparrow.training.settings']"]


REFUSED = """
import sys
from sparrow.cli import run
for override in ("mixture.components.video.fraction=0.5", ""):
    assert run("train", ["experiment=world_smoke", "hydra.run.dir=run", *override.split()]) == 1
for folder in ("nowhere", "cut"):
    checkpoint = f"checkpoint=./{folder}"
    own = ["backbone.tiny=false", f"backbone.{checkpoint}", "hydra.run.dir=run"]
    assert run("train", ["experiment=world_smoke", *own]) == 1
    assert run("evaluate", [checkpoint, "benchmark=[world_short]"]) == 1
print([name for name in ("torch", "transformers", "pytorch_lightning", "datasets") if name in sys.modules])
"""


def test_mixtures_checkpoints_and_folders_are_refused_before_torch_is_imported(tmp_path):
    RunRecord(run_id="another", name="run", command="train", config={"seed": 1}).save(tmp_path / "run")
    (tmp_path / "cut").mkdir()
    for name in ("tokenizer.json", "processor_config.json"):
        (tmp_path / "cut" / name).touch()
    (tmp_path / "cut" / "config.json").write_text('{"model_type": "idefics3"}')
    index = '{"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}'
    (tmp_path / "cut" / "model.safetensors.index.json").write_text(index)
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.splitlines() == ["[]"], done.stderr
    for message in (
        "mixture: the components add up to 48 samples, mixture.num_samples is 96; change a fraction",
        "checkpoint folder './nowhere' does not exist",
        "run holds a run with other settings",
    ):
        assert message in done.stderr
    assert done.stderr.count("'./nowhere' does not exist") == 2
    assert done.stderr.count("checkpoint folder './cut' lacks model-00002-of-00002.safetensors") == 2


@pytest.mark.parametrize(
    ("command", "listed"),
    [("train", "experiment: ablation/frozen_parts, "), ("evaluate", "experiment: paper/eval_frames\n")],
)
def test_help_lists_groups_as_they_are_chosen(command, listed):
    text = help_text(command, "")
    assert f"  {listed}" in text
    assert "  hydra/launcher: parallel, sequential*, slurm\n" in text


def test_a_wrong_key_is_said_with_the_users_own_file(sparrow, tmp_path):
    (tmp_path / "my_conf/experiment").mkdir(parents=True)
    file = tmp_path / "my_conf/experiment/mine.yaml"
    file.write_text("# @package _global_\noptimizer:\n  learning_rat: 1.0e-3\n")
    done = sparrow("train", "--config-dir", "my_conf", *SMALL_RUN, "experiment=mine")
    assert done.returncode == 1
    assert f"optimizer.learning_rat: unknown key; did you mean 'learning_rate'? (in {file})" in done.stderr


WRONG_PARENTS = {
    "start_from.experiment=world_pretrainin": "did you mean 'world_pretraining'?",
    "start_from.overrides=['mixture.num_sample=400']": "did you mean 'num_samples'?",
    "+start_from.gates.world_short=0.5": "start_from.gates.world_short: is not among the benchmarks",
}


@pytest.mark.slow
def test_the_runs_that_jobs_start_from_are_checked_before_the_first_job(sparrow, tmp_path):
    for override, expected in WRONG_PARENTS.items():
        done = sparrow("train", "experiment=quickstart", override)
        assert done.returncode == 1
        assert "2 of 2 jobs cannot run, so that none was started" in done.stderr
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_diversity_of_sources_writes_tables_pictures_and_a_page(sparrow, tmp_path):
    sources = ["+source=[world/clips,world/event_texts]", "num_resamples=3", "num_in_pictures=20"]
    done = sparrow("diversity", *sources, *SMALL_WORLD, "study.name=two", f"hydra.run.dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "Vendi score" in done.stdout
    assert "world_event_texts" in done.stdout
    names = ("diversity.json", "diversity.csv", "diversity.md", "diversity.html", "t-sne.png", "overlap.pdf")
    assert all((tmp_path / "out" / name).is_file() for name in names)
    refused = sparrow("diversity", *sources, "embedder=mpnet", f"embedder.model={tmp_path / 'none'}")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "the encoder" in refused.stderr


@pytest.mark.slow
def test_a_sweep_with_a_failing_job_reports_both(sparrow, tmp_path):
    sweep = ["-m", *SMALL_RUN, "study.name=two"]
    done = sparrow("train", *sweep, "mixture=world/video", "mixture.num_samples=5000,16")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "asks for 5000 samples, 48 are left of 48" in done.stderr
    records = records_in(tmp_path / "outputs/two")
    assert {name: r.status for name, r in records.items()} == {
        "num_samples-5000": "failed",
        "num_samples-16": "finished",
    }
    report = (tmp_path / "outputs/two/report.md").read_text()
    assert "num_samples=16" in report
    assert "asks for 5000 samples" in report
    again = sparrow("train", *sweep, "mixture=world/video", "mixture.num_samples=5000,16")
    assert again.returncode == 1
    assert records_in(tmp_path / "outputs/two")["num_samples-16"] == records["num_samples-16"]


@pytest.mark.parametrize("ranks_are_forks", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_processes_give_the_losses_of_one(sparrow, sparrow_process, tmp_path, cache_root, ranks_are_forks):
    one = ("train", *SMALL_RUN, f"hydra.run.dir={tmp_path / 'one'}")
    two = ("train", *SMALL_RUN, "strategy=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}")
    if ranks_are_forks:
        outcomes = [sparrow(*one), *run_ranks(2, two, tmp_path, {"SPARROW_CACHE_ROOT": str(cache_root)})]
    else:
        outcomes = [sparrow_process(*one), sparrow_process(*two)]
    for done in outcomes:
        assert done.returncode == 0, done.stderr
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) == 3
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-5)
    assert [r.run_id for r in records_in(tmp_path / "one").values()] == [
        r.run_id for r in records_in(tmp_path / "two").values()
    ]


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=pytest.mark.slow if family == "qwen3_vl" else pytest.mark.exhaustive)
        for family in sorted(FAMILIES)
    ],
)
def test_ranks_with_texts_pictures_and_videos_in_any_order_do_not_wait_for_ever(sparrow, tmp_path, cache_root, family):
    """One sample per micro-batch, so that one rank has a text while the other has frames."""
    native = ["backbone.native_video=true"] if family in NATIVE_VIDEO else []
    mixed = [
        f"backbone.family={family}",
        "+source=[world/stills]",
        "+mixture.components.pictures={source: world_stills, fraction: 0.25}",
        "mixture.components.video.fraction=0.25",
        "mixture.components.text.fraction=0.25",
        "+mixture.components.plain={source: world_event_texts, fraction: 0.25, present_as: text}",
        "batching=padded",
        "batching.global_batch_size_samples=4",
        "batching.micro_batch_size_samples=1",
        *native,
    ]
    one = ("train", *SMALL_RUN, *mixed, f"hydra.run.dir={tmp_path / 'one'}")
    two = ("train", *SMALL_RUN, *mixed, "strategy=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}")
    for done in (sparrow(*one), *run_ranks(2, two, tmp_path, {"SPARROW_CACHE_ROOT": str(cache_root)})):
        assert done.returncode == 0, done.stderr
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) == 6
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-4)


def test_ctrl_c_ends_within_seconds_with_a_checkpoint(tmp_path, cache_root):
    folder = tmp_path / "run"
    long = [*SMALL_RUN, "batching.num_epochs=2000", "checkpointing.every_n_steps=100000", f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        [*SPARROW, "train", *long],
        cwd=tmp_path,
        env=os.environ | {"SPARROW_CACHE_ROOT": str(cache_root), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: trains(folder))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert f"run the same command again with hydra.run.dir={folder} to go on" in (folder / "train.log").read_text()
    assert RunRecord.load(folder).status == "interrupted"
    assert list((folder / "checkpoints").glob("*.ckpt"))


BAD_INPUT = {
    "unknown key": (["+optimizer.learning_rat=1"], "did you mean 'learning_rate'"),
    "wrong type": (["batching.num_epochs=many"], "expected int, found 'many'"),
    "nothing learns": (
        [f"tuning.{part}.mode=frozen" for part in ("vision", "projector", "language_model")],
        "set the mode of one to adapted or trained (on the command line)",
    ),
    "zero samples": (["mixture.num_samples=0"], "must be at least 1"),
    "missing file": (
        [
            "+source=[video_chatgpt]",
            "mixture.components.video.source=video_chatgpt",
            "source.video_chatgpt.use_world=false",
        ],
        "file is missing",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_gives_one_message(sparrow, tmp_path, name):
    overrides, expected = BAD_INPUT[name]
    done = sparrow("train", *SMALL_RUN, *overrides)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.ckpt")), "nothing was trained"


@pytest.mark.slow
def test_full_errors_on_demand(sparrow):
    done = sparrow("train", *SMALL_RUN, "batching.num_epochs=many", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_prepare_twice_gives_the_same_manifest(sparrow, tmp_path):
    for name in ("a", "b"):
        done = sparrow(
            "prepare", *SMALL_RUN, "benchmark=[world/short]", "export=llava", f"hydra.run.dir={tmp_path / name}"
        )
        assert done.returncode == 0, done.stderr
        assert "24 samples in 3 optimizer steps" in done.stdout
        assert re.search(
            r"Longest micro-batch: \d+ samples, [\d,]+ tokens, \d+ frames; .* about [\d.]+ GiB", done.stdout
        )
        assert "of 24 world_short questions are worded as in a sample" in done.stdout
        assert "Export for llava: 24 samples" in done.stdout
    for file in ("manifest.json", "overlap.json", "llava/data.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_prepare_lists_missing_media(sparrow, tmp_path):
    turns = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "Rain."}]
    records = [{"id": str(n), "video": f"{n:02}.mp4", "conversations": turns} for n in range(12)]
    (tmp_path / "clips.json").write_text(json.dumps(records))
    overrides = [
        "mixture=world/video",
        "mixture.num_samples=12",
        "source.world_clips.use_world=false",
        "source.world_clips.files=[clips.json]",
        f"source.world_clips.root={tmp_path}",
        "source.world_clips.media_root=media",
    ]
    done = sparrow("prepare", *SMALL_RUN, *overrides, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "12 media files are missing:" in done.stderr
    assert "... and 2 more" in done.stderr
    assert str(tmp_path / "run/missing_files.txt") in done.stdout + done.stderr
    listed = (tmp_path / "run/missing_files.txt").read_text().splitlines()
    assert listed == [str(tmp_path.resolve() / f"media/{n:02}.mp4") for n in range(12)]


def test_a_backbone_is_rehearsed_with_its_tiny_sibling(sparrow, tmp_path):
    done = sparrow("prepare", *SMALL_RUN, "backbone=qwen3_vl_2b", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_checkpoint_that_the_tiny_sibling_would_replace_is_refused(sparrow, tmp_path):
    done = sparrow("prepare", *SMALL_RUN, "backbone.checkpoint=/models/mine", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert re.search(
        r"/models/mine would not be used: backbone\.tiny=true \(in conf/.*set backbone\.tiny=false", done.stderr
    )


@pytest.mark.slow
def test_evaluate_opens_a_runs_model(sparrow, tmp_path, tiny_checkpoint):
    done = sparrow(
        "evaluate",
        f"checkpoint={tiny_checkpoint('idefics3')}",
        "benchmark=[world/short]",
        "trainer=cpu",
        "blind=true",
        "one_frame=true",
        *[override for override in SMALL_RUN if override.startswith("world.")],
        f"hydra.run.dir={tmp_path / 'evaluation'}",
    )
    assert done.returncode == 0, done.stderr
    (record,) = records_in(tmp_path / "evaluation").values()
    assert record.scores["world_short"]["after"].num_questions == 24
    assert set(record.scores["world_short"]) == {"after", "blind", "one_frame"}
    shown = {
        phase: {len(json.loads(line)["frame_indices"]) for line in (tmp_path / "evaluation" / score.predictions).open()}
        for phase, score in record.scores["world_short"].items()
    }
    assert shown == {"after": {2, 4}, "blind": {0}, "one_frame": {1}}
    assert "one frame" in done.stdout
    assert f"finished: {tmp_path / 'evaluation'}" in done.stdout + done.stderr


@pytest.mark.parametrize(("command", "hint"), [("trian", "did you mean 'train'?"), ("x", "choose from init, train, ")])
def test_unknown_commands_name_the_known_ones(tmp_path, command, hint):
    done = subprocess.run([*SPARROW, command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"unknown command '{command}'; {hint}" in done.stderr


def commands_of(document):
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", document.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith(("sparrow ", "make "))]


@pytest.mark.parametrize("command", commands_of(ROOT / "README.md"))
def test_every_command_of_the_readme_is_there(command, sparrow):
    program, name, *arguments = command.split()
    if program == "make":
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif name in ("train", "evaluate", "prepare", "preview"):
        # Hydra prints the settings of one job only: the first of a sweep's.
        one_job = [a if "[" in a else a.split(",")[0] for a in arguments if a != "-m"]
        done = sparrow(name, *one_job, "--cfg", "job")
        assert done.returncode == 0, done.stderr
    else:
        assert sparrow(name, "--help").returncode == 0


@pytest.mark.parametrize("command", [c for c in commands_of(ROOT / "docs/backbones.md") if " train " in c])
def test_the_guides_commands_train_the_backbone_that_they_name(command, settings, monkeypatch):
    monkeypatch.setattr("sparrow.training.settings.require_bitsandbytes", lambda *_: None)
    config = settings(*shlex.split(command)[2:], small=False)
    names_one = "backbone=" in command
    assert config.backbone.tiny != names_one
    assert (config.trainer.accelerator == "cpu") != names_one


@pytest.mark.slow
def test_an_installed_wheel_runs_from_another_folder(tmp_path, cache_root):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=280,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    target = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(target), str(wheel)],
        check=True,
        timeout=280,
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(target), "SPARROW_CACHE_ROOT": str(cache_root)}
    where = subprocess.run(
        [sys.executable, "-c", "import sparrow, sparrow.conf; print(sparrow.__file__, sparrow.conf.__file__)"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.count(str(target)) == 2
    done = subprocess.run(
        [*SPARROW, "train", *SMALL_RUN, f"hydra.run.dir={elsewhere / 'run'}"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((elsewhere / "run/run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("name", ["train", "evaluate", "prepare", "preview", "diversity"])
def test_two_commands_of_the_same_second_have_folders_of_their_own(monkeypatch, name):
    set_up()

    def folder_at(microsecond):
        clock = SimpleNamespace(now=lambda: datetime(2026, 1, 2, 3, 4, 5, microsecond))
        monkeypatch.setattr(hydra.core.utils, "datetime", clock)
        with hydra.initialize_config_module("sparrow.conf", version_base="1.3"):
            config = hydra.compose(name, return_hydra_config=True)
        return Path(OmegaConf.select(config, "hydra.run.dir"))

    one, other = folder_at(6), folder_at(7)
    assert one.parent == other.parent
    assert (one.name, other.name) == ("2026-01-02_03-04-05-000006", "2026-01-02_03-04-05-000007")
