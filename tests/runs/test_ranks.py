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

from sparrow.runs import ranks
from sparrow.runs.outcome import Interrupted, signals_interrupt
from sparrow.runs.ranks import Answering, answer_all
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
    loaded = "import sys, sparrow.runs.ranks; print('pytorch_lightning' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True) == "False\n"
