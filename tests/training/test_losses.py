"""The loss of a step is the same however its samples are put together, for every family."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from sparrow.data.batching import StepBatch
from sparrow.data.encode import IGNORED, EncodedSample
from sparrow.data.micro_batches import pack, pad
from sparrow.models.settings import Lora, PartTuning, Tuning
from sparrow.models.tuning import apply_tuning
from sparrow.training.losses import chunked_cross_entropy, segment_losses, segment_weights
from sparrow.training.module import FineTuning
from sparrow.training.settings import Optimizer, Schedule
from tests.models.chats import CHAT, OTHER_CHAT, TEXT_CHAT, encoded

NORMALIZATIONS = ("token", "sample", "micro_batch")
COUNTS = torch.tensor([3, 1, 0])
SUMS = torch.tensor([1.0 + 2.0 + 3.0, 10.0, 0.0])


@pytest.mark.parametrize(
    ("normalization", "units", "mean"),
    [("token", 4.0, 16 / 4), ("sample", 2.0, (2 + 10) / 2), ("micro_batch", 1.0, 16 / 4)],
)
def test_a_micro_batch_counts_its_units(normalization, units, mean):
    weights = segment_weights(COUNTS, normalization)
    assert (weights * COUNTS).sum().item() == pytest.approx(units)
    assert ((SUMS * weights).sum() / (weights * COUNTS).sum()).item() == pytest.approx(mean)


def test_means_over_two_micro_batches():
    """Tokens weigh alike, samples weigh alike, or micro-batches do."""
    micro_batches = [(SUMS[:1], COUNTS[:1]), (SUMS[1:], COUNTS[1:])]
    expected = {"token": 16 / 4, "sample": (2 + 10) / 2, "micro_batch": (2 + 10) / 2}
    for normalization, mean in expected.items():
        weights = [segment_weights(counts, normalization) for _, counts in micro_batches]
        total = sum((sums * w).sum() for (sums, _), w in zip(micro_batches, weights, strict=True))
        units = sum((counts * w).sum() for (_, counts), w in zip(micro_batches, weights, strict=True))
        assert (total / units).item() == pytest.approx(mean)


def test_a_micro_batch_without_answers_weighs_nothing():
    for normalization in NORMALIZATIONS:
        assert (segment_weights(COUNTS[2:], normalization) * COUNTS[2:]).sum() == 0


def samples_of(backbone, frames):
    """Several images, one image and none, of two components."""
    chats = [(CHAT, frames, 0), (TEXT_CHAT, [], 1), (OTHER_CHAT, frames[1:], 0), (TEXT_CHAT, [], 1)]
    samples = [(encoded(backbone, chat, shown), component) for chat, shown, component in chats]
    return [(EncodedSample(*tensors, 0), component) for tensors, component in samples]


class OneStep(pl.LightningDataModule):
    """A step of some micro-batches, which the training step takes to the device by itself."""

    def __init__(self, micro_batches):
        super().__init__()
        self.batch = StepBatch(0, micro_batches, ["sample"], 0, 0, 0, 0.0)

    def train_dataloader(self):
        return DataLoader([self.batch], batch_size=None)

    def transfer_batch_to_device(self, batch, *_):
        return batch


def step(backbone, micro_batches, normalization):
    """Loss of a training step, its losses by component and the gradients; the rate is 0, so no weight changes."""
    module = FineTuning(
        backbone,
        Optimizer(learning_rate=1e-30, max_grad_norm=None),
        Schedule(),
        1,
        ["pictures", "words"],
        Tuning(loss_normalization=normalization),
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=1,
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    backbone.model.zero_grad()
    trainer.fit(module, datamodule=OneStep(micro_batches))
    by_component = torch.stack([trainer.callback_metrics[f"train/loss_{name}"] for name in module.component_names])
    gradients = {n: p.grad.clone() for n, p in backbone.model.named_parameters() if p.grad is not None}
    backbone.model.zero_grad()
    return module.last_loss, by_component, gradients


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_step_is_the_mean_that_is_asked_for(load_tiny, frames, normalization):
    backbone = load_tiny("idefics3")
    samples = samples_of(backbone, frames)
    micro_batches = [pad(samples[:1], backbone), pad(samples[1:], backbone)]
    loss, by_component, gradients = step(backbone, micro_batches, normalization)
    sums = logits_loss(backbone, samples)
    counts = torch.tensor([(sample.labels[1:] != IGNORED).sum() for sample, _ in samples])
    expected = {
        "token": sums.sum() / counts.sum(),
        "sample": (sums / counts).mean(),
        "micro_batch": (sums[0] / counts[0] + sums[1:].sum() / counts[1:].sum()) / 2,
    }[normalization]
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    of_components = [sums[own].sum() / counts[own].sum() for own in ([0, 2], [1, 3])]
    torch.testing.assert_close(by_component, torch.stack(of_components).detach(), atol=1e-4, rtol=1e-5)
    expected.backward()
    for name, parameter in backbone.model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-3)
    backbone.model.zero_grad()


@pytest.mark.parametrize("normalization", ["token", "sample"])
def test_padded_packed_and_one_by_one_are_one_step(backbone, frames, normalization):
    samples = samples_of(backbone, frames)
    ways = {"padded": [pad(samples, backbone)], "two rows": [pad(samples[:1], backbone), pad(samples[1:], backbone)]}
    if backbone.supports_packing:
        ways |= {"packed": [pack(samples, backbone)], "packed apart": [pack([s], backbone) for s in samples]}
        ways |= {"packed, and nothing": [pack(samples[:3], backbone), pack(samples[3:], backbone), pack([], backbone)]}
    loss, by_component, gradients = step(backbone, [pad([s], backbone) for s in samples], normalization)
    for name, micro_batches in ways.items():
        other, other_components, other_gradients = step(backbone, micro_batches, normalization)
        assert other == pytest.approx(loss, rel=1e-5), name
        torch.testing.assert_close(other_components, by_component, atol=1e-4, rtol=1e-5, msg=name)
        assert other_gradients.keys() == gradients.keys(), name
        for parameter, gradient in gradients.items():
            torch.testing.assert_close(other_gradients[parameter], gradient, atol=1e-5, rtol=1e-4)


def test_a_mean_over_micro_batches_depends_on_them_alone(backbone, frames):
    if not backbone.supports_packing:
        pytest.skip("its samples cannot share a row")
    samples = samples_of(backbone, frames)
    groups = [samples[:1], samples[1:]]
    padded, packed = (step(backbone, [way(g, backbone) for g in groups], "micro_batch") for way in (pad, pack))
    assert packed[0] == pytest.approx(padded[0], rel=1e-5)
    assert packed[0] != pytest.approx(step(backbone, [pack(samples, backbone)], "micro_batch")[0], rel=1e-5)


def logits_loss(backbone, samples):
    """Loss sums by the model's own logits, a sample at a time."""
    sums = []
    for sample, _ in samples:
        logits = backbone.forward(sample.input_ids[None], None, sample.frames).logits[0, :-1]
        sums.append(nn.functional.cross_entropy(logits, sample.labels[1:], reduction="sum"))
    return torch.stack(sums)


