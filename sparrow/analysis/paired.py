"""Two sets of answers to the same questions compared question by question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from sparrow.analysis.intervals import difference_interval
from sparrow.analysis.predictions import Predictions
from sparrow.core.errors import DataError


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of `second` minus accuracy of `first`, its 95 % interval, the questions that only one got right, and
    those answered differently, rightly or not."""

    difference: float
    low: float
    high: float
    p_value: float
    num_questions: int
    num_only_first: int
    num_only_second: int
    num_different: int

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def mcnemar_p(num_only_first: int, num_only_second: int) -> float:
    """Two-sided exact p value of McNemar's test: min(1, 2 P(X <= min(b, c))) for X binomial(b + c, 1/2).

    b and c count the questions that only one of the two got right. Source: McNemar, Psychometrika 12 (1947), in its
    exact form (Agresti, Categorical Data Analysis, section 10.1.4). It takes questions as independent, which the
    clustered interval does not.
    """
    discordant = num_only_first + num_only_second
    return min(1.0, 2 * float(bdtr(min(num_only_first, num_only_second), discordant, 0.5)))


def paired_difference(first: Predictions, second: Predictions, *, seed: int = 0) -> PairedDifference:
    """How much better `second` answers than `first`, with the interval clustered over videos.

    Raises:
        DataError: If the two do not answer the same questions, or there are none.
    """
    only_first = set(first.question_ids) - set(second.question_ids)
    only_second = set(second.question_ids) - set(first.question_ids)
    if only_first or only_second:
        raise DataError(
            f"the questions differ: {len(only_first)} only in the first, {len(only_second)} only in the second",
            remedy="evaluate both on the same benchmark file",
        )
    if len(first) == 0:
        raise DataError("there are no questions to compare")
    changed = (first.gold != second.gold) | (first.videos != second.videos)
    if changed.any():
        raise DataError(
            f"{int(changed.sum())} of {len(first)} questions have another gold answer or video",
            remedy="evaluate both on the same benchmark file",
        )
    differences = second.correct.astype(int) - first.correct.astype(int)
    low, high = difference_interval(differences, first.videos, seed=seed)
    lost, won = int(np.sum(differences < 0)), int(np.sum(differences > 0))
    return PairedDifference(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=mcnemar_p(lost, won),
        num_questions=len(first),
        num_only_first=lost,
        num_only_second=won,
        num_different=int(np.sum(first.choices != second.choices)),
    )
