"""What cannot be loaded is refused before weights are read, with how to mend it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from sparrow.core.errors import BackboneError
from sparrow.models import backbone as backbone_module
from sparrow.models.loading import load_backbone
from sparrow.models.registry import FAMILIES, check_family, find_family

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "backbone").glob("*.yaml"))


@pytest.fixture
def weightless(tiny_checkpoint, tmp_path):
    """A copy of a tiny checkpoint without its weights: whatever is refused of it is refused before they are read."""

    def copy(family):
        folder = tmp_path / family
        shutil.copytree(tiny_checkpoint(family), folder, ignore=shutil.ignore_patterns("*.safetensors"))
        return folder

    return copy


def test_an_unknown_family_is_offered_near_names():
    with pytest.raises(BackboneError, match=r"'qwen25_vl'; did you mean 'qwen2_5_vl'\?"):
        check_family("qwen25_vl")
    with pytest.raises(BackboneError, match=r"'blip'; known: gemma3, idefics3"):
        check_family("blip")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("minicpm_llama3_v_2_5", "minicpmv"),
        ("openbmb/MiniCPM-Llama3-V-2_5", "minicpmv"),
        ("mini_internvl_1_5", "internvl3_5_4b"),
        ("OpenGVLab/Mini-InternVL-Chat-4B-V1-5", "internvl3_5_4b"),
    ],
)
def test_the_papers_models_without_a_port_are_refused_with_the_nearest(name, nearest):
    match = rf"no native port in transformers 5.*transformers 4\.40.*set backbone={nearest}"
    with pytest.raises(BackboneError, match=match):
        check_family(name)
    with pytest.raises(BackboneError, match=match):
        load_backbone(name)


def test_settings_name_what_is_refused(settings, monkeypatch):
    from sparrow.core.errors import ConfigError

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    for overrides, match in (
        (["backbone.family=smollvm"], r"backbone\.family: .*did you mean 'smolvlm'"),
        (["backbone.family=minicpm_llama3_v_2_5"], r"backbone\.family: .*backbone=minicpmv"),
        (["backbone.checkpoint=openbmb/MiniCPM-Llama3-V-2_5"], r"no native port"),
        ([f"tuning.{part}.mode=frozen" for part in ("vision", "projector", "language_model")], "every part is frozen"),
        (["tuning.vision.mode=melted"], r"tuning\.vision\.mode: 'melted' is not one of frozen, adapted, trained"),
        (["tuning.quantization=nf4"], r"tuning\.quantization: weights in four bits cannot be trained"),
        (["tuning=qlora"], "bitsandbytes, which is not installed"),
        (["tuning.loss_normalization=word"], r"tuning\.loss_normalization: 'word'"),
        (["tuning.projector.learning_rate_multiplier=0"], r"use tuning\.projector\.mode=frozen"),
    ):
        with pytest.raises(ConfigError, match=match):
            settings(*overrides)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(BackboneError, match="does not exist"):
        load_backbone(str(tmp_path / "nowhere"))


def test_a_checkpoint_that_is_not_in_the_cache_says_how_to_get_it(tmp_path):
    with pytest.raises(BackboneError, match=r"could not be loaded.*`hf download nobody/nothing`"):
        load_backbone("nobody/nothing")


def test_another_family_is_refused(weightless, tmp_path):
    with pytest.raises(BackboneError, match=r"of family 'internvl', expected 'idefics3'.*backbone\.checkpoint"):
        load_backbone(str(weightless("internvl")), family="idefics3")
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(BackboneError, match=r"of family 'llama', expected 'gemma3, .*smolvlm'"):
        load_backbone(str(folder))


def test_a_frame_size_that_does_not_fit_is_refused(weightless, family):
    size = 80
    with pytest.raises(BackboneError, match=rf"frame_size_px={size} does not fit .*(multiple of|takes 64 only)"):
        load_backbone(str(weightless(family)), frame_size_px=size)


def test_more_frames_than_the_context_holds_are_refused(load_tiny, family):
    backbone = load_tiny(family, with_model=False)
    fits = backbone.context_length_tokens // backbone.visual_tokens((64, 64), 1)
    backbone.require_room(fits)
    with pytest.raises(BackboneError, match=rf"max_frames={fits + 1} .* made for 16384; lower one of them"):
        backbone.require_room(fits + 1)


def test_a_template_without_generation_marks_is_refused(weightless, family, monkeypatch, tmp_path):
    adapter = find_family(family)
    original = backbone_module.files("sparrow.models").joinpath(f"templates/{adapter.template}.jinja").read_text()
    folder = tmp_path / "package" / "templates"
    folder.mkdir(parents=True)
    unmarked = original.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
    (folder / f"{adapter.template}.jinja").write_text(unmarked)
    checkpoint = str(weightless(family))
    monkeypatch.setattr(backbone_module, "files", lambda _: folder.parent)
    with pytest.raises(BackboneError, match=r"marks no answer.*generation"):
        load_backbone(checkpoint)


def test_code_of_a_checkpoint_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own_vlm", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}})
    )
    (tmp_path / "configuration_own.py").write_text("raise SystemExit('this must not run')\n")
    with pytest.raises(BackboneError, match=r"code of its own, which is not run.*trust_remote_code=true"):
        load_backbone(str(tmp_path))


def test_adapters_whose_model_is_gone_are_refused(weightless):
    folder = weightless("idefics3")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder / "gone")}))
    with pytest.raises(BackboneError, match=r"gone' does not exist"):
        load_backbone(str(folder))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_backbone_of_conf_is_a_checkpoint_of_its_family(path, settings):
    config = settings(f"backbone={path.stem}", "batching=padded").backbone
    assert config.checkpoint in find_family(config.family).native_checkpoints
    assert not config.trust_remote_code
    assert yaml.safe_load(path.read_text())["revision"] is None


def test_every_family_has_a_config():
    assert {yaml.safe_load(path.read_text())["family"] for path in CONFIGS} == set(FAMILIES)
