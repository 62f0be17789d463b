"""Under torchrun: each family's tiny checkpoint, read by shards and put together again, beside the whole one.

Usage: shards_of_families.py OUT FOLDER...; writes OUT/<folder name>-whole and -shards.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from sparrow.models.loading import LoadOptions, load_backbone, outline
from sparrow.training.settings import Strategy
from sparrow.training.strategies import Sharding, gather_into


def main(out, folders):
    """Compare, a family after the other, sharded over two ranks and copied on two."""
    dist.init_process_group("gloo")
    for folder in folders:
        whole = load_backbone(folder)
        for hybrid in (False, True):

            def read(device, replicas, shards, folder=folder):
                return load_backbone(folder, num_replicas=replicas, num_shards=shards).model

            sharded = outline(load_backbone(folder, with_model=False), LoadOptions())
            sharding = Sharding(Strategy(name="fsdp", hybrid_sharding=hybrid), 2, "32-true", read)
            sharding.apply(sharded, torch.device("cpu"))
            sharding.apply(sharded, torch.device("cpu"))  # changes nothing
            one_copy = sum(p.numel() for p in sharded.model.parameters())
            held = sum(p.to_local().numel() for p in sharded.model.parameters())
            assert held == one_copy if hybrid else held < 0.55 * one_copy
            together = gather_into(sharded, outline(sharded, LoadOptions()))
            assert (together is None) == (dist.get_rank() > 0)
            if together is not None:
                expected, found = dict(whole.model.named_buffers()), dict(together.model.named_buffers())
                assert expected.keys() == found.keys()
                assert all(torch.equal(expected[name], found[name]) for name in expected)
                whole.save(out / f"{Path(folder).name}-whole")
                together.save(out / f"{Path(folder).name}-shards-{hybrid}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
