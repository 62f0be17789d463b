"""Sharded checkpoints as folders beside the files of unsharded runs."""

import torch
from torch import nn

from sparrow.training import sharded_checkpoints


def test_a_folder_takes_the_place_of_the_file_of_an_unsharded_run(one_rank, tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save({"global_step": 1}, path)
    model = nn.Linear(2, 2)
    for step in (2, 3):  # over the file, then over the folder
        checkpoint = {"state_dict": dict(model.named_parameters()), "optimizer_states": [], "global_step": step}
        sharded_checkpoints.write(checkpoint, path)
        assert sharded_checkpoints.damage(path) is None
        assert sharded_checkpoints.read_whole(path)["global_step"] == step
        assert list(tmp_path.iterdir()) == [path], "nothing is left over"
