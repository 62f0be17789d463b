"""From an optimizer step to rows: which samples share a micro-batch, and which rank computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WINDOW_STEPS = 50


def best_fit(lengths: np.ndarray, capacity: int) -> list[np.ndarray]:
    """Pack by best-fit decreasing: the longest first, each where it leaves the least room.

    The rooms that some bin has are the bits of one integer, so that the smallest one that suffices is found at once.

    No length is above the capacity. The members of a bin are returned as indices, longest first.
    """
    order = np.argsort(-lengths, kind="stable")
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0
    bins: list[list[int]] = []
    for index, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            target = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, target = capacity, len(bins)
            bins.append([])
        bins[target].append(index)
        with_room[room - length].append(target)
        rooms |= 1 << (room - length)
    return [np.asarray(members, dtype=np.int64) for members in bins]


def deal(costs: np.ndarray, room: Sequence[int]) -> list[list[int]]:
    """Deal items to ranks so that the sums of their costs lie close.

    Dearest first, each to the cheapest rank with room: Graham's LPT rule (1969) with a limit on the number of items.

    `room` says how many items each rank takes, together at least all of them; indices are returned, dearest first.
    """
    dearest_first: list[int] = np.argsort(-costs, kind="stable").tolist()
    if len(room) == 1:
        return [dearest_first]
    shares: list[list[int]] = [[] for _ in room]
    loads = np.zeros(len(room))
    for item in dearest_first:
        free = [rank for rank, share in enumerate(shares) if len(share) < room[rank]]
        target = min(free, key=loads.__getitem__)
        shares[target].append(item)
        loads[target] += costs[item]
    return shares


def padded_step(lengths: np.ndarray, micro_batch_size: int, world_size: int) -> list[list[np.ndarray]]:
    """Padded micro-batches of a step for every rank, samples of similar lengths together.

    Shares differ by one sample at most, their token sums as little as `deal` manages.
    """
    fewest, remainder = divmod(len(lengths), world_size)
    shares = deal(lengths, [fewest + (rank < remainder) for rank in range(world_size)])
    arrays = [np.asarray(share, dtype=np.int64) for share in shares]
    return _equally_many(
        [[a[begin : begin + micro_batch_size] for begin in range(0, len(a), micro_batch_size)] for a in arrays]
    )


def packed_step(lengths: np.ndarray, costs: np.ndarray, capacity: int, world_size: int) -> list[list[np.ndarray]]:
    """Packed micro-batches of a step for every rank: as few as hold the samples, of nearly equal costs.

    The samples are dealt to ranks by cost first, so that no rank waits long for another at the end of the step.

    No length is above the capacity. Every rank gets equally many micro-batches, each the indices of its samples, the
    dearest first.
    """
    shares = [np.asarray(share, dtype=np.int64) for share in deal(costs, [len(lengths)] * world_size)]
    num_rows = max(1, *(-(-int(lengths[share].sum()) // capacity) for share in shares))
    while True:
        packed = [_rows(lengths[share], costs[share], capacity, num_rows) for share in shares]
        if all(rows is not None for rows in packed):
            break
        num_rows += 1
    own = [[share[row] for row in rows] for share, rows in zip(shares, packed, strict=True) if rows is not None]
    return _equally_many([sorted(rows, key=lambda row: -costs[row].sum()) for rows in own])


def _rows(lengths: np.ndarray, costs: np.ndarray, capacity: int, num_rows: int) -> list[np.ndarray] | None:
    """At most so many rows, of equal costs where that fits, else packed tightly; None where neither does."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    loads, rooms = np.zeros(num_rows), np.full(num_rows, capacity)
    for index in np.argsort(-costs, kind="stable").tolist():
        target = int(np.where(rooms >= lengths[index], loads, np.inf).argmin())
        if rooms[target] < lengths[index]:
            tight = best_fit(lengths, capacity)
            return tight if len(tight) <= num_rows else None
        rows[target].append(index)
        loads[target] += costs[index]
        rooms[target] -= lengths[index]
    return [np.asarray(row, dtype=np.int64) for row in rows if row]


def deal_rows(rows: Sequence[np.ndarray], costs: np.ndarray, world_size: int) -> list[list[np.ndarray]]:
    """Deal packed rows to ranks, equally many to each, the dearest of every rank first."""
    row_costs = np.array([costs[row].sum() for row in rows])
    num_each = -(-len(rows) // world_size)
    shares = deal(row_costs, [num_each] * world_size)
    return _equally_many([[rows[index] for index in share] for share in shares])


def _equally_many(shares: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    most = max(len(share) for share in shares)
    nothing = np.empty(0, dtype=np.int64)
    return [share + [nothing] * (most - len(share)) for share in shares]


def length_grouped(order: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Steps of samples of similar lengths: sorted by length inside windows of `WINDOW_STEPS` steps.

    As the length-grouped sampler of Hugging Face's Trainer, but the steps of a window are not in order of length.

    `order` has the samples as they would be shown, as indices of `lengths`.
    """
    steps: list[np.ndarray] = []
    for begin in range(0, len(order), WINDOW_STEPS * batch_size):
        window = order[begin : begin + WINDOW_STEPS * batch_size]
        by_length = window[np.argsort(-lengths[window], kind="stable")]
        groups = [by_length[first : first + batch_size] for first in range(0, len(window), batch_size)]
        # The steps follow each other as their earliest samples do in the given order.
        place = {int(sample): number for number, sample in enumerate(window)}
        steps += sorted(groups, key=lambda group: min(place[int(sample)] for sample in group))
    return steps


def packed_epoch(order: np.ndarray, lengths: np.ndarray, capacity: int, batch_size: int) -> list[list[np.ndarray]]:
    """Steps of packed rows, the rows packed from a whole epoch.

    `order` has the samples as they would be shown, as indices of `lengths`. A step has `batch_size` samples on average;
    all but the last have equally many rows.
    """
    rows = [order[members] for members in best_fit(lengths[order], capacity)]
    place = {int(sample): number for number, sample in enumerate(order)}
    rows.sort(key=lambda row: place[int(row[-1])])
    rows_a_step = max(1, round(batch_size * len(rows) / max(1, len(order))))
    return [rows[begin : begin + rows_a_step] for begin in range(0, len(rows), rows_a_step)]
