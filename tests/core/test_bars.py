"""How far something is, on a terminal and in a log."""

import io
import logging
import os
import threading
import time

import pytest
from tqdm import tqdm

from sparrow.core import bars
from sparrow.core.bars import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def every_tick(monkeypatch, caplog):
    monkeypatch.setattr(bars, "LINE_EVERY_S", 0.05)
    caplog.set_level(logging.INFO, "sparrow.core.bars")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_log_gets_whole_lines_also_while_a_step_hangs(every_tick, capsys):
    for item in Bar(range(4), desc="measuring", unit="batch"):
        time.sleep(0.3 if item == 2 else 0.02)
    lines = every_tick()
    assert len([line for line in lines if line.startswith("measuring: batch 2 of 4, ") and "00:00 left" in line]) >= 3
    assert lines[-1].startswith("measuring: batch 4 of 4, ")
    assert capsys.readouterr() == ("", "")


def test_what_takes_less_than_a_line_says_nothing_and_a_bar_that_is_not_shown_is_lines(every_tick, monkeypatch):
    list(Bar(range(4), desc="measuring", unit="batch"))
    assert every_tick() == []
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Bar(total=2, desc="hidden", unit="step", shown=False):
        time.sleep(0.12)
    assert "hidden: step 0 of 2, ?step/s, ? left" in every_tick()
    assert terminal.getvalue() == ""


def test_a_terminal_gets_a_bar_and_no_lines(every_tick, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for _ in Bar(range(2), desc="measuring", unit="batch"):
        time.sleep(0.12)
    assert "measuring:  50%" in terminal.getvalue()
    assert every_tick() == []


def test_a_process_forked_while_a_bar_is_told_of_can_tell_of_its_own(monkeypatch):
    told = threading.Event()

    class Slow(Bar):
        redraw_every_s = 0.01

        def display(self, *_, **__):
            told.set()
            time.sleep(0.3)  # with the locks of tqdm held

    monkeypatch.setattr("sys.stderr", Terminal())
    with Slow(total=1):
        told.clear()
        assert told.wait(5)
        child = os.fork()
        if child == 0:
            os._exit(0 if tqdm.get_lock().th_lock.acquire(timeout=2) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
