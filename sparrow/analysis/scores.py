"""What is said about a set of answers: accuracy, its interval, chance, and the same for each category."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparrow.analysis.intervals import accuracy_interval, chance_bound
from sparrow.analysis.predictions import Predictions


@dataclass(kw_only=True)
class Accuracy:
    """Accuracy over some questions, as fractions; None where there was nothing to score.

    `low` and `high` bound the 95 % interval, `chance` is the expected accuracy of guessing.
    An unanswered question is wrong and stays in the denominator.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    chance: float | None
    num_questions: int
    num_correct: int
    num_unanswered: int

    @property
    def chance_bound(self) -> float | None:
        """The accuracy that guessing exceeds with a probability of at most 5 %."""
        return None if self.chance is None else chance_bound(self.chance, self.num_questions)


@dataclass(kw_only=True)
class Score(Accuracy):
    """The accuracy on one benchmark, and where the answers are that it can be recomputed from.

    `scoring` is how answers were read from the model, `predictions` the JSONL file relative to the run's folder.
    """

    by_category: dict[str, Accuracy] = field(default_factory=dict)
    scoring: str = ""
    predictions: str = ""


def score(predictions: Predictions, *, scoring: str = "", file: str = "", seed: int = 0) -> Score:
    """The score of a benchmark's answers, over all questions (micro) and over each category.

    Args:
        predictions: Answers to all questions of the benchmark.
        scoring: How the answers were read from the model.
        file: Where the predictions are stored, relative to the run's folder.
        seed: Seed of the bootstrap.
    """
    everything = np.ones(len(predictions), dtype=np.bool_)
    return Score(
        **asdict(_accuracy(predictions, everything, seed)),
        by_category={
            str(category): _accuracy(predictions, predictions.categories == category, seed)
            for category in np.unique(predictions.categories)
        },
        scoring=scoring,
        predictions=file,
    )


def _accuracy(predictions: Predictions, chosen: NDArray[np.bool_], seed: int) -> Accuracy:
    correct, num_questions = predictions.correct[chosen], int(chosen.sum())
    low, high = accuracy_interval(correct, predictions.videos[chosen], seed=seed)
    return Accuracy(
        accuracy=float(correct.mean()) if num_questions else None,
        low=low,
        high=high,
        chance=float((1 / predictions.num_options[chosen]).mean()) if num_questions else None,
        num_questions=num_questions,
        num_correct=int(correct.sum()),
        num_unanswered=int((~predictions.answered[chosen]).sum()),
    )
