import importlib.util
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

import sparrow.conf
from sparrow.app.entry import _quoted
from sparrow.app.help import options_by_group
from sparrow.app.sweeps import values_of
from sparrow.core.errors import ConfigError
from sparrow.models.registry import WITHOUT_PACKING
from sparrow.settings import EvaluateConfig, ExperimentConfig, PrepareConfig, PreviewConfig

CONF = Path(sparrow.conf.__file__).parent
EXPERIMENTS = sorted(
    str(p.relative_to(CONF / "experiment").with_suffix("")) for p in CONF.rglob("experiment/**/*.yaml")
)
OPTIONS = sorted(
    (group, option) for group, options in options_by_group().items() for option in options if group != "experiment"
)
NEEDS = {"qlora": "bitsandbytes", "adamw_8bit": "bitsandbytes", "wandb": "wandb"}
SEVERAL = ("benchmark", "logger", "source")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_passes_the_checks(settings, experiment):
    if "checkpoint=" in (CONF / "experiment" / f"{experiment}.yaml").read_text():
        given = settings(
            f"experiment={experiment}", "checkpoint=x", config_name="evaluate", schema=EvaluateConfig, small=False
        )
        assert given.benchmark
    else:
        assert settings(f"experiment={experiment}", small=False).mixture.components


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_composes_and_passes_the_checks(settings, group, option):
    choice = f"[{option}]" if group in SEVERAL else option
    prefix = "+" if group == "source" else ""
    extra = ["benchmark.multiple_choice.file=x.jsonl"] if option == "multiple_choice" else []
    base = [] if group == "mixture" else ["mixture=world/video"]
    overrides = [*base, f"{prefix}{group}={choice}", *extra]
    package = NEEDS.get(option)
    if package is not None and importlib.util.find_spec(package) is None:
        with pytest.raises(ConfigError, match=f"pip install {package}"):
            settings(*overrides, small=False)
    elif group == "backbone" and any(option.startswith(family) for family in WITHOUT_PACKING):
        with pytest.raises(ConfigError, match=r"batching\.name: samples of \w+ cannot share a row.*batching=padded"):
            settings(*overrides, small=False)
        settings(*overrides, "batching=padded", small=False)
    else:
        settings(*overrides, small=False)


def test_the_other_commands_compose(settings):
    assert settings("num_samples=3", config_name="preview", schema=PreviewConfig).num_samples == 3
    assert settings("export=llava", config_name="prepare", schema=PrepareConfig).export == "llava"
    evaluate = settings("checkpoint=x", config_name="evaluate", schema=EvaluateConfig, small=False)
    assert evaluate.checkpoint == "x"


def test_all_problems_are_said_at_once_with_their_keys(settings):
    with pytest.raises(ConfigError) as caught:
        settings("+optimizer.learning_rat=1", "batching.num_epochs=three", "+nonsense=1")
    message = str(caught.value)
    assert "3 problems" in message
    assert "optimizer.learning_rat: unknown key; did you mean 'learning_rate'?" in message
    assert "batching.num_epochs: expected int, found 'three'" in message
    assert "nonsense: unknown key" in message


def test_every_value_that_is_missing_is_said_with_what_may_be_meant(settings):
    with pytest.raises(ConfigError) as caught:
        settings(
            "+mixture.components.txt.max_tokens=1000",
            "+source.mine.files=[x.json]",
            "+benchmark.world_shor={format: multiple_choice}",
            "benchmark=[world/short]",
            "~paths",
        )
    lines = [line.strip() for line in str(caught.value).splitlines()]
    missing = "a value is missing; set it"
    assert sorted(lines) == sorted(
        [
            "6 problems in the configuration:",
            *(f"paths.{name}: {missing}" for name in ("data_root", "output_root")),
            f"source.mine.converter: {missing}",
            f"source.mine.root: {missing}",
            f"mixture.components.txt.source: {missing}, or did you mean 'mixture.components.text'?",
            "benchmark.world_shor: has settings, but was not chosen; did you mean 'benchmark.world_short'?",
        ]
    )


@pytest.mark.parametrize(("command", "schema"), [("train", ExperimentConfig), ("evaluate", EvaluateConfig)])
def test_an_accelerator_that_there_is_none_of_is_refused(settings, command, schema):
    base = ["checkpoint=x"] if command == "evaluate" else ["mixture=world/video"]
    with pytest.raises(ConfigError, match=r"trainer\.accelerator: 'gpuu' is not one of auto, cpu, gpu, cuda, mps"):
        settings(*base, "trainer.accelerator=gpuu", config_name=command, schema=schema, small=False)
    for accelerator in ("auto", "cpu", "gpu", "cuda", "mps"):
        settings(*base, f"trainer.accelerator={accelerator}", config_name=command, schema=schema, small=False)


