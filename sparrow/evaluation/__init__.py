"""Benchmarks, scoring, reading of replies, predictions and metrics."""
