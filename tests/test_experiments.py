"""Every experiment in `conf/experiment`: all its jobs composed and planned at `scale=tiny`, one of each table run."""

import itertools
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import sparrow.conf
from sparrow.commands.train import train
from sparrow.core.hashing import content_hash
from sparrow.core.settings import run_id, validated
from sparrow.planning.run_inputs import prepare
from sparrow.report.output import build_report
from sparrow.runs.record import RunRecord
from sparrow.settings import SCHEMAS, EvaluateConfig
from tests.conftest import SMALL_WORLD

FOLDER = Path(sparrow.conf.__file__).parent / "experiment"
NAMES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml"))
LAB_BOOK = FOLDER.resolve().parents[1] / "experiments"
REPORTED = sorted(path.parent for path in LAB_BOOK.rglob("report.md"))
OF_EVALUATE = ["paper/eval_frames"]
OF_TABLES = sorted(set(NAMES) - {name for name in NAMES if "/" not in name} - set(OF_EVALUATE))
RUN = ["paper/data_scaling", "ablation/share_of_text"]
MAX_TINY_SAMPLES = 100
EVALUATE = {"config_name": "evaluate", "schema": EvaluateConfig, "small": False}


def jobs_of(name: str) -> list[list[str]]:
    """The overrides of each job of an experiment's sweep; one job without overrides where it sweeps nothing."""
    content = OmegaConf.load(FOLDER / f"{name}.yaml")
    swept = OmegaConf.select(content, "hydra.sweeper.params") or {}
    # A seed changes no plan, so one of several stands for all.
    values = [
        [f"{key}={value}" for value in str(text).split(",")[: 1 if key == "seed" else None]]
        for key, text in swept.items()
    ]
    return [list(job) for job in itertools.product(*values)]


@pytest.fixture
def tiny_job(settings):
    """Settings of one job of an experiment at `scale=tiny`."""
    quick = [
        *SMALL_WORLD,
        "world.num_event_texts=48",
        "sample_divisor=2500",
        "batching.num_workers=0",
        "trainer.progress_bar=false",
    ]
    return lambda name, *job: settings(f"experiment={name}", "scale=tiny", *quick, *job, small=False)


@pytest.mark.parametrize("name", OF_TABLES)
def test_every_job_of_a_table_is_tiny_and_can_be_planned(tiny_job, name):
    jobs = jobs_of(name)
    for job in jobs:
        config = tiny_job(name, *job)
        assert config.study.name == "/".join(name.split("/")[:2])
        assert config.backbone.tiny
        assert config.trainer.accelerator == "cpu"
        plan = prepare(config).plan
        assert 0 < plan.num_samples <= MAX_TINY_SAMPLES, job
        # What rehearses a study may not need its files.
        assert all(source.use_world for source in config.source.values())
        assert all(benchmark.use_world for benchmark in config.benchmark.values())


def test_the_arms_of_the_scale_model_differ_in_their_texts_alone(settings):
    sizes = (
        "world.num_clips=60",
        "world.num_clips_all_kinds=0",
        "world.num_event_texts=40",
        "world.num_benchmark_clips=8",
    )

    def drawn(mixture, num_samples):
        overrides = ("experiment=scale_model/claim", f"mixture=world/{mixture}", f"mixture.num_samples={num_samples}")
        ledger = prepare(settings(*overrides, *sizes, small=False)).plan.ledger
        return {name: list(rows["sample_id"]) for name, rows in ledger.groupby("component")}

    video, half = drawn("claim_video", 48)["video"], drawn("claim_half_video", 24)["video"]
    assert half == video[:24]
    mixed = {name: drawn(name, 48) for name in ("claim_sparrow", "claim_common_text", "claim_plain_text")}
    assert all(arm["video"] == half and len(set(arm["text"])) == 24 for arm in mixed.values())
    assert mixed["claim_plain_text"] == mixed["claim_sparrow"] != mixed["claim_common_text"]


def test_the_frames_of_an_evaluation_are_swept_over_given_checkpoints(settings):
    jobs = jobs_of("paper/eval_frames")
    assert [job for (job,) in jobs] == ["frames.max_frames=24", "frames.max_frames=48"]
    for job in jobs:
        config = settings("experiment=paper/eval_frames", "checkpoint=x", *job, **EVALUATE)
        assert {b.max_frames for b in config.benchmark.values()} == {config.frames.max_frames}


@pytest.mark.parametrize("name", [*OF_TABLES, *OF_EVALUATE])
def test_every_experiment_of_a_table_has_its_page_in_the_lab_book(name):
    study = "/".join(name.split("/")[:2])
    page = (LAB_BOOK / study / "README.md").read_text()
    assert f"experiment={study}" in page and name in page
    assert f"]({study}/README.md)" in (LAB_BOOK / "README.md").read_text()


@pytest.mark.parametrize(
    "folder",
    [
        # The claim's intervals take a quarter of a minute; the other tables are made in the same way.
        pytest.param(folder, marks=[pytest.mark.slow] if folder.name == "claim" else [])
        for folder in REPORTED
    ],
    ids=lambda folder: str(folder.relative_to(LAB_BOOK)),
)
def test_the_lab_books_tables_follow_from_its_records(folder, tmp_path):
    build_report([folder], tmp_path)
    for name in ("report.md", "report.csv"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()


def test_the_smoke_experiment_trains_from_nothing_without_a_benchmark(settings, tmp_path):
    config = settings("experiment=world_smoke", "trainer.progress_bar=false", small=False)
    record = train(config, tmp_path / "run", name="smoke")
    assert (record.status, record.num_samples, record.num_steps) == ("finished", 96, 6)
    assert config.backbone.tiny and config.start_from.experiment is None
    assert record.scores == {}


def test_every_committed_record_keeps_its_run_id():
    paths = sorted(LAB_BOOK.rglob("run.json"))
    assert paths
    for path in paths:
        record = RunRecord.load(path.parent)
        config = validated(SCHEMAS[record.command], record.config)
        assert not isinstance(config, list), (path, config)
        assert content_hash([run_id(config), record.parent], length=12) == record.run_id, path


@pytest.mark.parametrize("name", RUN)
def test_one_study_of_each_table_runs(tiny_job, tmp_path, name):
    job = jobs_of(name)[-1]
    record = train(tiny_job(name, *job, "world.num_benchmark_clips=6"), tmp_path / "run", name="run")
    assert record.status == "finished"
    assert set(record.scores) == set(record.config["benchmark"])
    assert {phase for scores in record.scores.values() for phase in scores} >= {"before", "after"}