@pytest.mark.parametrize("adapted", [False, True])
def test_losses_are_those_of_the_models_own_logits(family, load_tiny, frames, adapted, monkeypatch):
    monkeypatch.setattr("sparrow.training.losses.chunked_cross_entropy.__defaults__", (2,))
    backbone = load_tiny(family)
    if adapted:
        parts = {name: PartTuning(mode="adapted") for name in ("vision", "language_model")}
        apply_tuning(backbone, Tuning(**parts, lora=Lora(rank=4, dropout=0.0)))
    samples = samples_of(backbone, frames)
    expected = logits_loss(backbone, samples)
    torch.testing.assert_close(segment_losses(backbone, pad(samples, backbone)), expected, atol=1e-4, rtol=1e-5)
    expected.sum().backward()
    gradients = {n: p.grad.clone() for n, p in backbone.model.named_parameters() if p.grad is not None}
    backbone.model.zero_grad()
    segment_losses(backbone, pad(samples, backbone)).sum().backward()
    for name, gradient in gradients.items():
        torch.testing.assert_close(dict(backbone.model.named_parameters())[name].grad, gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("chunk_tokens", [1, 7, 10, 100])
def test_chunks_change_neither_losses_nor_gradients(chunk_tokens):
    head = nn.Linear(16, 50, bias=False)
    hidden, targets = torch.randn(10, 16, requires_grad=True), torch.randint(0, 50, (10,))
    weights = torch.rand(10)
    results = []
    for chunk in (chunk_tokens, 10_000):
        losses = chunked_cross_entropy(head, hidden, targets, chunk)
        results.append((losses, *torch.autograd.grad((losses * weights).sum(), (hidden, head.weight))))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


def test_a_chunks_logits_are_not_kept():
    head = nn.Linear(8, 1000, bias=False)
    hidden, targets = torch.randn(64, 8, requires_grad=True), torch.zeros(64, dtype=torch.int64)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        chunked_cross_entropy(head, hidden, targets, 16)
        assert max(kept, default=0) < 1000
        chunked_cross_entropy(head, hidden, targets, 64)
    assert max(kept) >= 64 * 1000
