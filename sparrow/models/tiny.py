"""What tiny checkpoints share: a byte-level BPE trained on given texts, so that no text is out of vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

MAX_VOCABULARY = 2048


def train_tokenizer(
    texts: Sequence[str], *, bos_token: str, eos_token: str, other_special_tokens: Sequence[str]
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of at most 2,048 tokens; words frequent in `texts` become single tokens."""
    special = ["<pad>", bos_token, eos_token, *other_special_tokens]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token=bos_token,
        eos_token=eos_token,
        additional_special_tokens=list(other_special_tokens),
    )
