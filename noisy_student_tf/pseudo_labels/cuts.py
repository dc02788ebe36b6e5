"""The exact rank of the last winner of each class, in bounded memory.

Images are read several times. Each pass counts, per class, how many ranks
fall into each bin of the interval that holds the cut, and narrows the interval
to one bin, until the images left in all intervals are few enough to be
sorted. Memory is bounded by classes and bins, not by images.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from noisy_student_tf.pseudo_labels import quotas, ranks
from noisy_student_tf.records import predictions

# Cells of a histogram over all classes: 16 MB.
_HISTOGRAM_SIZE = 1 << 21
_MIN_BIN_BITS = 4
_MAX_BIN_BITS = 16
# Rows that are sorted in the end.
_MAX_CANDIDATES = 1 << 17

ReadRows = Callable[[], Iterator[predictions.Rows]]


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


def count(
    rows: Iterator[predictions.Rows],
    *,
    confidence_threshold: float,
    num_classes: int,
) -> Counts:
    """Count all images; their ids are not needed."""
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


class Contest:
    """Who of a class's images wins, under a plan and a seed."""

    def __init__(self, plan: quotas.Plan, *, counts: Counts, seed: int) -> None:
        self._plan = plan
        self._counts = counts
        self._seed = seed
        self._has_winners = plan.num_winners > 0

    def find_cuts(self, read_rows: ReadRows) -> Cuts:
        """Return the last winner of each class.

        Args:
            read_rows: Yields all rows, from the start at each call.
        """
        intervals = self._first_intervals()
        while (
            intervals.num_inside.sum() > _MAX_CANDIDATES
            and intervals.num_bits[self._has_winners].any()
        ):
            self._narrow(intervals, read_rows())
        return self._sort_candidates(intervals, read_rows())

    def copies(self, rows: predictions.Rows, cuts: Cuts) -> np.ndarray:
        """Return how often each row is taken: int32 [num_rows]."""
        classes = rows.class_ids
        row_ranks = ranks.confidence_ranks(rows.confidences)
        is_above = row_ranks <= self._counts.threshold_rank
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

    def _first_intervals(self) -> _Intervals:
        """Return the first pass's bins, and all hashes where they decide."""
        by_confidence = self._plan.by_confidence
        num_classes = len(by_confidence)
        width = self._counts.bin_bits + ranks.CONFIDENCE_SHIFT
        intervals = _Intervals(
            low=np.zeros(num_classes, np.uint64),
            num_bits=np.full(num_classes, ranks.HASH_BITS, np.uint64),
            num_below=np.zeros(num_classes, np.int64),
            num_inside=np.where(self._has_winners, self._counts.num_above, 0),
        )
        self._choose_bins(
            intervals,
            self._counts.histogram,
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
        is_near &= row_ranks <= self._counts.threshold_rank
        near = np.flatnonzero(is_near)
        classes = classes[near]
        words = ranks.id_words(rows.ids[near])
        keys = self._keys(classes, row_ranks[near], words)
        inside = (keys >= intervals.low[classes]) & (keys <= last[classes])
        return classes[inside], keys[inside], words[inside]

    def _narrow(
        self, intervals: _Intervals, rows: Iterator[predictions.Rows]
    ) -> None:
        """Narrow each interval to the bin that holds the cut."""
        num_classes = len(intervals.low)
        index_bits = _index_bits(num_classes)
        widths = np.maximum(
            intervals.num_bits.astype(np.int64) - index_bits, 0
        ).astype(np.uint64)
        histogram = np.zeros(num_classes << index_bits, np.int64)
        for batch in rows:
            classes, keys, _ = self._inside(intervals, batch)
            bins = (keys - intervals.low[classes]) >> widths[classes]
            _add_to_bins(histogram, classes, bins, index_bits)
        self._choose_bins(
            intervals,
            histogram.reshape(num_classes, -1),
            widths,
            self._has_winners,
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
        self, intervals: _Intervals, rows: Iterator[predictions.Rows]
    ) -> Cuts:
        """Find the last winner among the few rows left in the intervals."""
        num_classes = len(intervals.low)
        cuts = Cuts(
            np.zeros(num_classes, np.uint64),
            np.zeros((num_classes, 2), np.uint64),
        )
        if not self._has_winners.any():
            return cuts
        found = [self._inside(intervals, batch) for batch in rows]
        classes, keys, words = (
            np.concatenate(parts) for parts in zip(*found, strict=True)
        )
        order = np.lexsort((words[:, 1], words[:, 0], keys, classes))
        starts = np.searchsorted(classes[order], np.arange(num_classes))
        places = starts + self._plan.num_winners - intervals.num_below - 1
        last = order[places[self._has_winners]]
        cuts.keys[self._has_winners] = keys[last]
        cuts.words[self._has_winners] = words[last]
        return cuts


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
