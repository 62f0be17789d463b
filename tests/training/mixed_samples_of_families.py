"""Under torchrun: texts, images and videos in another order on each of two ranks, by every strategy.

Usage: mixed_samples_of_families.py FOLDER...; compares gradients with those of one process.
"""

import sys

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from sparrow.data.encode import EncodedSample
from sparrow.data.micro_batches import pack, pad
from sparrow.models.frame_buffer import NativeVideo
from sparrow.models.loading import LoadOptions, load_backbone, outline
from sparrow.models.registry import NATIVE_VIDEO
from sparrow.training.losses import segment_losses
from sparrow.training.settings import Strategy
from sparrow.training.strategies import Sharding, gradients_stay_apart

ORDERS = [
    [["text"], ["video", "image"], ["image"], ["text", "video"]],
    [["video"], ["text"], ["image", "video", "text", "video"], ["image"]],
]


class Losses(torch.nn.Module):
    """What the ranks' copies are made of."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.model = backbone, backbone.model

    def forward(self, micro_batch):
        """The summed loss."""
        return segment_losses(self.backbone, micro_batch).sum()


def sample_of(kind, backbone):
    """A question and its answer about nothing, one picture, or the five frames of a video."""
    count = {"text": 0, "image": 1, "video": 5}[kind]
    frames = list(np.random.default_rng(count).integers(0, 256, (count, 50, 90, 3), dtype=np.uint8))
    times_s = [0.5 * number for number in range(count)]
    as_video = kind == "video" and backbone.native_video
    shown = [{"type": "video", "times_s": times_s}] if as_video else [{"type": "image"}] * count
    question = {"role": "user", "content": [*shown, {"type": "text", "text": "What happens?"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "it moves left"}]}
    chat = backbone.tokenize_chat([question, answer], [frame.shape[:2] for frame in frames])
    ids = torch.from_numpy(chat.input_ids)
    labels = ids.where(torch.from_numpy(chat.supervised), -100)
    prepared = backbone.prepare_frames(frames, [NativeVideo.at(0, times_s)] if as_video else [])
    return EncodedSample(ids, labels, prepared, chat.num_visual_tokens)


def micro_batches(backbone, order):
    """Those of a rank."""
    join = pack if backbone.supports_packing else pad
    return [join([(sample_of(kind, backbone), 0) for kind in kinds], backbone) for kinds in order]


def gradients(model):
    """The whole gradient of every parameter that has one."""
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: grad.full_tensor() if isinstance(grad, DTensor) else grad for name, grad in found.items()}


def accumulated(losses, own, wrapped=None):
    """The gradients after this rank's micro-batches, averaged over ranks with the last of them."""
    called = wrapped or losses
    with gradients_stay_apart(called):
        for micro_batch in own[:-1]:
            called(micro_batch).backward()
    called(own[-1]).backward()
    return gradients(losses.model)


def compare(folder, *, native_video):
    """Copies and shards on two ranks against one process that sees everything."""
    options = {"native_video": native_video}
    rank = dist.get_rank()

    whole = load_backbone(folder, **options)
    losses = Losses(whole)
    for order in ORDERS:
        for micro_batch in micro_batches(whole, order):
            (losses(micro_batch) / len(ORDERS)).backward()
    expected = gradients(whole.model)

    copied = Losses(load_backbone(folder, **options))
    for module in copied.backbone.unused():
        module.requires_grad_(False)
    own = micro_batches(whole, ORDERS[rank])
    found = {"ddp": accumulated(copied, own, DistributedDataParallel(copied))}

    sharded = outline(load_backbone(folder, with_model=False, **options), LoadOptions())

    def read(device, replicas, shards):
        return load_backbone(folder, num_replicas=replicas, num_shards=shards).model

    Sharding(Strategy(name="fsdp"), 1, "32-true", read).apply(sharded, torch.device("cpu"))
    found["fsdp"] = accumulated(Losses(sharded), own)
    for strategy, theirs in found.items():
        assert theirs.keys() == expected.keys(), strategy
        for name, gradient in theirs.items():
            torch.testing.assert_close(
                gradient,
                expected[name],
                atol=1e-4,
                rtol=1e-3,
                msg=lambda text, at=f"{strategy}, {name}": f"{at}: {text}",
            )


def main(folders):
    """Every family, those with native video in both ways."""
    dist.init_process_group("gloo")
    for folder in folders:
        family = load_backbone(folder, with_model=False).family
        for native_video in (False, True) if family in NATIVE_VIDEO else (False,):
            compare(folder, native_video=native_video)
            if dist.get_rank() == 0:
                print(family, "native video" if native_video else "images", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
