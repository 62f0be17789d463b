"""What cannot be loaded is refused before weights are read, with how to fix it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from sparrow.core.errors import BackboneError, ConfigError
from sparrow.core.hashing import file_hash
from sparrow.models import loading
from sparrow.models.loading import LoadOptions, find_family, load_backbone
from sparrow.models.registry import FAMILIES, check_family
from sparrow.models.settings import PartTuning, Tuning
from sparrow.models.tuning import apply_tuning

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
    with pytest.raises(ConfigError, match=r"'qwen25_vl' is not one of .*; did you mean 'qwen2_5_vl'\?"):
        check_family("qwen25_vl")
    with pytest.raises(
        ConfigError, match=r"'blip' is not one of gemma3, idefics3.*; your own is named by its dotted path"
    ):
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
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    for overrides, match in (
        (["backbone.family=smollvm"], r"backbone\.family: .*did you mean 'smolvlm'"),
        (["backbone.family=minicpm_llama3_v_2_5"], r"backbone\.family: .*backbone=minicpmv"),
        (["backbone.checkpoint=openbmb/MiniCPM-Llama3-V-2_5"], r"backbone\.checkpoint: .*no native port"),
        ([f"tuning.{part}.mode=frozen" for part in ("vision", "projector", "language_model")], "every part is frozen"),
        (["tuning.vision.mode=melted"], r"tuning\.vision\.mode: 'melted' is not one of frozen, adapted, trained"),
        (["tuning.quantization=nf4"], r"tuning\.quantization: weights in four bits cannot be trained"),
        (["tuning=qlora"], "bitsandbytes, which is not installed"),
        (["tuning.loss_normalization=word"], r"tuning\.loss_normalization: 'word'"),
        (
            ["tuning.projector.learning_rate_multiplier=0"],
            r"tuning\.projector\.learning_rate_multiplier: must be above 0, is 0",
        ),
    ):
        with pytest.raises(ConfigError, match=match):
            settings(*overrides)


def test_what_is_no_checkpoint_is_refused_with_what_to_give(weightless, tmp_path):
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "empty").mkdir()
    weightless("idefics3").rename(tmp_path / "model")
    for name, match in (
        (tmp_path / "nowhere", "folder .*nowhere' does not exist; give a Hugging Face folder or a Hub id"),
        ("", "folder '' does not exist"),
        (tmp_path / "weights.safetensors", "is a file; give the folder that it lies in"),
        (tmp_path / "empty", r"folder .*empty' lacks config\.json"),
        (tmp_path, rf"is no model, but there is one in it: give '{tmp_path / 'model'}'"),
    ):
        with pytest.raises(BackboneError, match=match):
            load_backbone(str(name))


def test_a_checkpoint_that_is_not_in_the_cache_says_how_to_get_it(tmp_path):
    with pytest.raises(BackboneError, match=r"could not be loaded.*`hf download nobody/nothing`"):
        load_backbone("nobody/nothing")
    with pytest.raises(BackboneError, match=r"`hf download nobody/nothing --revision v1`"):
        load_backbone("nobody/nothing", revision="v1")


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


def test_options_are_an_object_keywords_or_both(tiny_checkpoint):
    folder = str(tiny_checkpoint("qwen2_5_vl"))
    options = LoadOptions(frame_size_px=32, with_model=False)
    assert load_backbone(folder, options).frame_size_px == 32
    assert load_backbone(folder, options, frame_size_px=64).frame_size_px == 64
    with pytest.raises(TypeError, match="frame_size"):
        load_backbone(folder, frame_size=64)


def test_a_template_without_generation_marks_is_refused(weightless, family, monkeypatch, tmp_path):
    original = find_family(family).template_file().read_text()
    unmarked = original.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
    (tmp_path / "unmarked.jinja").write_text(unmarked)
    checkpoint = str(weightless(family))
    monkeypatch.setattr(find_family(family), "template_file", staticmethod(lambda: tmp_path / "unmarked.jinja"))
    with pytest.raises(BackboneError, match=r"marks no answer.*generation"):
        load_backbone(checkpoint)


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(("model_type", "remedy"), [("own_vlm", "set backbone"), ("internvl_chat", "ends in -hf")])
def test_code_of_a_checkpoint_of_no_known_family_is_not_run(tmp_path, model_type, remedy, trusted):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": model_type, "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}})
    )
    (tmp_path / "configuration_own.py").write_text("raise SystemExit('this must not run')\n")
    with pytest.raises(BackboneError, match=rf"of family '{model_type}', expected .*; .*{remedy}"):
        load_backbone(str(tmp_path), trust_remote_code=trusted)


def test_code_of_a_checkpoints_processor_is_not_run(weightless):
    folder = weightless("idefics3")
    settings = json.loads((folder / "processor_config.json").read_text())
    settings |= {"processor_class": "OwnProcessor", "auto_map": {"AutoProcessor": "processing_own.OwnProcessor"}}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    (folder / "processing_own.py").write_text("raise SystemExit('this must not run')\n")
    with pytest.raises(BackboneError, match=r"code of its own, which is not run.*trust_remote_code=true"):
        load_backbone(str(folder), with_model=False)


def test_a_tiny_checkpoint_is_of_all_the_code_that_made_it(tiny_checkpoint, monkeypatch):
    read = []
    monkeypatch.setattr(loading, "file_hash", lambda path: read.append(path.name) or file_hash(path))
    tiny_checkpoint("minicpmv4_7")
    assert {"minicpmv4_7.py", "minicpmv.py", "backbone.py", "tiny.py"} <= set(read)


def test_a_local_folder_of_any_name_is_opened(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(tiny_checkpoint("internvl"), tmp_path / "mini_internvl_lr1.5e-5")
    for name in (str(tmp_path / "mini_internvl_lr1.5e-5"), "~/mini_internvl_lr1.5e-5"):
        assert load_backbone(name).family == "internvl"


@pytest.mark.parametrize(
    "names",
    ["config.json", "tokenizer.json", "processor_config.json", "model.safetensors", "adapter_model.safetensors"],
)
def test_the_file_that_a_folder_lacks_is_named(tiny_checkpoint, tmp_path, names):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_checkpoint("qwen2_5_vl"), folder)
    (folder / names).unlink(missing_ok=True)
    if names.startswith("adapter"):
        base = str(tiny_checkpoint("qwen2_5_vl"))
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    with pytest.raises(BackboneError, match=rf"folder '{folder}' lacks .*{names}.*; copy it there") as caught:
        load_backbone(str(folder))
    assert "hf download" not in str(caught.value)


def test_shards_that_the_index_names_must_be_there(tiny_checkpoint, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_checkpoint("idefics3"), folder)
    names = load_file(folder / "model.safetensors").keys()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "model-00001-of-00002.safetensors")}))
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"lacks model-00001-of-00002\.safetensors; copy it there"):
        load_backbone(str(folder))
    index.write_text("{}")
    with pytest.raises(BackboneError, match=rf"{index} has no weight_map; copy the folder anew"):
        load_backbone(str(folder), with_model=False)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json", "model.safetensors"])
def test_a_damaged_file_is_named(tiny_checkpoint, tmp_path, name):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_checkpoint("idefics3"), folder)
    with open(folder / name, "r+b") as file:
        file.truncate(100)
    with pytest.raises(BackboneError, match=rf"could not be loaded: {folder / name} is damaged .*copy the folder anew"):
        load_backbone(str(folder))


def test_a_checkpoint_without_a_model_type_is_refused(weightless):
    folder = weightless("idefics3")
    (folder / "config.json").write_text("{}")
    with pytest.raises(BackboneError, match=r"config\.json names no model_type"):
        load_backbone(str(folder))


@pytest.mark.parametrize("smaller", [False, True])
def test_tensors_that_are_missing_or_of_another_size_are_not_drawn_at_random(
    family, tiny_checkpoint, tmp_path, smaller
):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_checkpoint(family), folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("down_proj.weight"))
    weights[name] = weights[name][:4].clone()
    if not smaller:
        del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"lacks 1 of its model's tensors, or has them in other sizes, .*down_proj"):
        load_backbone(str(folder))


def test_adapters_that_lack_a_tensor_are_refused(load_tiny, tmp_path):
    backbone = load_tiny("idefics3")
    apply_tuning(backbone, Tuning(language_model=PartTuning(mode="adapted")))
    backbone.save(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    del weights[min(weights)]
    save_file(weights, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"the adapters in .* lack 1 of their tensors"):
        load_backbone(str(tmp_path))


def test_adapters_whose_model_is_of_another_family_are_refused(weightless):
    folder, other = weightless("idefics3"), weightless("smolvlm")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(other)}))
    with pytest.raises(BackboneError, match=r"adapters in .*of family 'smolvlm', expected 'idefics3'.*put it back"):
        load_backbone(str(folder))


def test_adapters_whose_model_is_gone_are_refused(weightless):
    folder = weightless("idefics3")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder / "gone")}))
    with pytest.raises(BackboneError, match=r"adapters in .*gone' does not exist.*correct base_model_name_or_path"):
        load_backbone(str(folder))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_backbone_of_conf_is_a_checkpoint_of_its_family(path, settings):
    config = settings(f"backbone={path.stem}", "batching=padded").backbone
    assert config.checkpoint in find_family(config.family).native_checkpoints
    assert not config.trust_remote_code
    assert config.revision is None


def test_every_family_has_a_config():
    assert {yaml.safe_load(path.read_text())["family"] for path in CONFIGS} == set(FAMILIES)
