"""Benchmarks, scoring, reading of replies, and predictions; what is imported here needs no model."""

from sparrow.evaluation.formats import read_benchmark
from sparrow.evaluation.predictions import read_predictions
from sparrow.evaluation.replies import read_choice

__all__ = ["read_benchmark", "read_choice", "read_predictions"]
