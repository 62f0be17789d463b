"""`sparrow check-model`: one page on a checkpoint, from cut-down copies of published ones."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sparrow.cli import run
from sparrow.commands import check_model
from sparrow.commands.train import train
from sparrow.data.micro_batches import MicroBatch
from sparrow.models.registry import WITHOUT_PACKING
from tests.models.published_checkpoints import (
    NAMES,
    ONE_A_FAMILY,
    OWN_TURNS,
    facts_of,
    published_template,
    write_checkpoint,
)

FAMILY = {"minicpmv4_6": "minicpmv"}
FRAME_SIZE_PX = {
    **{"internvl": 56, "qwen2_5_vl": 56, "qwen3_vl": 64, "smolvlm": 64, "idefics3": 64},
    **{"minicpmv": 56, "llava_onevision": 384, "gemma3": 896},
}
CHECKS = ["opens", "template", "tokens", "tying", "memory", "weights", "packing", "sharding", "two steps"]


def mark(name):
    return pytest.param(name, marks=pytest.mark.exhaustive)


def page(capsys, *arguments):
    status = run("check-model", [*map(str, arguments), "--accelerator", "cpu"])
    printed, _, ready = capsys.readouterr().out.partition("\nready to train: backbone.family=")
    assert bool(ready) == (status == 0)
    lines = re.sub(r"\n {19}", " ", printed).splitlines()
    return status, {line[8:19].strip(): (line[:8].strip(), line[19:]) for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name if name in ONE_A_FAMILY else mark(name) for name in NAMES])
def test_every_published_layout_is_found_fit_and_trained_and_exported_and_asked(name, tmp_path, capsys, settings):
    template = published_template(name) or (OWN_TURNS if name == "granite_docling" else None)
    folder = write_checkpoint(name, tmp_path / name, template=template)
    sharding = [] if name == "internvl3_1b" else ["--no-sharding"]
    status, results = page(capsys, folder, *sharding)
    assert status == 0, results
    assert list(results) == CHECKS
    family = facts_of(name)["config"]["model_type"]
    family = FAMILY.get(family, family)
    assert results["opens"][1].startswith(f"family {family}, ")
    assert results["packing"][0] == ("-" if family in WITHOUT_PACKING else "ok")
    assert results["sharding"][0] == ("-" if sharding else "ok")
    config = settings(
        f"backbone.family={family}",
        "backbone.tiny=false",
        f"backbone.checkpoint={folder}",
        f"backbone.frame_size_px={FRAME_SIZE_PX[family]}",
        "mixture.num_samples=16",
        "frames.max_frames=2",
        "benchmark=[]",
        "tuning=lora",
        f"batching={'padded' if family in WITHOUT_PACKING else 'packed'}",
    )
    record = train(config, tmp_path / "run", name=name)
    assert (record.status, record.num_steps_done) == ("finished", 2)
    assert record.model_input["template"] == ("checkpoint" if name == "granite_docling" else "sparrow")
    assert run("export", [str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    Image.fromarray(np.full((90, 160, 3), 200, np.uint8)).save(tmp_path / "picture.png")
    arguments = [str(tmp_path / "picture.png"), "What?", "--max-new-tokens", "2", "--accelerator", "cpu"]
    assert run("ask", [str(tmp_path / "out"), *arguments]) == 0


def test_what_fails_is_named_and_ends_the_page(tmp_path, capsys):
    folder = write_checkpoint("smolvlm_256m", tmp_path / "published")
    status, results = page(capsys, folder, "--no-sharding")
    assert status == 0, results
    assert results["sharding"] == ("-", "left out")
    assert "no template of its own" in results["template"][1]
    assert "other than config.json" not in results["tying"][1]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.text_model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    status, results = page(capsys, folder, "--no-sharding")
    assert status == 1
    assert list(results)[-1] == "weights"
    assert "has weights of its own, other than config.json says" in results["tying"][1]
    assert results["weights"][0] == "FAILED"
    assert "lacks 1 of its model's tensors" in results["weights"][1]


def test_samples_of_a_row_that_see_each_other_are_found(tmp_path, capsys, monkeypatch):
    folder = write_checkpoint("smolvlm_256m", tmp_path / "published")
    pack = check_model.pack

    def leaking(samples, backbone):
        row = pack(samples, backbone)
        positions = torch.arange(row.input_ids.shape[1])[None]
        return MicroBatch(**(vars(row) | {"position_ids": positions, "lengths": None}))

    monkeypatch.setattr(check_model, "pack", leaking)
    status, results = page(capsys, folder, "--no-sharding")
    assert (status, results["packing"][0]) == (1, "FAILED")
