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

_HISTOGRAM_SIZE = 1 << 22
_MAX_CANDIDATES = 1 << 20

ReadRows = Callable[[], Iterator[predictions.Rows]]


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

    def __init__(
        self, plan: quotas.Plan, *, confidence_threshold: float, seed: int
    ) -> None:
        self._plan = plan
        self._seed = seed
        self.threshold_rank = ranks.confidence_ranks(
            np.float32(confidence_threshold)
        )
        self._has_winners = plan.num_winners > 0

    def find_cuts(self, read_rows: ReadRows, *, num_above: np.ndarray) -> Cuts:
        """Return the last winner of each class.

        Args:
            read_rows: Yields all rows, from the start at each call.
            num_above: int64 [num_classes], images above the threshold.
        """
        intervals = self._whole_intervals(num_above)
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
        is_above = row_ranks <= self.threshold_rank
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

    def _whole_intervals(self, num_above: np.ndarray) -> _Intervals:
        by_confidence = self._plan.by_confidence
        # Ranks above the threshold are at most this long.
        confidence_bits = (
            int(self.threshold_rank).bit_length() + ranks.CONFIDENCE_SHIFT
        )
        return _Intervals(
            low=np.zeros(num_above.shape, np.uint64),
            num_bits=np.where(
                by_confidence, confidence_bits, ranks.HASH_BITS
            ).astype(np.uint64),
            num_below=np.zeros(num_above.shape, np.int64),
            num_inside=np.where(self._has_winners, num_above, 0),
        )

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
        is_near &= row_ranks <= self.threshold_rank
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
        bin_bits = max(4, (_HISTOGRAM_SIZE // num_classes).bit_length() - 1)
        shifts = np.maximum(
            intervals.num_bits.astype(np.int64) - bin_bits, 0
        ).astype(np.uint64)
        histogram = np.zeros(num_classes << bin_bits, np.int64)
        for batch in rows:
            classes, keys, _ = self._inside(intervals, batch)
            bins = (keys - intervals.low[classes]) >> shifts[classes]
            cells = (classes.astype(np.int64) << bin_bits) + bins.astype(
                np.int64
            )
            np.add.at(histogram, cells, 1)
        counts = histogram.reshape(num_classes, -1)
        totals = counts.cumsum(axis=1) + intervals.num_below[:, None]
        is_reached = totals >= self._plan.num_winners[:, None]
        chosen = is_reached.argmax(axis=1)
        each = np.arange(num_classes)
        intervals.low += chosen.astype(np.uint64) << shifts
        intervals.num_bits = shifts
        intervals.num_below = totals[each, chosen] - counts[each, chosen]
        intervals.num_inside = np.where(
            self._has_winners, counts[each, chosen], 0
        )

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
