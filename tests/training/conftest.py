"""What tests of training share: the tiny backbones of `tests/models`, and a group of one process."""

import pytest
import torch.distributed as dist

from tests.models.conftest import backbone, frames, load_tiny, pytest_generate_tests

__all__ = ["backbone", "frames", "load_tiny", "pytest_generate_tests"]


@pytest.fixture
def one_rank():
    """Connect this process with no other."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
