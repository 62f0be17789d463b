"""Counted operations against those that PyTorch counts while the model runs."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sparrow.models.flops import ModelFlops
from sparrow.models.settings import PartTuning, Tuning
from sparrow.models.tuning import apply_tuning
from tests.models.chats import CHAT, TEXT_CHAT, encoded


def convolution_backward(gradient, inputs, weight, *settings, **_):
    """PyTorch counts the gradient of grouped weights, as in linear attention, as if every channel met every other."""
    wanted = settings[-1]
    return 2 * gradient[0] * math.prod(gradient[2:]) * math.prod(weight) * sum(wanted[:2])


COUNTER = {"display": False, "custom_mapping": {torch.ops.aten.convolution_backward: convolution_backward}}


def counted(backbone, chat, frames):
    """(forward, backward) operations of one sample, and what `ModelFlops` is told of it."""
    ids, labels, prepared = encoded(backbone, chat, frames)
    visual = sum(backbone.visual_tokens(frame.shape[:2], 1) for frame in frames)
    places = (labels[1:] != -100).nonzero().squeeze(1)
    with FlopCounterMode(**COUNTER) as forward:
        logits = backbone.forward(ids[None], None, prepared, logits_to_keep=places).logits
    with FlopCounterMode(**COUNTER) as backward:
        logits.sum().backward()
    told = [np.array([number]) for number in (visual, len(ids) - visual, len(frames), len(places))]
    return forward.get_total_flops(), backward.get_total_flops(), told


@pytest.mark.parametrize("chat", ["frames", "text"])
def test_operations_are_those_of_the_model(family, load_tiny, frames, chat):
    backbone = load_tiny(family, attn_implementation="eager")
    own = counted(backbone, CHAT, frames) if chat == "frames" else counted(backbone, TEXT_CHAT, [])
    forward, backward, told = own
    # Linear attention pads short texts to a chunk and solves a triangular system, which is no matrix product.
    linear = "linear_attention" in (getattr(backbone.config.get_text_config(), "layer_types", None) or [])
    model = ModelFlops(backbone)
    if linear and chat == "text":
        return
    tolerance = 0.03 if linear else 0.01
    assert sum(model.forward(*told).values())[0] == pytest.approx(forward, rel=tolerance)
    assert model.training(*told)[0] == pytest.approx(forward + backward, rel=tolerance)


def test_patches_that_a_frame_does_not_fill_are_not_counted(load_tiny, frames):
    backbone = load_tiny("idefics3", attn_implementation="eager", frame_size_px=72)
    assert backbone.prepared_size((72, 72))[0] % backbone.config.vision_config.patch_size
    forward, _, told = counted(backbone, CHAT, frames)
    assert sum(ModelFlops(backbone).forward(*told).values())[0] == pytest.approx(forward, rel=0.01)


PARTS = ("vision", "projector", "language_model")


@pytest.mark.parametrize("trained", [("language_model",), ("projector",), ("projector", "language_model")])
def test_frozen_parts_take_less(load_tiny, frames, trained):
    tuning = Tuning(**{part: PartTuning(mode="trained" if part in trained else "frozen") for part in PARTS})
    backbone = load_tiny("internvl", attn_implementation="eager")
    apply_tuning(backbone, tuning)
    forward, backward, told = counted(backbone, CHAT, frames)
    counts = ModelFlops(backbone, tuning).training(*told)[0]
    # The first layer that learns needs no gradient of its input, which shows where there are two layers.
    assert counts == pytest.approx(forward + backward, rel=0.12)
    assert counts >= forward + backward
    assert counts < 0.95 * ModelFlops(backbone).training(*told)[0]


def test_no_weights_are_needed(load_tiny):
    backbone = load_tiny("qwen3_vl", with_model=False)
    ones = np.array([100, 0]), np.array([10, 10]), np.array([2, 0]), np.array([3, 3])
    long, short = ModelFlops(backbone).training(*ones)
    assert long > short > 0
    with pytest.raises(AssertionError, match="without its model"):
        assert isinstance(backbone.model, torch.nn.Module)