def test_contradictions_are_said_at_once(settings):
    with pytest.raises(ConfigError) as caught:
        settings(
            "trainer.devices=2",
            "mixture.components.video.present_as=frames",
            "mixture.components.text.source=nowhere",
            "frames.policy=best",
            "text_to_image.font_size_px=1",
        )
    message = str(caught.value)
    assert "5 problems" in message
    for part in ("needs strategy=ddp", "'frames' is not one of", "'nowhere' is not among", "'best'", "font_size_px"):
        assert part in message


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("world_shrot", r"study\.metric: 'world_shrot' is not among the benchmarks \(world_short\)"),
        ("world_short.before", r"study\.metric: phase 'before' is not enabled; enabled: after"),
    ],
)
def test_a_metric_that_would_not_be_measured_is_refused_before_the_run(settings, metric, message):
    with pytest.raises(ConfigError, match=message):
        settings("benchmark=[world/short]", f"study.metric={metric}")
    assert settings("benchmark=[world/short]", "study.metric=world_short").study.metric == "world_short"
    blind = ["checkpoint=x", "benchmark=[world/short]", "blind=true", "study.metric=world_short.blind"]
    settings(*blind, config_name="evaluate", schema=EvaluateConfig, small=False)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (
            "optimizer.learning_rat",
            r"study\.factors: optimizer\.learning_rat: unknown key; did you mean 'learning_rate'",
        ),
        ("mixtur", r"study\.factors: mixtur: unknown key; did you mean 'mixture'"),
    ],
)
def test_a_factor_that_no_run_would_have_a_value_of_is_refused(settings, factor, message):
    with pytest.raises(ConfigError, match=message):
        settings(f"study.factors=[mixture,{factor}]")
    known = ["experiment", "scale", "seed", "optimizer.learning_rate", "mixture.components.text.fraction"]
    assert settings(f"study.factors=[{','.join(known)}]").study.factors == known


def test_a_primary_benchmark_that_is_not_asked_is_refused(settings):
    with pytest.raises(ConfigError, match=r"study\.primary: 'world_long' is not among the benchmarks \(world_short\)"):
        settings("benchmark=[world/short]", "study.primary=[world_short,world_long]")


def test_the_guide_to_own_data_composes_as_it_is_printed(settings, tmp_path):
    guide = (Path(__file__).parents[2] / "docs/your-own-data.md").read_text()
    for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL):
        path = tmp_path / re.search(r"in my_conf/(\S+\.yaml)", block)[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    config = settings("experiment=mine", f"hydra.searchpath=[file://{tmp_path}]", small=False)
    assert set(config.mixture.components) == {"video", "text"}
    assert config.source.keys() >= {"my_clips", "my_stories"}


def test_an_experiment_file_with_a_typo_is_refused_by_name(settings, tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\noptimizer:\n  learning_rat: 1.0e-3\n")
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rat: unknown key"):
        settings("experiment=mine", f"hydra.searchpath=[file://{tmp_path}]")


def test_an_experiment_file_that_does_not_say_where_it_belongs_is_told_the_line(settings, tmp_path):
    (tmp_path / "experiment/own").mkdir(parents=True)
    (tmp_path / "experiment/own/mine.yaml").write_text("optimizer:\n  learning_rate: 1.0e-3\n")
    for command, schema in (("train", ExperimentConfig), ("prepare", PrepareConfig)):
        given = ["experiment=own/mine", f"hydra.searchpath=[file://{tmp_path}]"]
        with pytest.raises(ConfigError, match=r"experiment: .*begin its file with the line '# @package _global_'"):
            settings(*given, config_name=command, schema=schema)


def test_seed_zero_is_a_seed(settings):
    assert settings("seed=0", "data_seed=0").seed == 0


@pytest.mark.parametrize(("command", "schema"), [("train", ExperimentConfig), ("evaluate", EvaluateConfig)])
def test_a_seed_that_no_generator_takes_is_refused(settings, command, schema):
    base = ["checkpoint=x"] if command == "evaluate" else ["mixture=world/video"]
    with pytest.raises(ConfigError) as caught:
        settings(*base, "seed=-1", "data_seed=5000000000", config_name=command, schema=schema, small=False)
    for line in ("seed: must lie between 0 and 4294967295, is -1", "data_seed: must lie between 0 and 4294967295"):
        assert line in str(caught.value)


def test_every_target_can_be_followed(settings):
    for path in CONF.rglob("*.yaml"):
        for _, target in _targets(OmegaConf.load(path)):
            if target.startswith("hydra_plugins."):  # the only name space that Hydra takes launchers from
                assert target in Plugins.instance().class_name_to_class, target
                continue
            module, _, name = target.rpartition(".")
            assert hasattr(__import__(module, fromlist=[name]), name), target


def test_every_folder_of_conf_ships_with_the_package():
    with initialize_config_module("sparrow.conf", version_base="1.3"):
        assert compose("train", overrides=["mixture=world/video"]).mixture.num_samples == 60


def _targets(node):
    if OmegaConf.is_dict(node):
        for key in node:
            if key == "_target_":
                yield key, node[key]
            elif not OmegaConf.is_interpolation(node, key) and not OmegaConf.is_missing(node, key):
                yield from _targets(node[key])


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("hydra.run.dir=out/lr=1", "out/lr=1"),
        ("backbone.checkpoint=run/step=7.ckpt", "run/step=7.ckpt"),
        ("checkpoint=a,b", ["a", "b"]),
        ("seed=0,1", ["0", "1"]),
        ("checkpoint=lr=1/model,lr=2/model", ["lr=1/model", "lr=2/model"]),
        ("checkpoint=mixture=a,seed=0,mixture=b,seed=1", ["mixture=a,seed=0", "mixture=b,seed=1"]),
        ("checkpoint=tasks=[a,b]", "tasks=[a,b]"),
        ("source.a.media_roots=[/a=b/c,/d]", ["/a=b/c", "/d"]),
        ("start_from.overrides=[mixture.num_samples=400]", ["mixture.num_samples=400"]),
        ("source.a={root: /x=y, converter: llava}", {"root": "/x=y", "converter": "llava"}),
        ("paths.output_root=/home/o'b/run=1", "/home/o'b/run=1"),
        ("seed=range(start=0,stop=2)", ["0", "1"]),
        ("x='a=b'", "a=b"),
        ("x={a:'b=c'}", {"a": "b=c"}),
        (r"checkpoint=choice(lr\=1,b)", ["lr=1", "b"]),
    ],
)
def test_a_path_is_typed_as_it_is(tmp_path, monkeypatch, typed, value):
    monkeypatch.chdir(tmp_path)
    for folder in ("mixture=a,seed=0", "mixture=b,seed=1", "tasks=[a,b]"):
        (tmp_path / folder).mkdir()
    override = OverridesParser.create().parse_override(_quoted(typed))
    assert ([*map(str, values_of(override))] if override.is_sweep_override() else override.value()) == value
    assert _quoted("--config-dir=a=b") == "--config-dir=a=b"
    assert _quoted("mixture=glob(world/*,exclude=world/claim*)") == "mixture=glob(world/*,exclude=world/claim*)"


