"""Bin packing of a million lengths, and how many of the computed tokens are useful, padded and packed, over 8 ranks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from sparrow.data.packing import best_fit, deal_rows, length_grouped, packed_epoch, packed_step, padded_step

TOKENS_A_FRAME = 98
VIDEO_FRAMES = 24
MAX_PAGES = 100
MEDIAN_PAGES = 20
CAPACITY = 10_240
RANKS, BATCH, MICRO_BATCH = 8, 64, 2

Shares = Sequence[Sequence[np.ndarray]]


def lengths_of(count: int) -> np.ndarray:
    """Half videos of 24 frames, half texts of 1 to 100 pages, with some words of chat; at most a row long."""
    generator = np.random.default_rng(0)
    pages = generator.lognormal(np.log(MEDIAN_PAGES), 0.7, count).clip(1, MAX_PAGES).astype(np.int64)
    frames = np.where(generator.random(count) < 0.5, VIDEO_FRAMES, pages)
    return np.minimum(frames * TOKENS_A_FRAME + generator.integers(50, 400, count), CAPACITY)


def steps(count: int) -> list[np.ndarray]:
    """Samples in the order they come, a batch a step."""
    return [np.arange(begin, begin + BATCH) for begin in range(0, count - BATCH + 1, BATCH)]


def in_order(step: np.ndarray) -> Shares:
    """The released way: micro-batches as the samples come, dealt to ranks in turn."""
    rows = step.reshape(-1, MICRO_BATCH)
    return [list(rows[rank::RANKS]) for rank in range(RANKS)]


def ways(lengths: np.ndarray) -> dict[str, tuple[bool, Iterator[Shares]]]:
    """Every way of batching: whether its rows are packed, and its micro-batches for every rank, a step at a time."""
    count, order = len(lengths), np.arange(len(lengths))

    def own(step: np.ndarray, shares: Shares) -> Shares:
        return [[step[row] for row in share] for share in shares]

    grouped = [step for step in length_grouped(order, lengths, BATCH) if len(step) == BATCH]
    return {
        "padded in order": (False, (in_order(step) for step in steps(count))),
        "padded": (False, (own(s, padded_step(lengths[s], MICRO_BATCH, RANKS)) for s in steps(count))),
        "length_grouped": (False, (own(s, padded_step(lengths[s], MICRO_BATCH, RANKS)) for s in grouped)),
        "packed": (True, (own(s, packed_step(lengths[s], lengths[s], CAPACITY, RANKS)) for s in steps(count))),
        "packed_epoch": (
            True,
            (deal_rows(rows, lengths, RANKS) for rows in packed_epoch(order, lengths, CAPACITY, BATCH)[:-1]),
        ),
    }


def main() -> None:
    """Print both tables."""
    many = lengths_of(1_000_000)
    began = time.perf_counter()
    bins = best_fit(many, CAPACITY)
    seconds = time.perf_counter() - began
    print(f"{len(many):,} lengths, mean {many.mean():.0f}, longest {many.max():,}, to rows of {CAPACITY:,}:")
    print(f"best fit {seconds:.2f} s, {len(bins):,} rows, {many.sum() / (len(bins) * CAPACITY):.4f} full\n")

    lengths = lengths_of(20_000)
    print(
        f"{RANKS} ranks, {BATCH} samples a step, {MICRO_BATCH} a padded micro-batch; useful tokens of each token that"
    )
    header = ("", "computed", "computed or waited for a step", "or a micro-batch", "micro-batches", "ms")
    print(" | ".join(header))
    for name, (packed, batches) in ways(lengths).items():
        useful = computed = slowest = slowest_each = 0
        counts = []
        began = time.perf_counter()
        for shares in batches:
            tokens = np.array(
                [
                    [lengths[row].sum() if packed or not len(row) else len(row) * lengths[row].max() for row in share]
                    for share in shares
                ]
            )
            useful += sum(int(lengths[row].sum()) for share in shares for row in share)
            computed += int(tokens.sum())
            slowest += RANKS * int(tokens.sum(axis=1).max())
            slowest_each += RANKS * int(tokens.max(axis=0).sum())
            counts.append(tokens.shape[1])
        took = (time.perf_counter() - began) / len(counts) * 1000
        figures = [f"{useful / total:.3f}" for total in (computed, slowest, slowest_each)]
        print(" | ".join([name, *figures, f"{np.mean(counts):.2f}", f"{took:.2f}"]))


if __name__ == "__main__":
    main()
