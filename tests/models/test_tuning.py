"""Parts frozen, adapted or trained; adapters saved alone and merged."""

import math

import pytest
import torch
from safetensors.torch import load_file

from sparrow.core.errors import BackboneError, ConfigError
from sparrow.data.encode import EncodedSample
from sparrow.data.micro_batches import pad
from sparrow.models.adapters import TRAINED_FILE, has_adapters, linear_layers, merge_adapters
from sparrow.models.checkpoint_files import base_of_adapters
from sparrow.models.loading import ensure_tiny, load_backbone
from sparrow.models.quantization import nf4
from sparrow.models.settings import Lora, PartTuning, Tuning
from sparrow.models.tuning import apply_tuning, check_tuning, tuning_table
from sparrow.training.optim import build_optimizer
from sparrow.training.settings import Optimizer
from sparrow.world import world_texts
from tests.models.chats import CHAT, TEXT_CHAT, encoded

PARTS = ("vision", "projector", "language_model")
LORA = Lora(rank=4, dropout=0.0)


def tuned(**modes):
    return Tuning(**{part: PartTuning(mode=modes.get(part, "frozen")) for part in PARTS}, lora=LORA)


def steps(backbone, tuning, frames, count=2):
    """Train on one sample; the loss before each step."""
    ids, labels, prepared = encoded(backbone, CHAT, frames)
    optimizer = build_optimizer(backbone.parts(), Optimizer(learning_rate=3e-3), tuning)
    losses = []
    for _ in range(count):
        logits = backbone.forward(ids[None], None, prepared).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[:-1], labels[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def logits_of(backbone, frames):
    ids, _, prepared = encoded(backbone, CHAT, frames)
    with torch.inference_mode():
        return backbone.forward(ids[None], None, prepared).logits


def test_only_what_is_trained_moves(family, load_tiny, frames):
    for trained in PARTS:
        backbone = load_tiny(family)
        tuning = tuned(**{trained: "trained"})
        before = {name: [p.clone() for p in part.parameters()] for name, part in backbone.parts().items()}
        apply_tuning(backbone, tuning)
        steps(backbone, tuning, frames)
        for name, part in backbone.parts().items():
            moved = any(not torch.equal(a, b) for a, b in zip(before[name], part.parameters(), strict=True))
            assert moved == (name == trained), name


def test_a_micro_batch_without_frames_reaches_every_parameter(family, load_tiny):
    """Ranks wait for each other's gradients: which parameters have one must not depend on what was drawn."""
    backbone = load_tiny(family)
    apply_tuning(backbone, Tuning())
    ids, labels, frames = encoded(backbone, TEXT_CHAT, [])
    batch = pad([(EncodedSample(ids, labels, frames, 0), 0)], backbone)
    backbone.forward(batch.input_ids, batch.attention_mask, batch.frames).logits.sum().backward()
    assert [n for n, p in backbone.model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_activation_checkpointing_changes_no_gradient(family, load_tiny, frames):
    gradients = []
    for checkpointing in (False, True):
        backbone = load_tiny(family)
        apply_tuning(backbone, Tuning(activation_checkpointing=checkpointing))
        ids, labels, prepared = encoded(backbone, CHAT, frames)
        logits = backbone.forward(ids[None], None, prepared).logits[0]
        torch.nn.functional.cross_entropy(logits[:-1], labels[1:]).backward()
        gradients.append({n: p.grad for n, p in backbone.model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-4)


def test_adapters_start_at_nothing_and_are_saved_alone(family, load_tiny, frames, tmp_path):
    backbone = load_tiny(family)
    before = logits_of(backbone, frames)
    tuning = tuned(vision="adapted", language_model="adapted")
    apply_tuning(backbone, tuning)
    torch.testing.assert_close(logits_of(backbone, frames), before, atol=1e-5, rtol=0)
    losses = steps(backbone, tuning, frames, count=3)
    assert losses[-1] < losses[0]
    backbone.model.eval()
    adapted = logits_of(backbone, frames)
    backbone.save(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / TRAINED_FILE).exists()
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
    reloaded = load_backbone(str(tmp_path))
    assert has_adapters(reloaded.model)
    torch.testing.assert_close(logits_of(reloaded, frames), adapted, atol=1e-5, rtol=0)
    merge_adapters(reloaded.model)
    assert not has_adapters(reloaded.model)
    torch.testing.assert_close(logits_of(reloaded, frames), adapted, atol=1e-4, rtol=0)
    reloaded.save(tmp_path / "merged")
    torch.testing.assert_close(logits_of(load_backbone(str(tmp_path / "merged")), frames), adapted, atol=1e-4, rtol=0)


def test_a_part_trained_beside_adapters_is_saved_with_them(load_tiny, frames, tmp_path):
    backbone = load_tiny("idefics3")
    tuning = tuned(projector="trained", language_model="adapted")
    apply_tuning(backbone, tuning)
    steps(backbone, tuning, frames)
    backbone.model.eval()
    backbone.save(tmp_path)
    assert {name.split(".")[1] for name in load_file(tmp_path / TRAINED_FILE)} == {"connector"}
    reloaded = load_backbone(str(tmp_path))
    torch.testing.assert_close(logits_of(reloaded, frames), logits_of(backbone, frames), atol=1e-5, rtol=0)
    again = tuned(language_model="adapted")
    apply_tuning(reloaded, again)
    torch.testing.assert_close(logits_of(reloaded, frames), logits_of(backbone, frames), atol=1e-4, rtol=0)
    names = [name for name, p in reloaded.model.named_parameters() if p.requires_grad]
    assert names
    assert all(".lora_" in name for name in names)


def test_adapters_stay_with_the_revision_that_they_were_trained_on(load_tiny, frames, tiny_checkpoint, hub, tmp_path):
    other = ensure_tiny(tmp_path, "idefics3", world_texts(), frame_size_px=64, seed=1)
    name = hub(pinned=tiny_checkpoint("idefics3"), newer=other)
    backbone = load_backbone(name, revision="pinned")
    apply_tuning(backbone, tuned(language_model="adapted"))
    backbone.model.eval()
    backbone.save(tmp_path / "adapters")
    assert base_of_adapters(str(tmp_path / "adapters")) == (name, backbone.origin.revision)
    reloaded = load_backbone(str(tmp_path / "adapters"))
    torch.testing.assert_close(logits_of(reloaded, frames), logits_of(backbone, frames), atol=1e-5, rtol=0)


def test_adapters_find_a_base_that_was_named_from_another_folder(
    load_tiny, frames, tiny_checkpoint, tmp_path, monkeypatch
):
    base = tiny_checkpoint("idefics3")
    monkeypatch.chdir(base.parent)
    backbone = load_backbone(base.name)
    apply_tuning(backbone, tuned(language_model="adapted"))
    backbone.model.eval()
    backbone.save(tmp_path / "adapters")
    monkeypatch.chdir(tmp_path)
    reloaded = load_backbone("adapters")
    torch.testing.assert_close(logits_of(reloaded, frames), logits_of(backbone, frames), atol=1e-5, rtol=0)


def test_adapters_that_learn_on_other_adapters_are_saved_with_what_those_learnt(family, load_tiny, frames, tmp_path):
    tuning, backbone = tuned(projector="trained", language_model="adapted"), load_tiny(family)
    for name in ("first", "second"):
        apply_tuning(backbone, tuning)
        steps(backbone, tuning, frames)
        backbone.model.eval()
        backbone.save(tmp_path / name)
        learnt, backbone = logits_of(backbone, frames), load_backbone(str(tmp_path / name))
        torch.testing.assert_close(logits_of(backbone, frames), learnt, atol=1e-4, rtol=0)


def test_targets_choose_layers_of_the_adapted_parts_only(backbone):
    parts = backbone.parts()
    named = linear_layers(backbone.model, {"language_model": parts["language_model"]}, Lora(targets=["o_proj"]))
    assert named
    assert all(name.endswith(".o_proj") for name in named)
    every = linear_layers(backbone.model, {"language_model": parts["language_model"]}, Lora())
    assert set(named) < set(every)
    assert "lm_head" not in every


def test_a_target_that_matches_nothing_is_refused_before_weights_are_loaded(family, load_tiny):
    backbone = load_tiny(family, with_model=False)
    tuning = tuned(language_model="adapted")
    check_tuning(backbone, tuning)
    tuning.lora = Lora(targets=["o_proj", "w_query"])
    with pytest.raises(ConfigError, match=r"lora\.targets: 'w_query' is no linear layer .* o_proj"):
        check_tuning(backbone, tuning)


def test_four_bits_do_not_start_from_adapters(load_tiny, tmp_path):
    backbone, tuning = load_tiny("internvl"), tuned(language_model="adapted")
    apply_tuning(backbone, tuning)
    backbone.save(tmp_path)
    adapters = load_backbone(str(tmp_path), with_model=False)
    check_tuning(adapters, tuning)
    tuning.quantization = "nf4"
    check_tuning(load_tiny("internvl", with_model=False), tuning)
    with pytest.raises(ConfigError, match=r"'nf4' cannot start from adapters, .*sparrow export RUN OUT"):
        check_tuning(adapters, tuning)


def test_an_adapted_part_without_a_chosen_layer_is_refused_before_weights_are_loaded(family, load_tiny):
    backbone = load_tiny(family, with_model=False)
    tuning = tuned(projector="adapted", language_model="adapted")
    tuning.lora = Lora(targets=["q_proj"])
    has_layers = family != "gemma3"
    why = r"targets=\['q_proj'\] names none of its linear layers \(.+\)" if has_layers else "has no linear layer"
    with pytest.raises(ConfigError, match=rf"tuning\.projector\.mode=adapted: .*{why}.*set it to trained or frozen"):
        check_tuning(backbone, tuning)
    tuning = tuned(language_model="adapted")
    tuning.lora = Lora(targets=[])
    with pytest.raises(ConfigError, match=r"tuning\.language_model\.mode=adapted: .*\(.*q_proj.*\)"):
        check_tuning(backbone, tuning)


def test_each_part_has_its_learning_rate_and_decay(backbone):
    backbone.model.requires_grad_(True)
    tuning = Tuning(
        vision=PartTuning(learning_rate_multiplier=0.1, weight_decay=0.0), projector=PartTuning(weight_decay=0.3)
    )
    optimizer = build_optimizer(backbone.parts(), Optimizer(learning_rate=1e-3, weight_decay=0.05), tuning)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(backbone.model.parameters()))
    expected = {"vision": (1e-4, 0.0), "projector": (1e-3, 0.3), "language_model": (1e-3, 0.05)}
    for group in optimizer.param_groups:
        rate, decay = expected[group["name"]]
        assert math.isclose(group["lr"], rate)
        vectors = {p.ndim < 2 for p in group["params"]}
        assert len(vectors) == 1
        assert group["weight_decay"] == (0.0 if vectors.pop() else decay)


def test_the_table_counts_every_parameter(load_tiny):
    backbone = load_tiny("idefics3")
    tuning = tuned(projector="trained", language_model="adapted")
    tuning.language_model.learning_rate_multiplier = 10
    apply_tuning(backbone, tuning)
    lines = [line.split() for line in tuning_table(backbone, tuning, 5e-6).splitlines()]
    trainable = sum(p.numel() for p in backbone.model.parameters() if p.requires_grad)
    assert lines[1][0::4] == ["vision", "-"]
    assert lines[2][-1] == "5e-06"
    assert lines[3][-1] == "5e-05"
    total = sum(p.numel() for p in backbone.model.parameters())
    assert lines[4][-2:] == [f"{total:,}", f"{trainable:,}"]


def test_quantization_without_its_package_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackboneError, match="bitsandbytes, which is not installed"):
        nf4()
