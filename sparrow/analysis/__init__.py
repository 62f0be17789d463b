"""Statistics on answers: scores, intervals and paired tests."""

from sparrow.analysis.answers import Predictions, read_predictions
from sparrow.analysis.paired import paired_difference
from sparrow.analysis.scores import score

__all__ = ["Predictions", "paired_difference", "read_predictions", "score"]
