"""Which 64-bit hashes lie within a Hamming distance of each other.

The bits are divided into blocks, two more than the distance: hashes within it
agree in two whole blocks at least. For every pair of blocks, those that agree
there are found by sorting, and only they are compared. At distance 4 that is
21 bits, so of a million hashes less than one is compared by chance for each of
the 15 pairs.
"""

import itertools
from collections.abc import Iterator

import numpy as np

_NUM_BITS = 64
# Blocks in which near hashes agree at least.
_AGREEING = 2
# Pairs compared at once: 64 MB.
_MAX_PAIRS = 1 << 21


def masks(max_bits: int) -> list[int]:
    """Return masks, one of which two hashes within the distance agree under."""
    if not max_bits:
        return [(1 << _NUM_BITS) - 1]
    count = max_bits + _AGREEING
    bounds = [_NUM_BITS * index // count for index in range(count + 1)]
    blocks = [
        ((1 << (end - start)) - 1) << start
        for start, end in itertools.pairwise(bounds)
    ]
    return [sum(chosen) for chosen in itertools.combinations(blocks, _AGREEING)]


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how many bits differ: uint64 [n], uint64 [n] -> uint8 [n]."""
    return np.bitwise_count(first ^ second)


def nearest(
    queries: np.ndarray, references: np.ndarray, *, max_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest reference of each query, if there is one near.

    Args:
        queries: uint64 [num_queries].
        references: uint64 [num_references].
        max_bits: The greatest distance.

    Returns:
        int64 [num_queries], the reference's place, the first of several, -1
        where none is near; uint8 [num_queries], its distance, 255 where none.
    """
    found = np.full(len(queries), -1, np.int64)
    best = np.full(len(queries), 255, np.uint8)
    for mask in masks(max_bits):
        keys = references & np.uint64(mask)
        order = np.argsort(keys, kind="stable")
        for rows, places in _candidates(queries & np.uint64(mask), keys[order]):
            others = order[places]
            apart = distances(queries[rows], references[others])
            is_near = apart <= max_bits
            _keep_nearest(
                found, best, rows[is_near], others[is_near], apart[is_near]
            )
    return found, best


def _candidates(
    keys: np.ndarray, sorted_keys: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (row, place) of equal keys, in parts of bounded size."""
    starts = np.searchsorted(sorted_keys, keys, "left")
    counts = np.searchsorted(sorted_keys, keys, "right") - starts
    rows = np.flatnonzero(counts)
    totals = np.cumsum(counts[rows])
    first = 0
    while first < len(rows):
        done = totals[first - 1] if first else 0
        last = int(np.searchsorted(totals, done + _MAX_PAIRS, "right"))
        part = rows[first : max(last, first + 1)]
        first += len(part)
        repeated = np.repeat(part, counts[part])
        ends = np.cumsum(counts[part])
        steps = np.arange(ends[-1]) - np.repeat(
            ends - counts[part], counts[part]
        )
        yield repeated, starts[repeated] + steps


def _keep_nearest(
    found: np.ndarray,
    best: np.ndarray,
    rows: np.ndarray,
    others: np.ndarray,
    apart: np.ndarray,
) -> None:
    """Put pairs into the results where they are nearer, or as near, earlier."""
    order = np.lexsort((others, apart, rows))
    rows, others, apart = rows[order], others[order], apart[order]
    rows, first = np.unique(rows, return_index=True)
    others, apart = others[first], apart[first]
    is_better = (apart < best[rows]) | (
        (apart == best[rows]) & (others < found[rows])
    )
    chosen = rows[is_better]
    found[chosen], best[chosen] = others[is_better], apart[is_better]


def repeated(
    hashes: np.ndarray, ranks: np.ndarray, *, mask: int, max_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find hashes near one of a smaller rank, among those equal under a mask.

    Args:
        hashes: uint64 [n].
        ranks: uint64 [n], who stays: the smaller.
        mask: One of `masks`; all of them together find every pair.
        max_bits: The greatest distance.

    Returns:
        int64 [m], places of hashes that repeat another one, each once; int64
        [m], the other one's place, of the smallest rank found.
    """
    keys = hashes & np.uint64(mask)
    # Equal hashes lie side by side, the smallest rank first.
    order = np.lexsort((ranks, hashes, keys))
    is_first = np.ones(len(order), bool)
    is_first[1:] = hashes[order[1:]] != hashes[order[:-1]]
    # Of equal hashes only the first is compared with others.
    heads = order[is_first]
    tails = order[~is_first]
    tail_heads = heads[np.cumsum(is_first)[~is_first] - 1]
    losers, keepers = [tails], [tail_heads]
    near = np.arange(len(heads))
    for offset in range(1, len(heads)):
        near = near[near + offset < len(heads)]
        first, second = heads[near], heads[near + offset]
        is_same = keys[first] == keys[second]
        near, first, second = near[is_same], first[is_same], second[is_same]
        if not near.size:
            break
        is_near = distances(hashes[first], hashes[second]) <= max_bits
        first, second = first[is_near], second[is_near]
        first_stays = ranks[first] <= ranks[second]
        losers.append(np.where(first_stays, second, first))
        keepers.append(np.where(first_stays, first, second))
    return _smallest_keeper(
        np.concatenate(losers), np.concatenate(keepers), ranks
    )


def _smallest_keeper(
    losers: np.ndarray, keepers: np.ndarray, ranks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((ranks[keepers], losers))
    losers, first = np.unique(losers[order], return_index=True)
    return losers, keepers[order][first]
