"""QLoRA of every family where bitsandbytes is installed; it runs on a CPU too."""

import importlib.util

import pytest
import torch

from sparrow.commands.export import export
from sparrow.commands.train import train
from sparrow.models.adapters import has_adapters
from sparrow.models.loading import load_backbone
from sparrow.models.settings import Lora, PartTuning, Tuning
from sparrow.models.tuning import apply_tuning
from sparrow.runs.record import RunRecord
from sparrow.runs.status import Interrupted
from tests.commands.test_train import stop_after
from tests.conftest import losses_of
from tests.models.test_backbones import generate
from tests.models.test_tuning import logits_of, steps

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="bitsandbytes (125 MB) is not installed: pip install -c constraints.txt bitsandbytes",
)
QLORA = Tuning(
    vision=PartTuning(mode="frozen"),
    projector=PartTuning(mode="frozen"),
    language_model=PartTuning(mode="adapted"),
    lora=Lora(rank=4, dropout=0.0),
    quantization="nf4",
)


@pytest.fixture(autouse=True)
def plain_kernel(monkeypatch):
    """On a CPU with AVX512-BF16 bitsandbytes takes widths that are multiples of 32 only; the tiny encoders are 48."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False, raising=False)


def test_adapters_beside_four_bit_weights_learn_and_give_the_same_reply_again(family, load_tiny, frames, tmp_path):
    backbone = load_tiny(family, quantization="nf4")
    linear = [module for module in backbone.model.modules() if isinstance(module, torch.nn.Linear)]
    whole = [module for module in linear if module.weight.dtype != torch.uint8]
    assert whole == [backbone.model.lm_head]
    apply_tuning(backbone, QLORA)
    losses = steps(backbone, QLORA, frames, count=8)
    assert losses[-1] < 0.8 * losses[0]
    backbone.model.eval()
    backbone.save(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    reloaded = load_backbone(str(tmp_path), quantization="nf4")
    assert has_adapters(reloaded.model)
    torch.testing.assert_close(logits_of(reloaded, frames), logits_of(backbone, frames), atol=1e-5, rtol=0)
    assert generate(reloaded, frames) == generate(backbone, frames)


def test_a_qlora_run_is_resumed_evaluated_and_exported(settings, tmp_path, monkeypatch):
    config = settings("tuning=qlora", "benchmark=[world/short]", "benchmark.world_short.num_questions=4")
    train(config, tmp_path / "whole", name="whole")
    with monkeypatch.context() as changes:
        stop_after(changes, steps=2)
        with pytest.raises(Interrupted, match="after step 2 of 3"):
            train(config, tmp_path / "run", name="qlora")
    train(config, tmp_path / "run", name="qlora")
    assert losses_of(tmp_path / "run") == losses_of(tmp_path / "whole")
    record = RunRecord.load(tmp_path / "run")
    assert record.status == "finished"
    assert record.scores["world_short"]["after"].num_unanswered == 0
    export(tmp_path / "run", tmp_path / "model", name="model")
    assert not has_adapters(load_backbone(str(tmp_path / "model")).model)
