"""`sparrow train` on two ranks, of which rank 0 runs out of memory in the trial of the longest micro-batch."""

import os

import torch

from sparrow.cli import main
from sparrow.training import trial

original = trial.segment_losses


def segment_losses(backbone, micro_batch):
    """Run out of memory on rank 0."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    return original(backbone, micro_batch)


if __name__ == "__main__":
    trial.segment_losses = segment_losses
    main()
