"""The trial of the longest micro-batch, and the estimate of a step's memory, part by part."""

import re

import pytest

from sparrow.models.loading import load_backbone
from sparrow.models.memory_estimate import estimate_memory
from sparrow.models.settings import Lora, PartTuning, Tuning
from sparrow.models.tuning import apply_tuning
from sparrow.training.settings import Strategy
from sparrow.training.strategies import Sharding
from sparrow.training.trial import _advice


@pytest.fixture
def estimated(tiny_checkpoint):
    backbone = load_backbone(str(tiny_checkpoint("idefics3")))

    def estimate(optimizer="adamw", *, tokens=1000, tuning=None, checkpointing=False, precision="32-true", shards=1):
        apply_tuning(backbone, tuning or Tuning())
        options = {"checkpointing": checkpointing, "precision": precision, "num_shards": shards}
        return backbone, estimate_memory(backbone, optimizer, tokens, **options)

    return estimate


def test_every_part_of_memory_is_counted(estimated):
    backbone, full = estimated()
    size = sum(p.numel() for p in backbone.model.parameters())
    text = backbone.config.get_text_config()
    assert full.parameters == 4 * size
    assert full.gradients == full.parameters
    assert full.optimizer == 2 * full.gradients
    assert full.activations == 68 * 1000 * text.hidden_size * text.num_hidden_layers
    assert full.total == full.parameters + full.gradients + full.optimizer + full.activations


def test_what_lowers_memory_lowers_the_estimate(estimated):
    _, full = estimated()
    frozen = Tuning(vision=PartTuning("frozen"), projector=PartTuning("frozen"), lora=Lora(rank=2))
    assert estimated(tuning=frozen)[1].gradients < full.gradients
    assert estimated("adafactor")[1].optimizer == 0
    assert estimated("adamw_8bit")[1].optimizer == full.optimizer / 4
    assert estimated(precision="bf16-mixed")[1].activations == full.activations / 2
    assert estimated(checkpointing=True)[1].activations < full.activations
    assert estimated(tokens=500)[1].activations == full.activations / 2


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_advice_can_be_taken(settings, strategy):
    sharding = Sharding(Strategy("fsdp"), 1, "bf16-mixed", lambda *_: None) if strategy == "fsdp" else None
    advised = re.findall(r"(?:tuning|optimizer|trainer)[.\w]*=[\w-]+", _advice(sharding))
    assert "tuning=lora" in advised
    for override in advised:
        config = settings(override, f"strategy={strategy}", "trainer.devices=2")
        assert config.trainer.precision != "bf16-true", "of steps as small as usual, little is left in 16 bits"


def test_shards_divide_everything_but_the_activations(estimated):
    _, whole = estimated()
    _, shard = estimated(shards=4)
    assert (shard.parameters, shard.gradients, shard.optimizer) == (
        whole.parameters // 4,
        whole.gradients // 4,
        whole.optimizer // 4,
    )
    assert shard.activations == whole.activations
