"""Benchmarks, scoring, reading of replies, and predictions; what is imported here needs no model."""

from typing import TYPE_CHECKING

from sparrow.core.lazy import exports

if TYPE_CHECKING:
    from sparrow.evaluation.formats import read_benchmark
    from sparrow.evaluation.predictions import read_predictions
    from sparrow.evaluation.replies import read_choice

__all__ = ["read_benchmark", "read_choice", "read_predictions"]

__getattr__ = exports(
    __name__, {"read_benchmark": "formats", "read_choice": "replies", "read_predictions": "predictions"}
)
