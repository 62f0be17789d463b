"""Statistics on answers: scores, intervals and paired tests."""

from typing import TYPE_CHECKING

from sparrow.core.lazy import exports

if TYPE_CHECKING:
    from sparrow.analysis.answers import Predictions, read_predictions
    from sparrow.analysis.paired import paired_difference
    from sparrow.analysis.scores import score

__all__ = ["Predictions", "paired_difference", "read_predictions", "score"]

__getattr__ = exports(
    __name__, Predictions="answers", paired_difference="paired", read_predictions="answers", score="scores"
)
