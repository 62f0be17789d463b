"""Old names of choices: what a user's files and commands written with them still do."""

import pytest
from hydra import compose, initialize_config_module

from sparrow.app.arguments import check_arguments
from sparrow.app.entry import set_up
from sparrow.app.help import options_by_group
from sparrow.app.renamed import RENAMED, _current
from sparrow.settings import ExperimentConfig

OLD = [
    pytest.param(group, old, new, marks=pytest.mark.slow if number else ())  # the first of each group alone is fast
    for group, names in RENAMED.items()
    for number, (old, new) in enumerate(names.items())
]


@pytest.mark.parametrize(("group", "old", "new"), OLD)
def test_an_old_name_is_its_new_one_with_one_note(group, old, new, capsys):
    set_up()
    _current.cache_clear()

    def composed(choice):
        given = [choice] if group == "mixture" else [f"[{choice}]"]
        override = f"{'+' if group == 'source' else ''}{group}={given[0]}"
        check_arguments([override], ExperimentConfig)
        with initialize_config_module("sparrow.conf", version_base="1.3"):
            return compose("train", overrides=[override])

    assert composed(old) == composed(new)
    assert capsys.readouterr().err.count(f"note: {group}={old} is now {group}={new}") == 1


def test_every_choice_of_the_world_is_listed_with_its_old_name():
    for group, options in options_by_group().items():
        here = {option for option in options if option.startswith("world/")}
        assert here == set(RENAMED.get(group, {}).values())


def test_a_users_files_and_sweeps_with_old_names_go_on(sparrow, tmp_path):
    (tmp_path / "c/mixture").mkdir(parents=True)
    (tmp_path / "c/experiment").mkdir()
    (tmp_path / "c/mixture/mine.yaml").write_text("defaults: [world_video]\nnum_samples: 5\n")
    (tmp_path / "c/experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n- override /mixture: mine\n- override /benchmark: [world_short]\n"
    )
    done = sparrow("train", "--config-dir", "c", "experiment=mine", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "source: world_clips" in done.stdout and "world_short:" in done.stdout
    for note in (
        "mixture=world_video is now mixture=world/video",
        "benchmark=world_short is now benchmark=world/short",
    ):
        assert note in done.stderr


def test_a_choice_that_is_not_there_is_answered_with_a_near_one_and_without_old_names(sparrow, tmp_path):
    (tmp_path / "c/experiment").mkdir(parents=True)
    (tmp_path / "c/experiment/mine.yaml").write_text("# @package _global_\ndefaults:\n- override /mixture: min\n")
    done = sparrow("train", "--config-dir", "c", "experiment=mine")
    assert "Could not find 'mixture/min'; there are one_text_source, " in done.stderr
    assert " claim_video" not in done.stderr
