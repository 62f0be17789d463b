"""One CSV file over stops and resumes, and what is passed on to Weights & Biases."""

import time

import pandas as pd
import pytorch_lightning.loggers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sparrow.runs.record import METRICS
from sparrow.training.loggers import TidyCsv, make_loggers
from sparrow.training.settings import Logger


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
        (logger,) = make_loggers({"tensorboard": Logger()}, tmp_path, run_id="a", name="a", first_step=0)
        for step in range(3):
            logger.log_metrics({"train/loss": loss}, step)
        logger.finalize("success")
        time.sleep(1.1)  # files are read in the order of their names, which hold the second
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in events] == [(0, 2), (1, 2), (2, 2)]


def test_wandb_goes_on_in_the_same_run(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(pytorch_lightning.loggers, "WandbLogger", lambda **options: made.append(options))
    settings = {"csv": Logger(enabled=False), "wandb": Logger(project="p", entity="e", mode="offline")}
    make_loggers(settings, tmp_path, run_id="abc", name="seed=0", first_step=3)
    expected = {"id": "abc", "resume": "allow", "project": "p", "entity": "e", "mode": "offline", "save_dir": tmp_path}
    assert made[0].items() >= expected.items()
    assert not (tmp_path / METRICS).exists(), "a logger that is switched off writes nothing"
