"""Cross-entropy of supervised tokens, summed over each sample, without the logits of a long sequence at once."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint
from transformers.utils.import_utils import is_liger_kernel_available

from sparrow.data.encode import IGNORED
from sparrow.data.micro_batches import MicroBatch
from sparrow.models.backbone import Backbone
from sparrow.models.hidden_states import hidden_states

CHUNK_TOKENS = 1024


def segment_weights(counts: Tensor, normalization: str) -> Tensor:
    """What each supervised token of a sample counts, float [s]; weights times counts are the units of the mean.

    `counts` are the supervised tokens of each sample; the mean is over each `token`, `sample` or `micro_batch`.
    """
    if normalization == "sample":
        return counts.clamp(min=1).float().reciprocal()
    if normalization == "micro_batch":
        return counts.sum().clamp(min=1).float().reciprocal().expand(len(counts))
    return torch.ones(len(counts), device=counts.device)


def segment_losses(backbone: Backbone, micro_batch: MicroBatch) -> Tensor:
    """Cross-entropy summed over the supervised tokens of each sample, float32 [s].

    Only supervised positions are computed, alike for padded and packed rows.
    """
    targets = micro_batch.labels[:, 1:]
    chosen = targets != IGNORED
    hidden = hidden_states(
        backbone,
        micro_batch.input_ids,
        micro_batch.attention_mask,
        micro_batch.frames,
        position_ids=micro_batch.position_ids,
        sample_lengths=micro_batch.lengths,
    )[:, :-1][chosen]
    segments = micro_batch.segments[:, 1:][chosen]
    head = backbone.output_head
    if len(hidden) and _fuses(head, hidden):
        return _fused_sums(head, hidden, targets[chosen], segments, len(micro_batch.components))
    losses = chunked_cross_entropy(head, hidden, targets[chosen])
    # Not index_add: its order of additions on CUDA changes from run to run.
    numbers = torch.arange(len(micro_batch.components), device=losses.device)
    return losses.unsqueeze(1).where(segments.unsqueeze(1) == numbers, 0.0).sum(dim=0)


def chunked_cross_entropy(head: nn.Module, hidden: Tensor, targets: Tensor, chunk_tokens: int = CHUNK_TOKENS) -> Tensor:
    """Cross-entropy of each token, float32 [k], with the logits of `chunk_tokens` tokens in memory at a time.

    The logits of a chunk are computed again in the backward pass: four products with the head instead of three. For
    4,096 tokens and a vocabulary of 49,152 in float32, 797 MB instead of 2,316 MB were seen (benchmarks/README.md).
    Where one chunk is enough, nothing is computed twice.
    """
    if len(hidden) <= chunk_tokens:
        return _cross_entropy(head, hidden, targets)
    chunks = zip(hidden.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
    return torch.cat(
        [checkpoint(_cross_entropy, head, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    )


def _cross_entropy(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden).float(), targets, reduction="none")


def _fuses(head: nn.Module, hidden: Tensor) -> bool:
    """Whether Liger's kernel can take the head's place: a plain matrix that lies whole on this GPU."""
    weight: Any = getattr(head, "weight", None)
    plain = type(head) is nn.Linear and head.bias is None and not isinstance(weight, DTensor)
    return hidden.is_cuda and plain and is_liger_kernel_available()


def _fused_sums(head: Any, hidden: Tensor, targets: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """The same sums by Liger's fused linear cross-entropy (arXiv 2410.10989), one call a sample."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else hidden.dtype
    weight, hidden = head.weight.to(dtype), hidden.to(dtype)
    sums = []
    for number in range(num_segments):
        own = segments == number
        loss = hidden.new_zeros(())
        if own.any():
            loss = liger_fused_linear_cross_entropy(hidden[own], weight, targets[own], reduction="sum")
        sums.append(loss.float())
    return torch.stack(sums)
