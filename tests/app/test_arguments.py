"""Names on the command line: those that are known pass, every other one is told at once with one that is near."""

import pytest

from sparrow.app.arguments import check_arguments, flags_apart
from sparrow.core.errors import ConfigError
from sparrow.settings import EvaluateConfig, ExperimentConfig

KNOWN = [
    ["experiment=paper/data_scaling", "mixture=world/video,world/sparrow", "seed=0,1", "-m"],
    ["benchmark=[world/short,world/long]", "benchmark.world_short.num_questions=6", "+source=[longalpaca]"],
    ["mixture.components.video.present_as=pages", "tuning.lora.rank=4", "~validation", "hydra/launcher=parallel"],
    ["hydra/launcher=sequential", "hydra.launcher.additional_parameters.reservation=mine", "hydra.run.dir=x"],
    ["optimizer.learning_rate=interval(0,1)", "hydra.sweeper.n_trials=3", "start_from.overrides=['seed=1']"],
    ["experiment=mine", "hydra.searchpath=[file:///home/me/conf]"],
    ["mixture=choice("],
    ["mixture=glob(world_*)", "optimizer={learning_rate: 1.0e-4}"],
]


@pytest.mark.parametrize("arguments", KNOWN)
def test_what_is_known_or_hydras_own_passes(arguments):
    check_arguments(arguments, ExperimentConfig)


def test_everything_unknown_is_told_at_once_with_what_is_near():
    typed = ["experiment=data_scalng", "mixture=world/video,world/sparow", "benchmark=[world/shrt,world/long]"]
    typed += ["backbone=qwen3vl_2b", "optimizer.lr=1", "+tunning=lora", "tuning.lora.rnk=4"]
    with pytest.raises(ConfigError) as caught:
        check_arguments(typed, ExperimentConfig)
    assert str(caught.value).splitlines()[0] == "7 problems on the command line:"
    for part in (
        "experiment=data_scalng: there is no such choice; did you mean 'paper/data_scaling'?",
        "mixture=world/sparow: there is no such choice; did you mean 'world/sparrow'?",
        "did you mean 'world/short'?",
        "backbone=qwen3vl_2b: there is no such choice; did you mean 'qwen3_vl_2b'?",
        "optimizer.lr: unknown key; there are name, learning_rate",
        "tunning: unknown key; did you mean 'tuning'?",
        "tuning.lora.rnk: unknown key; did you mean 'rank'?",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ("logger=null", "use logger=[]"),
        ("benchmark=[world/short],null", "use benchmark=[]"),
        ("paths=null", "leave it out, or choose one of default"),
    ],
)
def test_a_group_that_is_null_is_refused_with_what_to_write(typed, remedy):
    with pytest.raises(ConfigError) as caught:
        check_arguments([typed], ExperimentConfig)
    group = typed.partition("=")[0]
    assert str(caught.value).splitlines()[1:] == [f"  {group}=null: a group cannot be null; {remedy}"]


@pytest.mark.parametrize(
    ("name", "nearest"), [("minicpm_llama3_v_2_5", "minicpmv"), ("mini_internvl_1_5", "internvl3_5_4b")]
)
def test_the_papers_backbones_are_refused_with_the_reason(name, nearest):
    for typed in (f"backbone={name}", f"backbone=qwen3_vl_2b,{name}"):
        with pytest.raises(ConfigError, match=rf"backbone={name}: .*no native port.*set backbone={nearest}"):
            check_arguments([typed], ExperimentConfig)


@pytest.mark.parametrize("showing", [["--cfg", "job"], ["-c=job"], ["--info"]])
def test_the_settings_of_a_multirun_are_not_shown(showing):
    with pytest.raises(ConfigError, match=r"shows the settings of one job: leave out -m"):
        check_arguments(["-m", "experiment=quickstart", *showing], ExperimentConfig)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--config-dir", "nowhere/conf"], "--config-dir=nowhere/conf: there is no such folder"),
        (["--config-dir=nowhere/conf"], "--config-dir=nowhere/conf: there is no such folder"),
        (["--confg-dir", "."], "--confg-dir: there is no such flag; did you mean '--config-dir'?"),
        (["--multrun"], "--multrun: there is no such flag; did you mean '--multirun'?"),
    ],
)
def test_flags_and_the_folder_are_checked_before_the_names_that_they_bring(given, said):
    with pytest.raises(ConfigError) as caught:
        check_arguments([*given, "experiment=mine"], ExperimentConfig)
    assert str(caught.value) == f"1 problem on the command line:\n  {said}"


