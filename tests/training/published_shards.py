"""Under torchrun: published layouts read by shards, trained two steps, put together, each tensor beside the whole model's.

Usage: published_shards.py FOLDER...; prints the folder's name for each that is right.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from sparrow.commands.check_model import _samples
from sparrow.data.micro_batches import pad
from sparrow.models.loading import LoadOptions, load_backbone, outline
from sparrow.models.settings import Tuning
from sparrow.models.tuning import apply_tuning
from sparrow.training.losses import segment_losses
from sparrow.training.settings import Strategy
from sparrow.training.strategies import Sharding, gather_into

RATE = 1e-3


def trained(backbone):
    """Two steps of plain descent on the same samples; the loss before each."""
    batch = pad([(sample, 0) for sample in _samples(backbone)], backbone)
    losses = []
    for _ in range(2):
        loss = segment_losses(backbone, batch).sum() / batch.supervised_tokens().sum()
        loss.backward()
        with torch.no_grad():
            for parameter in backbone.model.parameters():
                if parameter.grad is not None:
                    parameter -= RATE * parameter.grad
                    parameter.grad = None
        losses.append(loss.item())
    return losses


def differing(one, other):
    """The first tensor that two models do not share, by name."""
    tensors, others = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (one.model, other.model))
    if absent := sorted(tensors.keys() ^ others.keys()):
        return absent[0]
    return next((n for n, tensor in tensors.items() if not torch.allclose(tensor, others[n], atol=1e-5)), None)


def main(folders):
    """One folder after another on the same two ranks."""
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    for folder in folders:
        name = Path(folder).name

        def read(device, replicas, shards, folder=folder):
            return load_backbone(folder, num_replicas=replicas, num_shards=shards).model

        planned = load_backbone(folder, with_model=False)
        planned.show_usual_frames()
        sharded = outline(planned, LoadOptions())
        apply_tuning(sharded, Tuning())
        Sharding(Strategy(name="fsdp"), 1, "32-true", read).apply(sharded, torch.device("cpu"))
        read_as, losses = gather_into(sharded, outline(planned, LoadOptions())), trained(sharded)
        ended_as = gather_into(sharded, outline(planned, LoadOptions()))
        if read_as is None or ended_as is None:
            continue
        which = f"{name} ({planned.family})"
        whole = planned.with_model(load_backbone(folder).model)
        apply_tuning(whole, Tuning())
        assert (wrong := differing(whole, read_as)) is None, f"{which}: {wrong} is read as another one"
        expected = trained(whole)
        assert torch.allclose(torch.tensor(losses), torch.tensor(expected), atol=1e-4), f"{which}: {losses}, {expected}"
        assert losses[1] < losses[0], f"{which}: {losses} do not fall"
        assert (wrong := differing(whole, ended_as)) is None, f"{which}: {wrong} is another one after two steps"
        print(name, flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