def test_the_home_folder_may_be_written_short_wherever_a_path_is_given(monkeypatch, tmp_path, settings):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _quoted("checkpoint=~/a,~/b") == f"checkpoint={tmp_path}/a,{tmp_path}/b"
    assert _quoted("paths.output_root=~/out") == f"paths.output_root={tmp_path}/out"
    assert _quoted("paths.output_root='~/out'") == f"paths.output_root='{tmp_path}/out'"
    assert _quoted("~validation") == "~validation", "which takes a group away"
    (tmp_path / "run=1").mkdir()
    assert _quoted("checkpoint=~/run=1") == f"checkpoint='{tmp_path}/run=1'"
    config = settings("paths.data_root='~/data'", "backbone.checkpoint='~/model'", "+source=[real_clips]")
    assert config.backbone.checkpoint == f"{tmp_path}/model"
    assert config.source["real_clips"].root == f"{tmp_path}/data"
    monkeypatch.setenv("SPARROW_OUTPUT_ROOT", "~/out")
    assert settings().paths.output_root == f"{tmp_path}/out"
    with initialize_config_module("sparrow.conf", version_base="1.3"):
        folders = compose("train", return_hydra_config=True).hydra
    assert folders.run.dir.startswith(f"{tmp_path}/out/")
    assert folders.sweep.dir.startswith(f"{tmp_path}/out/")


def test_a_file_that_writes_the_home_folder_short_where_hydra_makes_folders_is_refused(settings, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\npaths:\n  output_root: ~/out\n")
    with pytest.raises(
        ConfigError, match=r"paths\.output_root: Hydra takes ~ for a name here; write \$\{oc\.env:HOME\}/out"
    ):
        settings("experiment=mine", f"hydra.searchpath=[file://{tmp_path}]")
    fixed = (tmp_path / "experiment/mine.yaml").read_text().replace("~", "${oc.env:HOME}")
    (tmp_path / "experiment/fixed.yaml").write_text(fixed)
    assert settings("experiment=fixed", f"hydra.searchpath=[file://{tmp_path}]").paths.output_root.endswith("/out")


def test_null_is_called_null(settings):
    with pytest.raises(ConfigError, match=r"on_nan_loss: null is not one of stop, skip"):
        settings("optimizer.on_nan_loss=null")


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ("pages", r"did you mean 'world_pages', chosen with \+source=\[world/pages\]\?"),
        ("world_pages", r"or from the shell: \+source=\[world/pages\]"),
    ],
)
def test_a_source_that_was_not_chosen_is_answered_with_a_choice_that_there_is(settings, source, fix):
    with pytest.raises(ConfigError, match=rf"'{source}' is not among the chosen sources \(.*\); .*{fix}"):
        settings(f"mixture.components.text.source={source}")


def test_a_wrong_value_is_said_once_however_many_settings_take_it_over(settings):
    given = ("checkpoint=x", "frames.max_frames=0", "benchmark=[world/short,mlvu]")
    with pytest.raises(ConfigError, match=r"^1 problem in the configuration:\n  frames\.max_frames: "):
        settings(*given, config_name="evaluate", schema=EvaluateConfig, small=False)
