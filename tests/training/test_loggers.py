"""What loggers are told of a run, and when they are ended; one CSV file over stops and resumes."""

import contextlib
import json
import struct
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import pytorch_lightning.loggers
from pytorch_lightning.loggers.logger import DummyLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from sparrow.analysis.scores import Score
from sparrow.report.first_frames import event_files
from sparrow.runs.record import METRICS, RunRecord
from sparrow.runs.settings import Study
from sparrow.training import loggers
from sparrow.training.loggers import TidyCsv, make_loggers, run_loggers
from sparrow.training.settings import Logger

BLOCK = 32768  # bytes


def test_rows_after_the_resumed_step_are_replaced(tmp_path):
    path = tmp_path / METRICS
    logger = TidyCsv(path, "abc")
    for step in range(4):
        logger.log_metrics({"train/loss": 10.0 - step, "epoch": 0}, step)
    with open(path, "a") as file:
        file.write("4,train/loss,0.1")  # a kill in the middle of a line
    resumed = TidyCsv(path, "abc")
    for step in range(2, 5):
        resumed.log_metrics({"train/loss": 20.0 - step}, step)
    rows = pd.read_csv(path)
    assert list(rows.columns) == ["step", "metric", "value", "run_id"]
    assert rows["value"].tolist() == [10, 9, 18, 17, 16]
    assert rows["step"].tolist() == [0, 1, 2, 3, 4]


def test_a_run_from_the_start_drops_what_was_there(tmp_path):
    TidyCsv(tmp_path / METRICS, "abc").log_metrics({"train/loss": 1.0}, 0)
    TidyCsv(tmp_path / METRICS, "abc").log_metrics({"train/loss": 2.0}, 0)
    assert pd.read_csv(tmp_path / METRICS)["value"].tolist() == [2.0]


def test_tensorboard_shows_no_step_of_an_attempt_that_is_done_again_from_the_start(tmp_path):
    for loss in (1.0, 2.0):
        (logger,) = make_loggers({"tensorboard": Logger()}, tmp_path, record(0), first_step=0)
        for step in range(3):
            logger.log_metrics({"train/loss": loss}, step)
        logger.finalize("success")
        time.sleep(1.1)  # files are read in the order of their names, which hold the second
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in events] == [(0, 2), (1, 2), (2, 2)]


def record(seed, **changes):
    """The record of a run of a study with two factors."""
    values = {"config": {"seed": seed, "benchmark": {"clips": {}}}, "num_steps": 3, "study": Study(name="mine")}
    values["factors"] = {"mixture": "video", "seed": seed, "layers": [1, 2]}
    return RunRecord(run_id=f"id{seed}", name=f"seed={seed}", command="train", **values | changes)


def test_a_sweep_can_be_filtered_by_factor_in_tensorboard_which_names_runs_by_their_folders(tmp_path):
    settings = {"tensorboard": Logger(), "csv": Logger()}
    for seed in (0, 1):
        run = record(seed)
        with run_loggers(settings, tmp_path / f"seed={seed}", run, first_step=0) as loggers:
            for logger in loggers:
                logger.log_metrics({"train/loss": 1.0}, 2)
            run.scores = {"clips": {"before": score(0.25), "after": score(0.5 + seed / 4)}}
    shown = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    assert set(shown.Runs()) == {"seed=0", "seed=1"}
    for seed in (0, 1):
        content = shown.PluginRunToTagToContent("hparams")[f"seed={seed}"]
        factors = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG]).hparams
        assert (factors["mixture"].string_value, factors["seed"].number_value) == ("video", seed)
        assert factors["layers"].string_value == "[1, 2]"
        compared = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG]).metric_infos
        assert [info.name.tag for info in compared] == ["score/clips", "train/loss"]
        (event,) = shown.Scalars(f"seed={seed}", "score/clips")
        assert (event.step, event.value) == (3, 0.5 + seed / 4)
        rows = pd.read_csv(tmp_path / f"seed={seed}" / METRICS).set_index("metric")["value"]
        assert rows["score/clips.before"] == 0.25
        assert not list(tmp_path.rglob("hparams.yaml"))


