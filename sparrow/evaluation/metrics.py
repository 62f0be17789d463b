"""Scores of a benchmark, computed from its predictions alone; no question ever leaves the denominator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sparrow.core.errors import DataError
from sparrow.evaluation.predictions import Prediction

PAPER_MEANS = {
    "general": {"video_mme": "accuracy", "mvbench": "accuracy", "tempcompass": "categories.multi-choice.accuracy"},
    "long": {"video_mme": "groups.duration.long.accuracy", "longvideobench": "accuracy", "mlvu": "accuracy"},
}


def score(predictions: Iterable[Prediction]) -> dict[str, Any]:
    """Counts and accuracies, overall, by category and by every further group.

    `accuracy` is micro, the share of all questions; `macro_accuracy` is the mean over categories. An unanswered
    question is wrong. Questions without options need a judge: they are counted as `num_unscored` and nothing else.

    Returns:
        `num_questions, num_correct, num_unanswered, num_unscored, num_videos, accuracy, macro_accuracy, chance`,
        `categories` with the same counts for each category, and `groups` with them for each value of each group.

    Raises:
        DataError: If no prediction can be scored.
    """
    everything = list(predictions)
    scored = [p for p in everything if p.options]
    if not scored:
        raise DataError(
            f"none of {len(everything)} predictions can be scored", remedy="choose a benchmark with options"
        )
    categories = _counts_by(scored, lambda p: p.category)
    return {
        **_counts(scored),
        "macro_accuracy": sum(c["accuracy"] for c in categories.values()) / len(categories),
        "num_unscored": len(everything) - len(scored),
        "num_videos": len(video_counts(scored)),
        "categories": categories,
        "groups": {axis: _counts_in(axis, scored) for axis in sorted({axis for p in scored for axis in p.groups})},
    }


def video_counts(predictions: Iterable[Prediction]) -> dict[str, tuple[int, int]]:
    """Correct and asked questions of each video, the clusters of an interval: questions share videos.

    A question without a video is its own cluster.
    """
    counts: dict[str, list[bool]] = defaultdict(list)
    for prediction in predictions:
        if prediction.options:
            counts[prediction.video or f"question {prediction.question_id}"].append(prediction.correct)
    return {video: (sum(correct), len(correct)) for video, correct in sorted(counts.items())}


def pick(scores: Mapping[str, Any], path: str) -> float:
    """One number of what `score` returns, by its path: `categories.count.accuracy`.

    Raises:
        DataError: If the scores have no such number.
    """
    value: Any = scores
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise DataError(f"the scores have no {path!r}", remedy="check which questions were asked")
        value = value[name]
    return float(value)


def paper_means(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The means that the paper (arXiv 2411.19951) reports, of those benchmarks that are all there.

    Args:
        scores: What `score` returns, by benchmark format.

    Returns:
        `general` and `long`, or none of them.
    """
    return {
        name: sum(pick(scores[benchmark], path) for benchmark, path in parts.items()) / len(parts)
        for name, parts in PAPER_MEANS.items()
        if parts.keys() <= scores.keys()
    }


def _counts_in(axis: str, predictions: Sequence[Prediction]) -> dict[str, dict[str, Any]]:
    return _counts_by([p for p in predictions if axis in p.groups], lambda p: p.groups[axis])


def _counts_by(predictions: Sequence[Prediction], key: Callable[[Prediction], str]) -> dict[str, dict[str, Any]]:
    parts: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        parts[key(prediction)].append(prediction)
    return {name: _counts(part) for name, part in sorted(parts.items())}


def _counts(predictions: Sequence[Prediction]) -> dict[str, Any]:
    num_correct = sum(p.correct for p in predictions)
    return {
        "num_questions": len(predictions),
        "num_correct": num_correct,
        "num_unanswered": sum(p.choice is None for p in predictions),
        "accuracy": num_correct / len(predictions),
        "chance": sum(1 / len(p.options) for p in predictions) / len(predictions),
    }
