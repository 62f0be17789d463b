"""What a training step will take of a device's memory, reckoned from the model's sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

from sparrow.core.process_memory import GIBIBYTE
from sparrow.models.backbone import Backbone
from sparrow.models.precision import computes_in_16_bits

STATES_PER_PARAMETER = {"adamw": 2, "adamw_8bit": 2, "adafactor": 0}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on a device."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All together."""
        return self.parameters + self.gradients + self.optimizer + self.activations

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / GIBIBYTE:.2f}" for name, size in vars(self).items())
        return f"about {self.total / GIBIBYTE:.2f} GiB ({parts})"


def estimate_memory(
    backbone: Backbone,
    optimizer: str,
    longest_tokens: int,
    *,
    checkpointing: bool,
    precision: str,
    num_shards: int = 1,
) -> MemoryEstimate:
    """A rough estimate of a training step's memory.

    Parameters as they are stored; a gradient of the same type for every trainable one; two optimizer states of the
    same type for AdamW, of a byte each for its 8-bit form, none to speak of for Adafactor. Activations are those of
    the language model alone, after arXiv 2205.05198 (equations 2 and 6) without attention scores, which memory-
    efficient attention does not keep: 34 bytes a token, layer and hidden unit in 16 bits, twice that in 32; with
    activation checkpointing two a layer and those of one layer whole. Logits of supervised tokens, the vision encoder
    and the allocator's waste are not counted, nor is the block that sharded weights are gathered for. The backbone may
    be a tuned outline; `longest_tokens` are those of the longest micro-batch, padding included.
    """
    parameters = list(backbone.model.parameters())
    trainable = [p for p in parameters if p.requires_grad]
    gradients = sum(p.numel() * p.element_size() for p in trainable)
    state_bytes = sum(p.numel() for p in trainable) if optimizer == "adamw_8bit" else gradients
    text = backbone.config.get_text_config()
    width = 1 if computes_in_16_bits(precision) else 2
    layers, states = text.num_hidden_layers, width * longest_tokens * text.hidden_size
    kept = 2 * states * layers + 34 * states if checkpointing else 34 * states * layers
    return MemoryEstimate(
        parameters=sum(p.numel() * p.element_size() for p in parameters) // num_shards,
        gradients=gradients // num_shards,
        optimizer=STATES_PER_PARAMETER[optimizer] * state_bytes // num_shards,
        activations=kept,
    )