def score(accuracy):
    return Score(accuracy=accuracy, low=0, high=1, chance=0.25, num_questions=4, num_correct=1, num_unanswered=0)


def test_a_run_that_was_begun_in_a_folder_of_its_own_for_tensorboard_goes_on_there(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    with run_loggers({"tensorboard": Logger()}, tmp_path, record(0), first_step=0):
        pass
    assert event_files(tmp_path)[0].parent == tmp_path / "tensorboard"


class Recorder(DummyLogger):
    """Keeps what any logger is told."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def __getattribute__(self, name):
        if name in ("log_hyperparams", "log_metrics", "finalize"):
            return lambda *given, **_: self.told.append((name, *given))
        if name == "experiment":
            return SimpleNamespace(finish=lambda exit_code: self.told.append(("finish", exit_code)))
        return super().__getattribute__(name)


@pytest.mark.parametrize("fails", [False, True])
def test_any_logger_is_told_settings_and_scores_and_ended_with_its_run(tmp_path, monkeypatch, fails):
    told = []
    monkeypatch.setattr(loggers, "make_loggers", lambda *_: [Recorder(told)])
    run = record(1)
    with contextlib.suppress(KeyboardInterrupt), run_loggers({}, tmp_path, run, first_step=0):
        run.scores = {"clips": {"after": score(0.5)}}
        if fails:
            raise KeyboardInterrupt
    scores = [] if fails else [("log_metrics", {"score/clips": 0.5}, 3)]
    status = "failed" if fails else "success"
    assert told == [("log_hyperparams", run.config), *scores, ("finalize", status), ("finish", int(fails))]


def test_wandb_goes_on_in_the_same_run_with_name_group_and_tags(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(pytorch_lightning.loggers, "WandbLogger", lambda **options: made.append(options))
    settings = {"csv": Logger(enabled=False), "wandb": Logger(project="p", entity="e", mode="offline")}
    make_loggers(settings, tmp_path, record(0, factors={"a": "b" * 80, "seed": 0}), first_step=3)
    expected = {"id": "id0", "resume": "allow", "project": "p", "entity": "e", "mode": "offline", "save_dir": tmp_path}
    assert made[0].items() >= (expected | {"name": "seed=0", "group": "mine"}).items()
    long, short = made[0]["tags"]
    assert short == "seed=0" and long.startswith("a=bbb") and len(long) == 64, "as long as is allowed"
    assert not (tmp_path / METRICS).exists(), "a logger that is switched off writes nothing"


def stored_in(path):
    """The records of a file of Weights & Biases, which is a log of LevelDB: in blocks, each piece with a header."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, pieces = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := BLOCK - place % BLOCK) < 7:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        pieces += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(pieces)
            pieces = b""


def test_runs_of_one_process_are_runs_of_their_own_in_weights_and_biases(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the package wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for seed in (0, 1):
        run = record(seed)
        settings = {"wandb": Logger(mode="offline", project="p")}
        with run_loggers(settings, tmp_path / str(seed), run, first_step=0) as (logger,):
            logger.log_metrics({"train/loss": 1.0 + seed}, 2)
            run.scores = {"clips": {"after": score(0.5)}}
    for seed in (0, 1):
        (path,) = (tmp_path / str(seed)).rglob("*.wandb")
        records = [*stored_in(path)]
        begun = next(each.run for each in records if each.HasField("run"))
        assert (begun.run_id, begun.display_name, begun.run_group) == (f"id{seed}", f"seed={seed}", "mine")
        assert {*begun.tags} == {"mixture=video", f"seed={seed}", "layers=[1, 2]"}
        config = {item.key or item.nested_key[0]: item.value_json for each in records for item in each.config.update}
        assert config["seed"] == str(seed)
        items = [(i.key or i.nested_key[0], json.loads(i.value_json)) for each in records for i in each.history.item]
        assert [value for name, value in items if name == "train/loss"] == [1 + seed]
        assert [value for name, value in items if name == "score/clips"] == [0.5]
        assert any(each.HasField("exit") and each.exit.exit_code == 0 for each in records)
