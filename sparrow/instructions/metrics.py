"""Metrics of diversity: one number for a set of instructions, whatever its order, with a definition and a source each.

None is ever NaN: an empty set has the value `empty`, a single instruction is a set like any other. Most depend on the
size of the set, so only sets of equal size are compared.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparrow.instructions.corpus import Corpus
from sparrow.instructions.settings import METRICS

LEVEL = 0.95
_TINY = 1e-12


@dataclass(frozen=True)
class Metric:
    """One way to put diversity into a number.

    Tables show it by its `label`. `measure` takes a set that is not empty, and `empty` is the value of an empty one;
    `low` and `high` are the bounds of all values.
    """

    label: str
    measure: Callable[[Corpus], float]
    definition: str
    source: str
    more_is_diverse: bool = True
    low: float = 0.0
    high: float = math.inf
    empty: float = 0.0

    def __call__(self, corpus: Corpus) -> float:
        """The value, finite."""
        return float(self.measure(corpus)) if len(corpus) else self.empty


def vendi_score(corpus: Corpus) -> float:
    """exp(-sum_i l_i log l_i), with l the eigenvalues of K / n and K the cosines of n unit vectors.

    The eigenvalues other than 0 are those of X'X / n, a [d, d] matrix for X [n, d], so that K is not built. It is 1
    where all vectors agree and n where they are orthogonal; through d dimensions it is at most d.
    Source: Friedman & Dieng, The Vendi Score (arXiv 2210.02410), with q = 1.
    """
    return _exp_entropy(corpus.eigenvalues)


def effective_rank(corpus: Corpus) -> float:
    """(sum_i l_i)^2 / sum_i l_i^2 with l as in `vendi_score`: directions, were all equally strong.

    The participation ratio, effective rank of order 2; few large eigenvalues count more than in the Vendi score. The
    effective rank of Roy & Vetterli (EUSIPCO 2007) is, for K, the Vendi score itself, and for X, whose singular values
    are the roots of l, it ranks one template with many fillings above several templates.
    Source: Del Giudice, Effective Dimensionality (Multivariate Behavioral Research 56, 2021), n_2.
    """
    squares = np.square(corpus.eigenvalues).sum()
    return float(np.square(corpus.eigenvalues.sum()) / squares) if squares > 0 else 1.0


def mean_pairwise_distance(corpus: Corpus) -> float:
    """1 - the mean cosine of two different instructions, by the closed form (|sum x|^2 - sum |x|^2) / (n (n - 1)).

    0 for fewer than two.
    Source: the intra-set distance of Ziegler et al., Improving Recommendation Lists (WWW 2005), with cosines.
    """
    exact = corpus.vectors.astype(np.float64)
    n = len(exact)
    if n < 2:
        return 0.0
    alike = (np.square(exact.sum(axis=0)).sum() - np.square(exact).sum()) / (n * (n - 1))
    return float(np.clip(1 - alike, 0, 2)) if 1 - alike > 1e-7 else 0.0


def distinct(corpus: Corpus, length: int) -> float:
    """Different runs of `length` words over all of them; 0 where no instruction is so long.

    Source: Li et al., A Diversity-Promoting Objective Function (arXiv 1510.03055).
    """
    counts = _run_counts(corpus, length)
    return float(np.count_nonzero(counts) / counts.sum()) if counts.any() else 0.0


def ngram_entropy(corpus: Corpus, length: int) -> float:
    """Entropy in bits of the frequencies of runs of `length` words; 0 where no instruction is so long.

    Source: Zhang et al., Generating Informative and Diverse Conversational Responses (arXiv 1809.05972).
    """
    return math.log2(_exp_entropy(_run_counts(corpus, length).astype(np.float64)))


def compression_ratio(corpus: Corpus) -> float:
    """Bytes of all instructions, a line each, over their bytes compressed by zlib at level 6, in sorted order.

    Sorting makes it a function of the set, and finds repetitions farther apart than the compressor's window.
    Source: Shaib et al., Standardizing the Measurement of Text Diversity (arXiv 2403.00553), who use gzip.
    """
    lines = "\n".join(sorted(corpus.texts)).encode("utf-8", "surrogatepass")
    return len(lines) / len(zlib.compress(lines, 6)) if lines else 0.0


def template_rate(corpus: Corpus) -> float:
    """Share of instructions that follow the most frequent template.

    A template is what is left of an instruction after numbers, and words in fewer than 1 % of the instructions (and
    fewer than two), are masked; see `sparrow.instructions.corpus`.
    Source: after the template rate of Shaib et al., Detection and Measurement of Syntactic Templates (arXiv
    2407.00211), with words in place of parts of speech.
    """
    counts = np.bincount(corpus.templates)
    return float(counts.max() / counts.sum())


VENDI_SCORE = Metric(
    "Vendi score",
    vendi_score,
    "effective number of unlike instructions: exp of the entropy of the eigenvalues of the cosines / n",
    "arXiv 2210.02410",
)
EFFECTIVE_RANK = Metric(
    "effective rank",
    effective_rank,
    "effective number of directions: squared sum of those eigenvalues over the sum of their squares",
    "Del Giudice 2021",
)
MEAN_PAIRWISE_DISTANCE = Metric(
    "pairwise distance",
    mean_pairwise_distance,
    "mean cosine distance of two different instructions",
    "Ziegler et al. 2005",
    high=2.0,
)
DISTINCT_1 = Metric(
    "distinct-1", lambda corpus: distinct(corpus, 1), "different words over all words", "arXiv 1510.03055", high=1.0
)
DISTINCT_2 = Metric(
    "distinct-2",
    lambda corpus: distinct(corpus, 2),
    "different pairs of neighbouring words over all such pairs",
    "arXiv 1510.03055",
    high=1.0,
)
ENTROPY_2 = Metric(
    "entropy-2 (bits)",
    lambda corpus: ngram_entropy(corpus, 2),
    "entropy of the frequencies of pairs of neighbouring words",
    "arXiv 1809.05972",
)
COMPRESSION_RATIO = Metric(
    "compression ratio",
    compression_ratio,
    "bytes of the sorted instructions over their bytes compressed",
    "arXiv 2403.00553",
    more_is_diverse=False,
)
TEMPLATE_RATE = Metric(
    "template rate",
    template_rate,
    "share of the most frequent template, numbers and rare words masked",
    "arXiv 2407.00211",
    more_is_diverse=False,
    high=1.0,
)


@dataclass(frozen=True)
class MetricEstimate:
    """The value of a metric and its 95 % interval."""

    value: float
    low: float
    high: float


def measured(name: str, corpus: Corpus) -> float:
    """The value of a metric, by its name or the dotted path of a user's own.

    Raises:
        DataError: If its code fails, or gives no finite number.
    """
    with METRICS.named_in_errors(name, f"{len(corpus)} instructions"):
        value = METRICS[name](corpus)
        if not math.isfinite(value):
            raise ValueError(f"it gives {value}, expected a finite number")
    return value


def estimate(
    corpus: Corpus, num_resamples: int, seed: int = 0, names: Iterable[str] = METRICS
) -> dict[str, MetricEstimate]:
    """The metrics of a set by name, with bootstrap intervals.

    A resample draws n instructions with replacement. It holds repetitions that the set does not, which makes it look
    less diverse; so the interval is the value plus the 2.5 and 97.5 % quantiles of the resamples' values less their
    mean, cut at the metric's bounds. Without resamples, and for fewer than two instructions, it is the value alone.
    Source: Davison & Hinkley, Bootstrap Methods and their Application (1997), section 2.3, on correcting bias.
    """
    values = {name: measured(name, corpus) for name in names}
    if num_resamples == 0 or len(corpus) < 2:
        return {name: MetricEstimate(value, value, value) for name, value in values.items()}
    generator = np.random.default_rng(seed)
    resampled: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(num_resamples):
        drawn = corpus.take(generator.integers(len(corpus), size=len(corpus)))
        for name, found in resampled.items():
            found.append(measured(name, drawn))
    return {name: _interval(METRICS[name], value, np.array(resampled[name])) for name, value in values.items()}


def _interval(metric: Metric, value: float, resampled: NDArray[np.float64]) -> MetricEstimate:
    low, high = value + np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - resampled.mean()
    return MetricEstimate(value, float(min(value, max(low, metric.low))), float(max(value, min(high, metric.high))))


def _exp_entropy(weights: NDArray[np.float64]) -> float:
    """exp of the entropy in nats of weights that are made to add up to 1; 1 where all are 0."""
    weights = weights[weights > _TINY * weights.max(initial=0.0)]
    shares = weights / weights.sum() if weights.size else np.ones(1)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _run_counts(corpus: Corpus, length: int) -> NDArray[np.int64]:
    return np.asarray(corpus.ngrams[length].sum(axis=0), dtype=np.int64).ravel()
