"""Processes that answer together, and end together."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sparrow.commands.evaluate import evaluate
from sparrow.commands.train import train
from sparrow.core.errors import ConfigError
from sparrow.evaluation import workers as ranks
from sparrow.evaluation.workers import Answering, answer_all
from sparrow.runs.status import Interrupted, signals_interrupt
from sparrow.settings import EvaluateConfig
from tests.conftest import wait_until


def answers_for_ever(rank: int, work: Answering, counters: object) -> None:
    """Write on and on."""
    while True:
        (work.folder / str(rank)).write_text(str(time.monotonic_ns()))
        time.sleep(0.01)


@pytest.mark.slow
def test_a_signal_ends_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_rank_main", answers_for_ever)
    config = SimpleNamespace(trainer=SimpleNamespace(devices=2))
    evaluator = SimpleNamespace(is_answered=lambda *_: False)

    def ask_to_stop() -> None:
        wait_until(lambda: all((tmp_path / str(rank)).exists() for rank in range(2)), 60)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask_to_stop).start()
    with signals_interrupt(), pytest.raises(Interrupted):
        answer_all(Answering(config, "", "", tmp_path, {"b": tmp_path}, ("before",)), evaluator)
    left = multiprocessing.active_children()
    for process in left:
        process.kill()
        process.join()
    assert not left


def test_the_process_that_answers_does_not_load_what_trains() -> None:
    loaded = "import sys, sparrow.evaluation.workers; print('pytorch_lightning' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True) == "False\n"


@pytest.mark.parametrize(
    ("num_gpus", "asked", "said"),
    [
        (0, ["trainer.accelerator=gpu"], r"trainer\.accelerator=gpu: no such GPU is visible here; use auto or cpu"),
        (0, ["trainer.accelerator=mps"], r"trainer\.accelerator=mps: no such GPU is visible here; use auto or cpu"),
        (1, ["trainer.accelerator=auto", "trainer.devices=2"], r"trainer\.devices=2: 1 GPU is visible here"),
    ],
)
def test_gpus_that_are_not_there_are_refused_before_anything_is_planned(
    settings, tiny_checkpoint, tmp_path, monkeypatch, num_gpus, asked, said
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=said):
        train(settings(*asked, "strategy=ddp"), tmp_path / "run", name="r")
    checkpoint = [f"checkpoint={tiny_checkpoint('idefics3')}", "benchmark=[world/short]"]
    asking = settings(*checkpoint, *asked, config_name="evaluate", schema=EvaluateConfig, small=False)
    with pytest.raises(ConfigError, match=said):
        evaluate(asking, tmp_path / "run")
    assert not list(tmp_path.rglob("*.json"))
