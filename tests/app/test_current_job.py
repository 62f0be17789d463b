"""What Hydra knows of a job, and what a user sees of it."""

import pytest
from hydra import compose, initialize_config_module

from sparrow.app.entry import set_up
from sparrow.app.renamed import RENAMED

CHECKPOINT = "/scratch/project_465000123/users/jane.doe/video_llm/sparrow/outputs/paper/data_scaling/mixture=sparrow,num_samples={}"


@pytest.fixture
def folder_name():
    """The name of a job's folder in its sweep."""
    set_up()

    def name(*overrides, config="evaluate"):
        with initialize_config_module("sparrow.conf", version_base="1.3"):
            return compose(config, overrides=list(overrides), return_hydra_config=True).hydra.sweep.subdir

    return name


def test_jobs_that_differ_have_folders_of_their_own_however_long_the_paths_in_their_names(folder_name):
    jobs = [
        [f"checkpoint='{CHECKPOINT.format(size)}'", f"frames.max_frames={frames}"]
        for size in (30000, 60000)
        for frames in (4, 8)
    ]
    given = ["experiment=paper/eval_frames", "study.factors=[checkpoint,frames.max_frames]"]
    names = [folder_name(*given, *job) for job in jobs]
    assert len(set(names)) == len(jobs)
    assert all(len(name) <= 120 for name in names)
    assert names == [folder_name(*given, *job) for job in jobs], "the same job finds its folder again"
    assert folder_name(*given, "checkpoint=m", "frames.max_frames=4") == "checkpoint-m+max_frames-4"
    assert not set("=,[](){}'\" ") & set("".join(names)), "so that a path to them needs no quotes"


def test_a_study_begun_in_the_former_naming_goes_on_in_its_folders(folder_name, tmp_path):
    (tmp_path / "mixture=world_video,seed=3").mkdir()
    given = [f"hydra.sweep.dir={tmp_path}", "study.factors=[mixture,seed]", "mixture=world/video"]
    assert folder_name(*given, "seed=3", config="train") == "mixture=world_video,seed=3"
    assert folder_name(*given, "seed=4", config="train") == "mixture-world_video+seed-4"


def test_a_choice_of_the_world_names_its_run_as_before_it_had_a_folder(folder_name):
    def named(group, choice):
        return folder_name(f"study.factors=[{group}]", f"{group}={choice}", config="train")

    for old, new in RENAMED["mixture"].items():
        assert named("mixture", new) == named("mixture", old) == f"mixture-{old}"
