"""Intervals of an accuracy: questions about one video are not independent, so videos are what is resampled."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, betaincinv

LEVEL = 0.95
NUM_RESAMPLES = 2000
MIN_CLUSTERS = 20
ROUNDING = 1e-9  # numbers that differ by less are the same, computed in another order

Interval = tuple[float, float]


def bootstrap_interval(
    values: ArrayLike, clusters: ArrayLike, strata: ArrayLike | None = None, *, seed: int = 0
) -> Interval | None:
    """Percentile interval of a mean, or of the mean of the means of strata, by a bootstrap over whole clusters.

    With s_jk and n_jk the sum and number of the values of cluster j in stratum k, each resample draws as many clusters
    as there are, with replacement, and gives the mean over k of sum_j(s_jk) / sum_j(n_jk); strata that the resample
    misses are left out. The interval is its 2.5 and 97.5 % quantiles. Source: Davison & Hinkley, Bootstrap Methods and
    their Application (1997), sections 3.8 and 5.3; for evaluations of language models, Miller, Adding Error Bars to
    Evals (arXiv 2411.00640), section 2.2. The order of the values does not matter.

    Returns:
        None with fewer than twenty clusters, where its intervals are too narrow, and where all resamples agree.
    """
    means = resampled_means(values, clusters, strata, seed=seed)
    if means is None:
        return None
    low, high = quantile_interval(means)
    return (low, high) if high - low > ROUNDING else None


def resampled_means(
    values: ArrayLike, clusters: ArrayLike, strata: ArrayLike | None = None, *, seed: int = 0
) -> NDArray[np.float64] | None:
    """The means that the resamples of `bootstrap_interval` give, [2000]; None with fewer than twenty clusters.

    Two sets of values over the same clusters are resampled alike, so that a statistic of both keeps their pairing.
    """
    sums, counts = _by_cluster(values, clusters, strata)
    if len(sums) < MIN_CLUSTERS:
        return None
    times_drawn = _times_drawn(len(sums), seed)
    totals, numbers = times_drawn @ sums, times_drawn @ counts
    present = numbers > 0
    shares = np.divide(totals, numbers, out=np.zeros_like(totals), where=present)
    return shares.sum(axis=1) / present.sum(axis=1)


def quantile_interval(statistics: ArrayLike) -> Interval:
    """The 2.5 and 97.5 % quantiles of a resampled statistic."""
    low, high = np.quantile(np.asarray(statistics), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@lru_cache(maxsize=2)
def _times_drawn(num_clusters: int, seed: int) -> NDArray[np.float64]:
    """How often each resample holds each cluster: [resamples, clusters]."""
    drawn = np.random.default_rng(seed).integers(num_clusters, size=(NUM_RESAMPLES, num_clusters))
    cells = drawn + num_clusters * np.arange(NUM_RESAMPLES)[:, None]
    counts = np.bincount(cells.ravel(), minlength=cells.size)
    return counts.reshape(NUM_RESAMPLES, num_clusters).astype(float)


def proportion_interval(successes: float, trials: float, *, level: float = LEVEL) -> Interval:
    """Exact interval of a proportion: quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k).

    Source: Clopper & Pearson, Biometrika 26 (1934). Without a trial it is (0, 1).
    """
    tail = (1 - level) / 2
    low = betaincinv(successes, trials - successes + 1, tail) if successes > 0 else 0.0
    high = betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return float(low), float(high)


def accuracy_interval(
    correct: ArrayLike, videos: ArrayLike, strata: ArrayLike | None = None, *, seed: int = 0
) -> Interval:
    """95 % interval of an accuracy over questions that share videos, or of the mean of the strata's accuracies.

    The bootstrap over videos; where that says nothing, the exact interval in which each video counts as one trial,
    as if its questions told no more than one would: wide, and (0, 1) without a question.
    """
    correct = np.asarray(correct, dtype=float)
    if interval := bootstrap_interval(correct, videos, strata, seed=seed):
        return interval
    num_videos = len(np.unique(np.asarray(videos)))
    share = stratified_mean(correct, strata) if correct.size else 0.0
    return proportion_interval(share * num_videos, num_videos)


def stratified_mean(values: ArrayLike, strata: ArrayLike | None = None) -> float:
    """The mean of [n] values, or the mean of their means in each stratum."""
    sums, counts = _by_cluster(values, np.zeros(np.size(values)) if strata is None else strata, None)
    return float((sums / counts).mean())


def difference_interval(differences: ArrayLike, videos: ArrayLike, weights: ArrayLike | None = None) -> Interval:
    """95 % interval of a mean of paired differences, each between -1 and 1, or of weight times difference.

    The bootstrap over videos; where that says nothing, the share of gains minus the share of losses, each in its exact
    97.5 % interval with a video as one trial, which together hold at 95 % (Bonferroni). Weights, which
    have a mean of 1, make the trials fewer by their mean square (Kish, Survey Sampling, 1965, section 11.7).
    """
    differences = np.asarray(differences, dtype=float)
    weights = np.ones_like(differences) if weights is None else np.asarray(weights, dtype=float)
    weighted = weights * differences
    if interval := bootstrap_interval(weighted, videos):
        return interval
    num_videos = len(np.unique(np.asarray(videos)))
    trials = num_videos / max(1.0, float(np.mean(weights**2))) if weights.size else 0.0
    gains, losses = (
        proportion_interval(float(part.mean()) * trials if part.size else 0.0, trials, level=(1 + LEVEL) / 2)
        for part in (weighted.clip(min=0), -weighted.clip(max=0))
    )
    return gains[0] - losses[1], gains[1] - losses[0]


def chance_bound(chance: float, num_questions: int) -> float:
    """The accuracy that guessing exceeds with a probability of at most 5 %.

    The smallest k / n with P(X <= k) >= 0.95 for X binomial(n, chance). With different numbers of options `chance`
    is their mean, which makes the bound a little high (Hoeffding, Annals of Mathematical Statistics 27, 1956).
    """
    if num_questions == 0:
        return 1.0
    cumulative = bdtr(np.arange(num_questions + 1), num_questions, chance)
    return float(np.searchsorted(cumulative, LEVEL)) / num_questions


def _by_cluster(
    values: ArrayLike, clusters: ArrayLike, strata: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and numbers of the values: [clusters, strata] each."""
    cluster_names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    strata = np.zeros(len(cluster)) if strata is None else np.asarray(strata)
    stratum_names, stratum = np.unique(strata, return_inverse=True)
    shape = (len(cluster_names), len(stratum_names))
    cell, size = cluster * shape[1] + stratum, shape[0] * shape[1]
    sums = np.bincount(cell, weights=np.asarray(values, dtype=float), minlength=size).astype(float)
    return sums.reshape(shape), np.bincount(cell, minlength=size).astype(float).reshape(shape)
