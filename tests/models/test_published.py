"""Cut-down copies of published checkpoints: their key layouts, special ids, processor values and chat templates."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparrow.core.errors import BackboneError
from sparrow.models.loading import LoadOptions, load_backbone, outline
from tests.models.published_checkpoints import SMALL, WITH_TENSORS, facts_of, write_checkpoint


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a cut-down checkpoint, written once; without the publisher's chat template."""
    folders = {}

    def folder_of(name):
        if name not in folders:
            folders[name] = write_checkpoint(name, tmp_path_factory.mktemp("published") / name)
        return folders[name]

    return folder_of


def shapes_of(backbone):
    return {name: tensor.shape for name, tensor in backbone.model.named_parameters()}


@pytest.mark.parametrize("name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in WITH_TENSORS])
def test_the_head_is_tied_as_the_checkpoint_stores_it_whatever_its_config_says(name, published, tmp_path):
    folder, stored = published(name), any(key.endswith("lm_head.weight") for key in facts_of(name)["tensors"])
    config = facts_of(name)["config"]
    for tied in (None, True, False):
        given = config if tied is None else config | {"tie_word_embeddings": tied}
        (folder / "config.json").write_text(json.dumps(given))
        planned = load_backbone(str(folder), with_model=False)
        shapes = shapes_of(outline(planned, LoadOptions()))
        assert ("lm_head.weight" in shapes) == stored
        settings = planned.config.to_dict()
        assert settings["tie_word_embeddings"] == settings["text_config"]["tie_word_embeddings"] == (not stored)
    (folder / "config.json").write_text(json.dumps(config))
    read = load_backbone(str(folder), dtype="auto")
    assert names_of_of(read) == shapes
    read.save(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["tie_word_embeddings"] == saved["text_config"]["tie_word_embeddings"] == (not stored)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert any(key.endswith("lm_head.weight") for key in names) == stored


def test_a_tensor_that_the_model_has_no_place_for_is_refused(published, tmp_path):
    folder = write_checkpoint("smolvlm_256m", tmp_path / "with_bias")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.text_model.layers.0.self_attn.q_proj.bias"] = torch.zeros(64)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"holds 1 tensors .*q_proj\.bias, which would be dropped"):
        load_backbone(str(folder))
