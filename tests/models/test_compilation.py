"""Compiled blocks take every packed row as they are."""

import functools

import torch
from torch import nn
from torch._dynamo.utils import counters

from sparrow.models.hidden_states import hidden_states


def test_blocks_are_not_compiled_anew_for_every_number_of_samples(load_tiny, monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(nn.Module.compile, backend="eager"))
    plain, compiled = load_tiny("idefics3"), load_tiny("idefics3")
    torch.compiler.reset()
    compiled.compile_blocks()
    graphs = []
    for count in range(1, 12):
        lengths = [20 + 3 * i for i in range(count)]
        ids = torch.randint(300, 400, (1, sum(lengths)), generator=torch.Generator().manual_seed(count))
        row = {
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "sample_lengths": lengths,
        }
        with torch.no_grad():
            found, expected = (hidden_states(backbone, ids, None, None, **row) for backbone in (compiled, plain))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert graphs[-1] == graphs[2], "rows of one sample may differ from rows of several, but not these from each other"
