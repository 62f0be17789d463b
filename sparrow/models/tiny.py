"""What tiny checkpoints share: sizes, and a byte-level BPE trained on given texts, so that every text has tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

MAX_VOCABULARY = 2048
ROLE_WORDS = ["User", "Assistant", "System", "user", "assistant", "system", "model"]
ROLE_WEIGHT = 1000
MAX_POSITIONS = 16_384
INITIALIZER_RANGE = 0.06
HEAD_WIDTH = 24  # of the language model's heads
PATCH_PX = 16


def train_tokenizer(
    texts: Sequence[str],
    *,
    eos_token: str,
    bos_token: str | None = None,
    other_special_tokens: Sequence[str] = (),
    named_tokens: Mapping[str, str] | None = None,
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of at most 2,048 tokens; words frequent in `texts` and chat roles are single tokens.

    Args:
        texts: What it is trained on.
        eos_token: Ends a turn.
        bos_token: Begins a chat.
        other_special_tokens: Control tokens that processors know by their text.
        named_tokens: Control tokens that processors ask the tokenizer for by name, such as `image_token`.
    """
    named = dict(named_tokens or {})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", *([bos_token] if bos_token else []), eos_token, *other_special_tokens, *named.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*ROLE_WORDS * ROLE_WEIGHT, *texts], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token=bos_token,
        eos_token=eos_token,
        additional_special_tokens=list(other_special_tokens),
        **({"extra_special_tokens": named} if named else {}),
    )


def token_ids(tokenizer: PreTrainedTokenizerFast, **tokens: str) -> dict[str, Any]:
    """Settings that name a token by its id, each given by the token's text."""
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def random_model(config: Any, seed: int) -> Any:
    """A model of a configuration with random weights, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
        for parameter in model.parameters():
            # Some families leave a projection or the positions at zero for the checkpoint to fill.
            if parameter.ndim >= 2 and not parameter.any():
                nn.init.normal_(parameter, std=INITIALIZER_RANGE)
    return model


@dataclass(frozen=True)
class TinySizes:
    """Sizes of a tiny model: `width` multiplies the number of attention heads, each as wide."""

    width: int = 1

    @property
    def vision_width(self) -> int:
        """Width of the vision encoder."""
        return 2 * HEAD_WIDTH * self.width

    @property
    def text_width(self) -> int:
        """Width of the language model."""
        return 4 * HEAD_WIDTH * self.width

    @property
    def num_heads(self) -> int:
        """Attention heads of either."""
        return 4 * self.width

    def vision(self, **changes: Any) -> dict[str, Any]:
        """Settings of a tiny vision encoder, under the names that most families use."""
        return {
            "hidden_size": self.vision_width,
            "intermediate_size": 2 * self.vision_width,
            "num_hidden_layers": 2,
            "num_attention_heads": self.num_heads,
            "patch_size": PATCH_PX,
            "initializer_range": INITIALIZER_RANGE,
        } | changes

    def text(self, tokenizer: PreTrainedTokenizerFast, **changes: Any) -> dict[str, Any]:
        """Settings of a tiny language model."""
        return {
            "vocab_size": len(tokenizer),
            "hidden_size": self.text_width,
            "intermediate_size": 2 * self.text_width,
            "num_hidden_layers": 2,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_heads,
            "max_position_embeddings": MAX_POSITIONS,
            "initializer_range": INITIALIZER_RANGE,
            "rms_norm_eps": 1e-5,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        } | changes
