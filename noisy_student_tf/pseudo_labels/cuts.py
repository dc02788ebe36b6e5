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
    [
        Callable[[Iterator[predictions.PredictedRows]], Any],
        Callable[[Any, Any], Any],
    ],
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

    def merge(self, other: "Counts") -> "Counts":
        """Return the counts of the images of both."""
        return dataclasses.replace(
            self,
            num_images=self.num_images + other.num_images,
            histogram=self.histogram + other.histogram,
        )


def count(
    rows: Iterator[predictions.PredictedRows],
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
    histogram = np.zeros((num_classes, 1 << index_bits), np.int64)
    for batch in rows:
        num_images += np.bincount(batch.class_ids, minlength=num_classes)
        row_ranks = ranks.confidence_ranks(batch.confidences)
        above = np.flatnonzero(row_ranks <= threshold_rank)
        _add_to_bins(
            histogram,
            batch.class_ids[above],
            row_ranks[above] >> np.uint32(bin_bits),
        )
    return Counts(num_images, histogram, bin_bits, threshold_rank)


def _index_bits(num_classes: int) -> int:
    """Return the binary logarithm of the bins of one class."""
    bits = (_HISTOGRAM_SIZE // num_classes).bit_length() - 1
    return min(max(bits, _MIN_BIN_BITS), _MAX_BIN_BITS)


def _add_to_bins(
    histogram: np.ndarray, classes: np.ndarray, bins: np.ndarray
) -> None:
    """Count rows in int64 [num_classes, num_bins]."""
    # Flat, and of the index's own integers, `add.at` is ten times as fast.
    places = (classes, bins.astype(np.int64))
    cells = np.ravel_multi_index(places, histogram.shape)
    np.add.at(histogram.reshape(-1), cells, np.int64(1))


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


def _widths(intervals: _Intervals) -> np.ndarray:
    """Return binary logarithms of the next bins' widths: uint64 [classes]."""
    index_bits = _index_bits(len(intervals.low))
    widths = intervals.num_bits.astype(np.int64) - index_bits
    return np.maximum(widths, 0).astype(np.uint64)


# Classes and positions of some rows: int32 [n], uint64 [n, 3].
_Found = tuple[np.ndarray, np.ndarray]


def _join(first: _Found, second: _Found) -> _Found:
    classes, positions = map(np.concatenate, zip(first, second, strict=True))
    return classes, positions


class Ranking:
    """The order of each class's images, which decides who wins a copy.

    An image's position is three integers, of which the first that differs
    from another image's decides: its rank, and for equal ranks its id.
    """

    def __init__(
        self, allotment: quotas.Allotment, *, threshold_rank: int, seed: int
    ) -> None:
        """Say what is to be won.

        Args:
            allotment: How many of a class win, and by what.
            threshold_rank: The last rank of confidence that takes part.
            seed: Orders equal confidences, and draws.
        """
        self._allotment = allotment
        self._threshold_rank = threshold_rank
        self._seed = seed
        self._has_winners = allotment.num_winners > 0

    def find_cuts(self, counts: Counts, over_rows: OverRows) -> np.ndarray:
        """Return the last winner's position: uint64 [num_classes, 3].

        It means nothing where a class has no winners.

        `over_rows` reads all rows at each call.
        """
        num_classes = len(counts.num_images)
        cuts = np.zeros((num_classes, 3), np.uint64)
        if not self._has_winners.any():
            return cuts
        intervals = self._first_intervals(counts)
        while (
            intervals.num_inside.sum() > _MAX_CANDIDATES
            and intervals.num_bits[self._has_winners].any()
        ):
            histogram = over_rows(
                functools.partial(self._count_inside, intervals), np.add
            )
            self._choose_bins(
                intervals, histogram, _widths(intervals), self._has_winners
            )
        found = over_rows(functools.partial(self._find, intervals), _join)
        cuts[self._has_winners] = self._last_winners(intervals, found)
        return cuts

    def copies(
        self, rows: predictions.PredictedRows, cuts: np.ndarray
    ) -> np.ndarray:
        """Return how often each row is taken: int32 [num_rows].

        The rows have their ids; `cuts` are what `find_cuts` returned.
        """
        classes = rows.class_ids
        row_ranks = ranks.confidence_ranks(rows.confidences)
        is_above = row_ranks <= self._threshold_rank
        copies = np.where(is_above, self._allotment.floor_copies[classes], 0)
        cut_ranks = cuts[:, 0] >> np.uint64(ranks.CONFIDENCE_SHIFT)
        cut_ranks = cut_ranks.astype(np.uint32)[classes]
        by_confidence = self._allotment.by_confidence[classes]
        runs = is_above & self._has_winners[classes]
        copies[runs & by_confidence & (row_ranks < cut_ranks)] += 1
        near = np.flatnonzero(
            runs & (~by_confidence | (row_ranks == cut_ranks))
        )
        positions = self._positions(
            classes[near], row_ranks[near], rows.ids[near]
        )
        last = cuts[classes[near]]
        column = (positions != last).argmax(axis=1)
        each = np.arange(len(near))
        copies[near] += positions[each, column] <= last[each, column]
        return copies.astype(np.int32)

    def _first_intervals(self, counts: Counts) -> _Intervals:
        """Return the first pass's bins, and all hashes where they decide."""
        by_confidence = self._allotment.by_confidence
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

    def _positions(
        self, classes: np.ndarray, row_ranks: np.ndarray, ids: np.ndarray
    ) -> np.ndarray:
        """Return the positions of rows: uint64 [num_rows, 3]."""
        words = ranks.id_words(ids)
        by_confidence = self._allotment.by_confidence[classes]
        keys = ranks.hashes(words, seed=self._seed, purpose="copies")
        tied = words[by_confidence]
        ties = ranks.hashes(tied, seed=self._seed, purpose="ties")
        high = row_ranks[by_confidence].astype(np.uint64)
        shift = np.uint64(ranks.CONFIDENCE_SHIFT)
        keys[by_confidence] = (high << shift) | (
            ties >> np.uint64(ranks.HASH_BITS - ranks.CONFIDENCE_SHIFT)
        )
        return np.column_stack([keys, words])

    def _inside(
        self, intervals: _Intervals, rows: predictions.PredictedRows
    ) -> _Found:
        """Return classes and positions of the rows in the intervals."""
        shift = np.uint64(ranks.CONFIDENCE_SHIFT)
        last = intervals.low + (np.uint64(1) << intervals.num_bits) - 1
        row_ranks = ranks.confidence_ranks(rows.confidences)
        classes = rows.class_ids
        # By their confidences first: hashing all ids would take longer.
        is_near = ~self._allotment.by_confidence[classes] | (
            (row_ranks >= (intervals.low >> shift)[classes])
            & (row_ranks <= (last >> shift)[classes])
        )
        is_near &= self._has_winners[classes]
        is_near &= row_ranks <= self._threshold_rank
        near = np.flatnonzero(is_near)
        classes = classes[near]
        positions = self._positions(classes, row_ranks[near], rows.ids[near])
        keys = positions[:, 0]
        inside = (keys >= intervals.low[classes]) & (keys <= last[classes])
        return classes[inside], positions[inside]

    def _count_inside(
        self, intervals: _Intervals, rows: Iterator[predictions.PredictedRows]
    ) -> np.ndarray:
        """Count rows by bins of the intervals: int64 [classes, bins]."""
        num_classes, widths = len(intervals.low), _widths(intervals)
        shape = (num_classes, 1 << _index_bits(num_classes))
        histogram = np.zeros(shape, np.int64)
        for batch in rows:
            classes, positions = self._inside(intervals, batch)
            keys = positions[:, 0]
            bins = (keys - intervals.low[classes]) >> widths[classes]
            _add_to_bins(histogram, classes, bins)
        return histogram

    def _find(
        self, intervals: _Intervals, rows: Iterator[predictions.PredictedRows]
    ) -> _Found:
        """Return the rows in the intervals."""
        nothing = (np.zeros(0, np.int32), np.zeros((0, 3), np.uint64))
        inside = (self._inside(intervals, batch) for batch in rows)
        return functools.reduce(_join, inside, nothing)

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
        missing = self._allotment.num_winners - intervals.num_below
        each = np.flatnonzero(classes)
        chosen = (totals >= missing[:, None]).argmax(axis=1)[each]
        inside = counts[each, chosen]
        intervals.low[each] += chosen.astype(np.uint64) << widths[each]
        intervals.num_bits[each] = widths[each]
        intervals.num_below[each] += totals[each, chosen] - inside
        intervals.num_inside[each] = inside

    def _last_winners(self, intervals: _Intervals, found: _Found) -> np.ndarray:
        """Return the position of the last winner of each class that has any."""
        classes, positions = found
        order = np.lexsort((*positions.T[::-1], classes))
        starts = np.searchsorted(classes[order], np.arange(len(intervals.low)))
        places = starts + self._allotment.num_winners - intervals.num_below - 1
        return positions[order[places[self._has_winners]]]
