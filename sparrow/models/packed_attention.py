"""Attention within the samples of a packed row, so that nothing as large as the row squared is built.

What each implementation does with a packed row, whose positions start anew in each sample:

* `sdpa`: one call a sample of PyTorch's own attention (on CUDA its flash kernel), on CPU and GPU alike.
* `flash_attention_2` and its kin: one varlen call for all samples, which are told apart by their boundaries. Without
  them transformers would find them in the positions, and wait for the GPU in every layer to do so.
* `eager`, `flex_attention`: transformers makes a mask from the positions, dense or by blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

BY_SAMPLE = "sdpa_by_sample"


def use_attention_by_sample(model: Any) -> None:
    """Let the language model of a model loaded with `sdpa` attend sample by sample where a row holds several."""
    ALL_ATTENTION_FUNCTIONS.register(BY_SAMPLE, _attend_by_sample)
    ALL_MASK_ATTENTION_FUNCTIONS.register(BY_SAMPLE, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation({"text_config": BY_SAMPLE})


def _attend_by_sample(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sample_lengths: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    if sample_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return _attend_each(module, query, key, value, sample_lengths, options), None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _attend_each(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, sample_lengths: Tensor, options: dict[str, Any]
) -> Tensor:
    """Attention of each sample; a block would be compiled anew for every number of them."""
    samples = zip(*(states.split(sample_lengths.tolist(), dim=2) for states in (query, key, value)), strict=True)
    return torch.cat([sdpa_attention_forward(module, q, k, v, None, **options)[0] for q, k, v in samples], dim=1)


@contextlib.contextmanager
def attending_within(language_model: nn.Module, sample_lengths: Sequence[int], device: torch.device) -> Iterator[None]:
    """Tell the language model where the samples of its packed row end, in the words of its attention."""
    config: Any = language_model.config
    told: dict[str, Any] = {}
    if config._attn_implementation == BY_SAMPLE:
        # A mask of four dimensions is taken as it is; this one stands for the mask that is not built. The lengths stay
        # on the CPU, where they are read.
        lengths = torch.tensor(sample_lengths)
        told = {"sample_lengths": lengths, "attention_mask": torch.ones(1, 1, 1, 1, device=device)}
    elif "flash" in config._attn_implementation:
        bounds = torch.tensor([0, *accumulate(sample_lengths)], dtype=torch.int32, device=device)
        longest = max(sample_lengths)
        told = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
    hook = language_model.register_forward_pre_hook(
        lambda _, arguments, options: (arguments, options | told), with_kwargs=True
    )
    try:
        yield
    finally:
        hook.remove()
