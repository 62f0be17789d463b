"""`sparrow export`: a folder that stands alone."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from sparrow.cli import run as run_command
from sparrow.commands.evaluate import evaluate
from sparrow.commands.export import model_of
from sparrow.commands.model_card import model_card
from sparrow.commands.train import train
from sparrow.core.errors import RunError
from sparrow.models.adapters import merge_adapters
from sparrow.models.checkpoint_files import base_of_adapters
from sparrow.models.fingerprint import fingerprint
from sparrow.models.loading import ensure_tiny, load_backbone
from sparrow.runs.record import RunRecord
from sparrow.settings import EvaluateConfig
from sparrow.world import world_texts
from tests.models.chats import CHAT, encoded


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    """A finished run that trained adapters and, beside them, the projector."""
    folder = tmp_path_factory.mktemp("run")
    options = ["mixture.num_samples=16", "tuning=lora", "benchmark=[world/short]", "checkpointing.every_n_steps=1"]
    train(settings(*options), folder, name="lora")
    return folder


def code_of(card, language):
    return card.split(f"```{language}\n")[1].split("```")[0]


def test_an_exported_folder_stands_alone(run, tmp_path, capsys):
    out = tmp_path / "models" / "mine"
    assert run_command("export", [str(run), str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    names = {path.name for path in out.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "chat_template.jinja"} <= names
    assert {"tokenizer.json", "tokenizer_config.json", "processor_config.json", "README.md"} <= names
    assert not any("adapter" in name or "trained_parts" in name for name in names)
    trained, exported = load_backbone(str(run / "model")), load_backbone(str(out))
    frames = [torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()] * 2
    ids, _, prepared = encoded(exported, CHAT, frames)
    with torch.inference_mode():
        ours = trained.forward(ids[None], None, prepared).logits
        theirs = AutoModelForImageTextToText.from_pretrained(out)(
            input_ids=ids[None], **exported.pixel_inputs(prepared, torch.float32)
        ).logits
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)
    model = AutoModelForImageTextToText.from_pretrained(out)
    processor = AutoProcessor.from_pretrained(out)
    assert processor.tokenizer.eos_token_id in model.generation_config.eos_token_id


def test_the_card_says_what_the_model_is(run, tmp_path):
    run_command("export", [str(run), str(tmp_path / "mine"), "--name", "my-model"])
    card = (tmp_path / "mine" / "README.md").read_text()
    record = RunRecord.load(run)
    metadata, settings = (yaml.safe_load(part) for part in (card.split("---\n")[1], code_of(card, "yaml")))
    assert metadata["library_name"] == "transformers"
    assert "base_model" not in metadata
    assert "# my-model" in card
    assert record.run_id in card
    assert (
        "vision frozen, projector trained, language model adapted (low-rank adapters, merged into the weights)" in card
    )
    assert "- frames: each shown as an image of 64 x 64 px\n" in card
    assert "All training data is generated" in card
    for component, (source, shown_as) in {
        "video": ("world_clips", "video"),
        "text": ("world_event_texts", "pages"),
    }.items():
        counts = record.data[component]
        assert f"| {component} | {source} | {shown_as} | {counts.requested} | {counts.used} |" in card
        assert f"| {source} | generated: table `{source.removeprefix('world_')}` of Sparrow's" in card
    score = record.scores["world_short"]["after"]
    assert f"| world_short | after | accuracy | {100 * score.accuracy:.1f} |" in card
    assert (
        f"| {score.num_questions} | 0 | 0 | prompts as in the file, frames 24, subtitles off, option_likelihood" in card
    )
    assert settings["tuning"]["language_model"]["mode"] == "adapted"
    assert settings["trainer"] == {"precision": record.config["trainer"]["precision"]}
    assert settings["strategy"] == {"name": "single"}
    assert {"seed", "data_seed", "start_from"} < settings.keys()
    assert settings["mixture"]["components"]["text"]["source"] == "world_event_texts"
    assert "checkpoint" not in settings["backbone"], "its tiny sibling was trained, not the checkpoint"


def test_the_card_names_a_base_of_the_hub_and_no_path_of_the_machine(run, tiny_checkpoint):
    record = RunRecord.load(run)
    record.config["use_world"] = False
    for source, changes in (
        ("world_clips", {"files": ["clips.json"]}),
        ("world_event_texts", {"files": ["/a/t.json"]}),
    ):
        record.config["source"][source] |= {"use_world": False, **changes}
    record.config["backbone"] |= {"tiny": False, "checkpoint": "some/model", "revision": "v1"}
    backbone = load_backbone(str(tiny_checkpoint("qwen2_5_vl")))
    card = model_card(record, backbone, "mine")
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "some/model"
    assert "`some/model` at revision `v1`, fine-tuned" in card
    assert "in its own proportions" in card
    assert "| world_clips | `clips.json` |" in card
    assert "| world_event_texts | `t.json` |" in card
    assert "generated" not in card
    record.config["backbone"]["checkpoint"] = str(tiny_checkpoint("qwen2_5_vl"))
    card = model_card(record, backbone, "mine")
    assert "base_model" not in card
    assert "A local checkpoint of the family qwen2_5_vl, fine-tuned" in card
    assert str(tiny_checkpoint("qwen2_5_vl").parent) not in card


def test_the_cards_example_gives_an_answer(run, tmp_path, monkeypatch, capsys):
    run_command("export", [str(run), str(tmp_path / "mine")])
    for number in (1, 2):
        Image.new("RGB", (80, 60), "red").save(tmp_path / f"frame_{number}.png")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(code_of((tmp_path / "mine" / "README.md").read_text(), "python"), {})
    assert capsys.readouterr().out.strip()


def test_a_run_on_a_pinned_revision_in_bf16_is_exported_and_asked_as_such(
    settings, tiny_checkpoint, hub, tmp_path, capsys
):
    newer = ensure_tiny(tmp_path, "idefics3", world_texts(), frame_size_px=64, seed=1)
    load_backbone(str(tiny_checkpoint("idefics3")), dtype=torch.bfloat16).save(tmp_path / "pinned")
    name = hub(pinned=tmp_path / "pinned", newer=newer)
    options = ["mixture.num_samples=8", "tuning=lora", "benchmark=[]"]
    options += ["backbone.tiny=false", f"backbone.checkpoint={name}", "backbone.revision=pinned"]
    options += ["trainer.precision=bf16-mixed"]
    train(settings(*options), tmp_path / "run", name="pinned")
    assert run_command("export", [str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    merged, exported = (
        load_backbone(str(tmp_path / "run" / "model")),
        load_backbone(str(tmp_path / "out"), dtype="auto"),
    )
    merge_adapters(merged.model)
    weights = exported.model.state_dict()
    assert {weight.dtype for weight in weights.values()} == {torch.float32}, "as full tuning would be stored"
    assert all(torch.equal(weights[key], value) for key, value in merged.model.state_dict().items())
    frozen = load_backbone(name, revision="pinned").model.model.vision_model.state_dict()
    assert all(torch.equal(weights[f"model.vision_model.{key}"], value) for key, value in frozen.items())
    adapters = tmp_path / "run" / "model"
    before, file = fingerprint(str(adapters), None), adapters / "adapter_config.json"
    shutil.copytree(adapters, tmp_path / "moved")
    assert base_of_adapters(str(adapters)).revision in file.read_text()
    moved = json.loads(file.read_text()) | {"revision": "newer"}
    (tmp_path / "moved" / file.name).write_text(json.dumps(moved))
    assert fingerprint(str(tmp_path / "moved"), None) != before


def test_what_identifies_adapters_does_not_depend_on_where_their_base_lies(run, tmp_path):
    adapters = tmp_path / "adapters"
    shutil.copytree(run / "model", adapters)
    settings = json.loads((adapters / "adapter_config.json").read_text())
    shutil.copytree(settings["base_model_name_or_path"], tmp_path / "base")
    settings["base_model_name_or_path"] = str(tmp_path / "base")
    (adapters / "adapter_config.json").write_text(json.dumps(settings))
    assert fingerprint(str(adapters), None) == fingerprint(str(run / "model"), None)
    (adapters / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 1}))
    assert fingerprint(str(adapters), None) != fingerprint(str(run / "model"), None)


def test_weights_are_stored_in_the_precision_of_the_run(run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    record = RunRecord.load(folder)
    record.config["trainer"]["precision"] = "bf16-true"
    record.save(folder)
    assert run_command("export", [str(folder), str(tmp_path / "out")]) == 0
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_what_cannot_be_exported_is_refused(run, tmp_path, capsys):
    assert run_command("export", [str(tmp_path), str(tmp_path / "out")]) == 1
    assert "run.json" in capsys.readouterr().err
    assert run_command("export", [str(run), str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err


def test_the_newest_checkpoint_is_the_model_that_a_run_ends_with(run, tmp_path, capsys):
    assert run_command("export", [str(run), str(tmp_path / "end")]) == 0
    assert run_command("export", [str(run), str(tmp_path / "newest"), "--from-checkpoint"]) == 0
    weights = [load_backbone(str(tmp_path / name)).model.state_dict() for name in ("end", "newest")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_best_checkpoint_is_exported_where_one_was_kept(settings, run, tmp_path, capsys):
    assert run_command("export", [str(run), str(tmp_path / "out"), "--from-checkpoint", "best"]) == 1
    assert "kept no best checkpoint; set validation.num_samples" in capsys.readouterr().err
    options = ["mixture.num_samples=16", "validation.num_samples=4", "validation.every_n_steps=1"]
    folder = tmp_path / "run"
    train(settings(*options, "checkpointing.keep_best=true", "optimizer.learning_rate=1.0"), folder, name="worse")
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] < RunRecord.load(folder).num_steps, "with so high a rate the last is not the best"
    assert run_command("export", [str(folder), str(tmp_path / "best"), "--from-checkpoint", "best"]) == 0
    exported = load_backbone(str(tmp_path / "best")).model.state_dict()
    assert all(torch.equal(exported[name.removeprefix("model.")], value) for name, value in best["state_dict"].items())


def test_a_checkpoint_of_other_parameters_is_refused(run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    newest = max((folder / "checkpoints").glob("step=*.ckpt"))
    checkpoint = torch.load(newest, weights_only=True)
    checkpoint["state_dict"].popitem()
    torch.save(checkpoint, newest)
    assert run_command("export", [str(folder), str(tmp_path / "out"), "--from-checkpoint"]) == 1
    assert "holds other parameters than" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_kept_step_is_exported_and_evaluated(run, tmp_path, settings, capsys):
    for step in ("1", "2"):
        assert run_command("export", [str(run), str(tmp_path / step), "--from-checkpoint", step]) == 0
    first, second, end = (
        load_backbone(str(folder)).model for folder in (tmp_path / "1", tmp_path / "2", run / "model")
    )
    merge_adapters(end)
    weights = [next(each.model.connector.parameters()) for each in (first, second, end)]
    assert torch.equal(weights[1], weights[2]) and not torch.equal(weights[0], weights[2])
    assert run_command("export", [str(run), str(tmp_path / "9"), "--from-checkpoint", "9"]) == 1
    assert "there is no such checkpoint; kept are step=0000002.ckpt, step=0000001.ckpt" in capsys.readouterr().err
    checkpoint = run / "checkpoints" / "step=0000001.ckpt"
    options = [f"checkpoint='{checkpoint}'", "benchmark=[world_short]", "benchmark.world_short.num_questions=4"]
    config = settings(*options, config_name="evaluate", schema=EvaluateConfig, small=False)
    record = evaluate(config, tmp_path / "evaluated")
    assert (record.status, record.name) == ("finished", "lora step=0000001")
    assert record.scores["world_short"]["after"].num_questions == 4
    assert record.model_input["template"] == "sparrow"
    gone = replace(config, checkpoint=str(checkpoint.with_name("step=0000009.ckpt")))
    with pytest.raises(RunError, match="there is no such checkpoint; kept are"):
        evaluate(gone, tmp_path / "gone")


def test_a_step_of_a_run_that_started_from_another_is_exported_while_that_one_is_as_it_was(
    run, settings, cache_root, tmp_path, capsys
):
    parent, folder = cache_root / "runs" / "parent", tmp_path / "run"
    shutil.copytree(run, parent)
    options = ["mixture.num_samples=16", "tuning=lora", "benchmark=[]", "checkpointing.every_n_steps=1", "seed=1"]
    train(settings(*options), folder, name="child", parent=parent)
    step = folder / "checkpoints" / "step=0000002.ckpt"
    made, end = (load_backbone(path).model for path in (model_of(str(step)), str(folder / "model")))
    merge_adapters(end)
    assert all(torch.equal(made.state_dict()[name], value) for name, value in end.state_dict().items())
    command = [str(folder), str(tmp_path / "out"), "--from-checkpoint", "1"]
    weights = load_file(parent / "model" / "trained_parts.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, parent / "model" / "trained_parts.safetensors")
    assert run_command("export", command) == 1
    assert f"the files of {parent / 'model'} changed since {folder} began with them" in capsys.readouterr().err
    shutil.rmtree(parent)
    assert run_command("export", command) == 1
    said = capsys.readouterr().err
    assert f"started from the model of run {RunRecord.load(run).run_id}, which is not in {parent.parent}" in said


@pytest.mark.slow
def test_all_kept_steps_are_evaluated_and_drawn_as_a_curve(run, sparrow, tmp_path):
    options = ["benchmark=[world_short]", "benchmark.world_short.num_questions=4", "trainer.accelerator=cpu"]
    done = sparrow("evaluate", str(run), "--checkpoints", "all", *options, f"paths.output_root={tmp_path}")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "evaluate").iterdir()
    assert folder.name == f"{run.name}-steps"
    records = [RunRecord.load(path.parent) for path in folder.rglob("run.json")]
    assert sorted(record.factors["step"] for record in records) == [1, 2]
    assert "Score by step" in (folder / "report.html").read_text()
    refused = sparrow("evaluate", str(tmp_path), "--checkpoints", "all", *options)
    assert refused.returncode == 1
    assert "sparrow evaluate RUN --checkpoints all" in refused.stderr