@pytest.mark.parametrize("flags", [["-m"], ["--cfg", "job", "--resolve"], ["--hydra-help"], ["--info=all"]])
def test_hydras_own_flags_pass_wherever_they_stand(flags):
    check_arguments([*flags, "seed=0", "data_seed=1"], ExperimentConfig)
    check_arguments(["seed=0", *flags], ExperimentConfig)
    check_arguments(["seed=0", *flags, "data_seed=1"], ExperimentConfig)


def test_a_launcher_is_chosen_of_hydras_group():
    with pytest.raises(ConfigError, match=r"launcher: unknown key; did you mean 'hydra/launcher'\?"):
        check_arguments(["launcher=parallel"], ExperimentConfig)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimizer={lerning_rate: 3}", "optimizer.lerning_rate: unknown key; did you mean 'learning_rate'?"),
        ("optimizer.learning_rate.foo=3", "optimizer.learning_rate: has no settings below it"),
        ("hydra.launcher.n_paralel=3", "hydra.launcher.n_paralel: unknown key; did you mean 'n_parallel'?"),
        ("hydra/launcher=slrum", "hydra/launcher=slrum: there is no such choice; did you mean 'slurm'?"),
        ("hydra.swep.dir=x", "hydra.swep: unknown key; did you mean 'hydra.sweep.dir'?"),
        ("max_frames=3", "max_frames: unknown key; did you mean 'frames.max_frames'?"),
        ("learning_rate=3", "learning_rate: unknown key; did you mean 'optimizer.learning_rate'?"),
    ],
)
def test_a_name_that_hydra_would_add_with_a_plus_is_refused_with_the_one_that_is_there(typed, said):
    with pytest.raises(ConfigError) as caught:
        check_arguments([typed], ExperimentConfig)
    assert str(caught.value).splitlines()[1] == f"  {said}"


def test_a_long_list_of_names_has_each_once_and_shows_that_it_is_cut():
    with pytest.raises(ConfigError) as caught:
        check_arguments(["xyzzy=3"], ExperimentConfig)
    names = str(caught.value).splitlines()[1].partition("there are ")[2].split(", ")
    assert names[-1] == "…" and len({*names}) == len(names)


def test_a_group_of_another_command_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer: this command has no such group; there are benchmark, "):
        check_arguments(["checkpoint=x", "optimizer=adamw"], EvaluateConfig)


def test_commands_have_keys_of_their_own():
    check_arguments(["checkpoint=x", "blind=true"], EvaluateConfig)
    with pytest.raises(ConfigError, match=r"checkpoint: unknown key; did you mean 'backbone\.checkpoint'"):
        check_arguments(["checkpoint=x"], ExperimentConfig)
    with pytest.raises(ConfigError, match="evaluation: unknown key; did you mean 'blind'"):
        check_arguments(["evaluation.blind=true"], EvaluateConfig)
    with pytest.raises(ConfigError, match="tuning: unknown key; there are study") as caught:
        check_arguments(["tuning.lora.rank=4"], EvaluateConfig)
    assert "mixture" not in str(caught.value), "a group that evaluate lacks"


def test_flags_may_stand_between_overrides_and_hydra_is_given_them_in_one_piece():
    assert flags_apart(["--config-dir", "a=b", "x=0", "-m", "y=1"]) == ["x=0", "y=1", "--config-dir", "a=b", "-m"]
    assert flags_apart(["~validation", "-c", "job", "seed=0"]) == ["~validation", "seed=0", "-c", "job"]


def test_the_folder_of_a_flag_is_no_override(tmp_path):
    (tmp_path / "a=b").mkdir()
    check_arguments(["--config-dir", f"{tmp_path}/a=b", "seed=0"], ExperimentConfig)


@pytest.mark.parametrize("flag", [["--config-dir", "{}"], ["--config-dir={}"], ["-cd", "{}"]])
def test_choices_of_a_folder_of_ones_own_are_known(tmp_path, flag):
    (tmp_path / "mixture").mkdir()
    (tmp_path / "mixture/mine.yaml").write_text("num_samples: 3\n")
    given = [part.format(tmp_path) for part in flag]
    check_arguments([*given, "mixture=mine"], ExperimentConfig)
    check_arguments(["mixture=mine", *given, "seed=0"], ExperimentConfig)
    with pytest.raises(ConfigError, match="mixture=mein"):
        check_arguments([*given, "mixture=mein"], ExperimentConfig)
