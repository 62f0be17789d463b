"""A set of instructions with what the metrics count: words, runs of words, templates and vectors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

NGRAM_LENGTHS = (1, 2)
RARE_SHARE = 0.01
NUMBER, RARE = "#", "…"
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+(?:['’](?![{_CJK}])\w+)*")


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation; a Chinese, Japanese or Korean sign is a word."""
    return _WORD.findall(text.casefold())


@dataclass(frozen=True)
class Corpus:
    """Instructions of one source, as the metrics take them.

    Args:
        texts: [n] instructions.
        vectors: [n, d] unit vectors.
        ngrams: For each length the counts of runs of so many words, [n, runs].
        templates: [n] number of each text's template in `template_names`.
        template_names: Templates, the most frequent first.
    """

    texts: list[str]
    vectors: NDArray[np.float32]
    ngrams: dict[int, csr_matrix]
    templates: NDArray[np.int64]
    template_names: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def eigenvalues(self) -> NDArray[np.float64]:
        """Eigenvalues [min(n, d)] of the cosines XX' [n, n], none below 0, through X'X [d, d] where that is smaller."""
        exact = self.vectors.astype(np.float64)
        gram = exact.T @ exact if len(exact) > exact.shape[1] else exact @ exact.T
        return np.linalg.eigvalsh(gram).clip(min=0)

    def take(self, indices: NDArray[np.int64]) -> Corpus:
        """Some of the instructions, repeated where an index is."""
        return Corpus(
            [self.texts[i] for i in indices],
            self.vectors[indices],
            {length: counts[indices] for length, counts in self.ngrams.items()},
            self.templates[indices],
            self.template_names,
        )


def make_corpus(texts: Sequence[str], vectors: NDArray[np.float32]) -> Corpus:
    """Take the texts apart."""
    words = [words_of(text) for text in texts]
    named = [_template(own, frequent) for frequent in [_frequent(words)] for own in words]
    names = [name for name, _ in sorted(Counter(named).items(), key=lambda item: (-item[1], item[0]))]
    numbers = {name: number for number, name in enumerate(names)}
    templates = np.array([numbers[name] for name in named], dtype=np.int64)
    return Corpus(list(texts), vectors, {n: _ngrams(words, n) for n in NGRAM_LENGTHS}, templates, names)


def _frequent(words: Sequence[list[str]]) -> set[str]:
    """Words in at least two instructions and at least 1 % of them."""
    holding = Counter(word for own in words for word in set(own))
    least = max(2, RARE_SHARE * len(words))
    return {word for word, count in holding.items() if count >= least}


def _template(words: list[str], frequent: set[str]) -> str:
    """The words with numbers and rare words masked.

    Neighbouring masked words become one mark. An instruction of which fewer than half the words are left says too
    little of a template, and is its own: else all rare instructions of one length would count as one template.
    """
    masked = [NUMBER if word.isdecimal() else word if word in frequent else RARE for word in words]
    if 2 * sum(word != RARE for word in masked) < len(masked):
        return " ".join(words)
    return " ".join(word for i, word in enumerate(masked) if word != RARE or i == 0 or masked[i - 1] != RARE)


def _ngrams(words: Sequence[list[str]], length: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    numbers: dict[tuple[str, ...], int] = {}
    columns: list[int] = []
    ends = [0]
    for own in words:
        runs = zip(*(own[i:] for i in range(length)), strict=False)
        columns += [numbers.setdefault(run, len(numbers)) for run in runs]
        ends.append(len(columns))
    shape = (len(words), max(1, len(numbers)))
    return csr_matrix((np.ones(len(columns), dtype=np.int32), columns, ends), shape=shape)
