"""Help on settings: printed by group, written as a page, and complete."""

from pathlib import Path

import pytest

from sparrow.app.help import help_text
from sparrow.app.launching.parallel import ParallelValues
from sparrow.app.launching.slurm import SlurmValues
from sparrow.app.settings_help import described, group_help, settings_page
from sparrow.core.errors import ConfigError
from sparrow.settings import SCHEMAS

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def test_the_page_of_settings_is_what_the_settings_say():
    assert PAGE.read_text() == settings_page() + "\n"


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_setting_has_one_line_of_help(command):
    assert [setting.key for setting in described(SCHEMAS[command]) if not setting.help] == []


def test_the_settings_of_a_group_are_printed_with_type_default_unit_and_help(sparrow):
    done = sparrow("train", "--help", "batching")
    assert done.returncode == 0, done.stderr
    assert "batching.max_seq_len_tokens: int >= 1, default 10740" in done.stdout
    assert "[tokens]" in done.stdout
    assert "optimizer." not in done.stdout
    assert "mixture.components.NAME.max_pages: int >= 1 or null, default null" in group_help("prepare", "mixture")


def test_help_shows_ranges_and_choices_and_the_launchers(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    shown = {group: group_help("train", group) for group in ("schedule", "source", "launcher")}
    assert "schedule.warmup_ratio: float from 0 to 1, default 0.03" in shown["schedule"]
    assert "schedule.decay_form: linear or cosine or 1-sqrt, default 1-sqrt" in shown["schedule"]
    assert "source.NAME.converter: alpaca or " in shown["source"]
    assert "hydra/launcher=parallel\n  hydra.launcher.n_parallel: int >= 1 or null, default null" in shown["launcher"]
    assert "hydra.launcher.timeout_min: int >= 1, default 1440" in shown["launcher"]
    assert max(map(len, "\n".join(shown.values()).splitlines())) <= 100


@pytest.mark.parametrize("values", [ParallelValues, SlurmValues])
def test_every_setting_of_a_launcher_has_help(values):
    assert [setting.key for setting in described(values) if not setting.help] == []


def test_a_group_that_is_not_there_is_refused_with_a_near_one():
    with pytest.raises(ConfigError, match=r"--help optimiser: `sparrow train` has no such .*did you mean 'optimizer'"):
        group_help("train", "optimiser")


def test_help_lists_groups_in_the_order_of_a_study_with_the_default_marked(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = help_text("train", "").splitlines()
    groups = [line.strip().partition(":")[0] for line in lines if line.startswith("  ") and line[2] != " "]
    order = ["experiment", "scale", "source", "mixture", "backbone", "optimizer", "benchmark", "trainer"]
    assert [group for group in groups if group in order] == order
    assert any("adamw*" in line for line in lines)


@pytest.mark.parametrize("command", SCHEMAS)
def test_help_is_wrapped_to_the_terminal(monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "100")
    text = help_text(command, f"`sparrow {command}`: {'a purpose of many words ' * 9}")
    assert max(map(len, text.splitlines())) <= 100
    assert "`--help GROUP` lists all settings of a group" in " ".join(text.split())


def test_defaults_are_those_of_the_default_choices_of_the_command():
    assert "frames.max_frames: int >= 1 or null, default as trained, else 24" in group_help("evaluate", "frames")
    assert "frames.max_frames: int >= 1 or null, default 24" in group_help("train", "frames")
    assert "default $SPARROW_DATA_ROOT, else data" in group_help("train", "paths")
    assert "smolvlm or your own dotted path, default idefics3" in " ".join(group_help("train", "backbone").split())


def test_choices_in_help_are_the_commands_and_the_users(sparrow, tmp_path):
    (tmp_path / "c/experiment").mkdir(parents=True)
    (tmp_path / "c/experiment/mine.yaml").write_text("# @package _global_\n")
    shown = sparrow("train", "--config-dir", "c", "--help", "experiment").stdout
    assert " mine" in shown and "quickstart" in shown and "eval_frames" not in shown
    assert " mine" in sparrow("train", "--help", "--config-dir", "c").stdout
    with pytest.raises(ConfigError, match=r"`sparrow evaluate` has no such settings; there are"):
        group_help("evaluate", "optimizer")
