"""The exact rank of the last winner of each class, in bounded memory.

Images are read several times. Each pass counts, per class, how many ranks
fall into each bin of the interval that holds the cut, and narrows the interval
to one bin, until the images left in all intervals are few enough to be
sorted. Memory is bounded by classes and bins, not by images. Every pass is a
function of one shard's rows, whose results are merged: shards may be read
anywhere and in any order.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from noisy_student_tf.pseudo_labels import quotas, ranks
from noisy_student_tf.records import predictions

# Cells of a histogram over all classes: 16 MB.
_HISTOGRAM_SIZE = 1 << 21
_MIN_BIN_BITS = 4
_MAX_BIN_BITS = 16
# Rows that are sorted in the end.
_MAX_CANDIDATES = 1 << 17

# Calls the first function with the rows of each shard, merges what it returns
# by the second one, and returns the result.
OverRows = Callable[
    [Callable[[Iterator[predictions.Rows]], Any], Callable[[Any, Any], Any]],
    Any,
]


@dataclasses.dataclass(frozen=True)
class Counts:
    """What the first pass over the images finds.

    Attributes:
        num_images: int64 [num_classes].
        histogram: int64 [num_classes, num_bins], ranks of the confidences at
            or above the threshold, in bins of equal width.
        bin_bits: Binary logarithm of the bins' width.
        threshold_rank: The last rank counted.
    """

    num_images: np.ndarray
    histogram: np.ndarray
    bin_bits: int
    threshold_rank: int

    @property
    def num_above(self) -> np.ndarray:
        """Images at or above the threshold: int64 [num_classes]."""
        return self.histogram.sum(axis=1)


def merge_counts(first: Counts, second: Counts) -> Counts:
    """Return the counts of the images of both."""
    return dataclasses.replace(
        first,
        num_images=first.num_images + second.num_images,
        histogram=first.histogram + second.histogram,
    )


def count(
    rows: Iterator[predictions.Rows],
    *,
    confidence_threshold: float,
    num_classes: int,
) -> Counts:
    """Count the images of one shard; their ids are not needed."""
    threshold_rank = int(
        ranks.confidence_ranks(np.float32(confidence_threshold))
    )
    index_bits = _index_bits(num_classes)
    bin_bits = max(threshold_rank.bit_length() - index_bits, 0)
    num_images = np.zeros(num_classes, np.int64)
    histogram = np.zeros(num_classes << index_bits, np.int64)
    for batch in rows:
        num_images += np.bincount(batch.class_ids, minlength=num_classes)
        row_ranks = ranks.confidence_ranks(batch.confidences)
        above = np.flatnonzero(row_ranks <= threshold_rank)
        _add_to_bins(
            histogram,
            batch.class_ids[above],
            row_ranks[above] >> np.uint32(bin_bits),
            index_bits,
        )
    return Counts(
        num_images,
        histogram.reshape(num_classes, -1),
        bin_bits,
        threshold_rank,
    )


def _index_bits(num_classes: int) -> int:
    """Return the binary logarithm of the bins of one class."""
    bits = (_HISTOGRAM_SIZE // num_classes).bit_length() - 1
    return min(max(bits, _MIN_BIN_BITS), _MAX_BIN_BITS)


def _add_to_bins(
    histogram: np.ndarray,
    classes: np.ndarray,
    bins: np.ndarray,
    index_bits: int,
) -> None:
    """Count rows in int64 [num_classes << index_bits]."""
    # With integers of the index's own type, `add.at` is ten times as fast.
    cells = (classes.astype(np.int64) << index_bits) + bins.astype(np.int64)
    np.add.at(histogram, cells, np.int64(1))


@dataclasses.dataclass(frozen=True)
class Cuts:
    """The last winner of each class, where it has winners.

    Attributes:
        keys: uint64 [num_classes], its rank.
        words: uint64 [num_classes, 2], its id, for equal ranks.
    """

    keys: np.ndarray
    words: np.ndarray


@dataclasses.dataclass
class _Intervals:
    """Where the cut of each class lies: [low, low + 2**num_bits).

    Attributes:
        low: uint64 [num_classes].
        num_bits: uint64 [num_classes].
        num_below: int64 [num_classes], ranks below the interval.
        num_inside: int64 [num_classes], ranks in it; 0 without winners.
    """

    low: np.ndarray
    num_bits: np.ndarray
    num_below: np.ndarray
    num_inside: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Candidates:
    """Rows in the intervals: int32 [n], uint64 [n], uint64 [n, 2]."""

    classes: np.ndarray
    keys: np.ndarray
    words: np.ndarray


def _join(first: _Candidates, second: _Candidates) -> _Candidates:
    return _Candidates(
        np.concatenate([first.classes, second.classes]),
        np.concatenate([first.keys, second.keys]),
        np.concatenate([first.words, second.words]),
    )


class Contest:
    """Who of a class's images wins, under a plan and a seed."""

    def __init__(
        self, plan: quotas.Plan, *, threshold_rank: int, seed: int
    ) -> None:
        self._plan = plan
        self._threshold_rank = threshold_rank
        self._seed = seed
        self._has_winners = plan.num_winners > 0

    def find_cuts(self, counts: Counts, over_rows: OverRows) -> Cuts:
        """Return the last winner of each class.

        Args:
            counts: Of all images.
            over_rows: Reads all rows at each call.
        """
        intervals = self._first_intervals(counts)
        while (
            intervals.num_inside.sum() > _MAX_CANDIDATES
            and intervals.num_bits[self._has_winners].any()
        ):
            histogram = over_rows(
                functools.partial(self._count_inside, intervals), np.add
            )
            self._choose_bins(
                intervals,
                histogram.reshape(len(intervals.low), -1),
                self._widths(intervals),
                self._has_winners,
            )
        if not self._has_winners.any():
            return _no_cuts(len(intervals.low))
        candidates = over_rows(
            functools.partial(self._candidates, intervals), _join
        )
        return self._sort_candidates(intervals, candidates)

    def copies(self, rows: predictions.Rows, cuts: Cuts) -> np.ndarray:
        """Return how often each row is taken: int32 [num_rows]."""
        classes = rows.class_ids
        row_ranks = ranks.confidence_ranks(rows.confidences)
        is_above = row_ranks <= self._threshold_rank
        copies = np.where(is_above, self._plan.floor_copies[classes], 0)
        cut_ranks = (cuts.keys >> np.uint64(ranks.CONFIDENCE_SHIFT)).astype(
            np.uint32
        )[classes]
        by_confidence = self._plan.by_confidence[classes]
        runs = is_above & self._has_winners[classes]
        copies[runs & by_confidence & (row_ranks < cut_ranks)] += 1
        near = np.flatnonzero(
            runs & (~by_confidence | (row_ranks == cut_ranks))
        )
        words = ranks.id_words(rows.ids[near])
        keys = self._keys(classes[near], row_ranks[near], words)
        copies[near] += _is_winner(
            keys, words, cuts.keys[classes[near]], cuts.words[classes[near]]
        )
        return copies.astype(np.int32)

    def _first_intervals(self, counts: Counts) -> _Intervals:
        """Return the first pass's bins, and all hashes where they decide."""
        by_confidence = self._plan.by_confidence
        num_classes = len(by_confidence)
        width = counts.bin_bits + ranks.CONFIDENCE_SHIFT
        intervals = _Intervals(
            low=np.zeros(num_classes, np.uint64),
            num_bits=np.full(num_classes, ranks.HASH_BITS, np.uint64),
            num_below=np.zeros(num_classes, np.int64),
            num_inside=np.where(self._has_winners, counts.num_above, 0),
        )
        self._choose_bins(
            intervals,
            counts.histogram,
            np.where(by_confidence, width, ranks.HASH_BITS).astype(np.uint64),
            by_confidence,
        )
        return intervals

    def _keys(
        self, classes: np.ndarray, row_ranks: np.ndarray, words: np.ndarray
    ) -> np.ndarray:
        """Return the integer by which a row competes: uint64 [num_rows]."""
        by_confidence = self._plan.by_confidence[classes]
        keys = ranks.hashes(words, seed=self._seed, purpose="copies")
        tied = words[by_confidence]
        ties = ranks.hashes(tied, seed=self._seed, purpose="ties")
        high = row_ranks[by_confidence].astype(np.uint64)
        shift = np.uint64(ranks.CONFIDENCE_SHIFT)
        keys[by_confidence] = (high << shift) | (
            ties >> np.uint64(ranks.HASH_BITS - ranks.CONFIDENCE_SHIFT)
        )
        return keys

    def _inside(
        self, intervals: _Intervals, rows: predictions.Rows
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return classes, keys and id words of the rows in the intervals."""
        shift = np.uint64(ranks.CONFIDENCE_SHIFT)
        last = intervals.low + (np.uint64(1) << intervals.num_bits) - 1
        row_ranks = ranks.confidence_ranks(rows.confidences)
        classes = rows.class_ids
        # By their confidences first: hashing all ids would take longer.
        is_near = ~self._plan.by_confidence[classes] | (
            (row_ranks >= (intervals.low >> shift)[classes])
            & (row_ranks <= (last >> shift)[classes])
        )
        is_near &= self._has_winners[classes]
        is_near &= row_ranks <= self._threshold_rank
        near = np.flatnonzero(is_near)
        classes = classes[near]
        words = ranks.id_words(rows.ids[near])
        keys = self._keys(classes, row_ranks[near], words)
        inside = (keys >= intervals.low[classes]) & (keys <= last[classes])
        return classes[inside], keys[inside], words[inside]

    def _widths(self, intervals: _Intervals) -> np.ndarray:
        """Return binary logarithms of the next bins: uint64 [num_classes]."""
        index_bits = _index_bits(len(intervals.low))
        widths = intervals.num_bits.astype(np.int64) - index_bits
        return np.maximum(widths, 0).astype(np.uint64)

    def _count_inside(
        self, intervals: _Intervals, rows: Iterator[predictions.Rows]
    ) -> np.ndarray:
        """Count rows by bins of the intervals: int64 [classes * bins]."""
        num_classes = len(intervals.low)
        index_bits = _index_bits(num_classes)
        widths = self._widths(intervals)
        histogram = np.zeros(num_classes << index_bits, np.int64)
        for batch in rows:
            classes, keys, _ = self._inside(intervals, batch)
            bins = (keys - intervals.low[classes]) >> widths[classes]
            _add_to_bins(histogram, classes, bins, index_bits)
        return histogram

    def _candidates(
        self, intervals: _Intervals, rows: Iterator[predictions.Rows]
    ) -> _Candidates:
        """Return the rows in the intervals."""
        found = [self._inside(intervals, batch) for batch in rows]
        empty = (
            np.zeros(0, np.int32),
            np.zeros(0, np.uint64),
            np.zeros((0, 2), np.uint64),
        )
        return _Candidates(
            *(
                np.concatenate(parts)
                for parts in zip(empty, *found, strict=True)
            )
        )

    def _choose_bins(
        self,
        intervals: _Intervals,
        counts: np.ndarray,
        widths: np.ndarray,
        classes: np.ndarray,
    ) -> None:
        """Narrow the intervals of some classes to the bin with the cut.

        Args:
            intervals: What is narrowed.
            counts: int64 [num_classes, num_bins], over the whole interval.
            widths: uint64 [num_classes], binary logarithm of a bin's width.
            classes: bool [num_classes], whose interval is narrowed.
        """
        totals = counts.cumsum(axis=1)
        missing = self._plan.num_winners - intervals.num_below
        chosen = (totals >= missing[:, None]).argmax(axis=1)
        each = np.flatnonzero(classes)
        chosen = chosen[each]
        inside = counts[each, chosen]
        intervals.low[each] += chosen.astype(np.uint64) << widths[each]
        intervals.num_bits[each] = widths[each]
        intervals.num_below[each] += totals[each, chosen] - inside
        intervals.num_inside[each] = inside

    def _sort_candidates(
        self, intervals: _Intervals, found: _Candidates
    ) -> Cuts:
        """Find the last winner among the few rows left in the intervals."""
        num_classes = len(intervals.low)
        cuts = _no_cuts(num_classes)
        words = found.words
        order = np.lexsort(
            (words[:, 1], words[:, 0], found.keys, found.classes)
        )
        starts = np.searchsorted(found.classes[order], np.arange(num_classes))
        places = starts + self._plan.num_winners - intervals.num_below - 1
        last = order[places[self._has_winners]]
        cuts.keys[self._has_winners] = found.keys[last]
        cuts.words[self._has_winners] = words[last]
        return cuts


def _no_cuts(num_classes: int) -> Cuts:
    return Cuts(
        np.zeros(num_classes, np.uint64),
        np.zeros((num_classes, 2), np.uint64),
    )


def _is_winner(
    keys: np.ndarray,
    words: np.ndarray,
    cut_keys: np.ndarray,
    cut_words: np.ndarray,
) -> np.ndarray:
    """Compare ranks, then ids, with those of the last winner."""
    id_is_before = (words[:, 0] < cut_words[:, 0]) | (
        (words[:, 0] == cut_words[:, 0]) & (words[:, 1] <= cut_words[:, 1])
    )
    return (keys < cut_keys) | ((keys == cut_keys) & id_is_before)
