"""Select and balance pseudo-labeled images, exactly and in bounded memory.

Per class, the most confident images at or above the threshold are kept up to
the quota; classes with fewer get copies up to it. Equal confidences are
ordered by a hash of the id, and so is the draw of the images that get one copy
more, so the result depends on the images and the seed only: not on the number
or order of the files.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from absl import logging

from noisy_student_tf import configs, files
from noisy_student_tf.pseudo_labels import (
    cuts,
    published_rule,
    quotas,
    summary,
)
from noisy_student_tf.records import parquet_files, predictions, shards


class MapReduce(Protocol):
    """Runs a function over shards, here or on many machines."""

    def __call__(
        self,
        elements: Sequence[Any],
        function: Callable[[Any], Any],
        merge: Callable[[Any, Any], Any],
    ) -> Any:
        """Return the merged results of all elements, at least one."""


def one_by_one(
    elements: Sequence[Any],
    function: Callable[[Any], Any],
    merge: Callable[[Any, Any], Any],
) -> Any:
    """Run a function over shards in this process."""
    return functools.reduce(merge, map(function, elements))


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Per-class counts of the selected rows, filled while they are written.

    Attributes:
        num_selected: int64 [num_classes].
        num_rows: int64 [num_classes].
        max_copies: int64 [num_classes].
        cut_confidences: float32 [num_classes], infinite without images.
    """

    num_selected: np.ndarray
    num_rows: np.ndarray
    max_copies: np.ndarray
    cut_confidences: np.ndarray

    @classmethod
    def zeros(cls, num_classes: int) -> "_Counts":
        """Return counts of nothing."""
        num_selected, num_rows, max_copies = np.zeros(
            (3, num_classes), np.int64
        )
        cut_confidences = np.full(num_classes, np.inf, np.float32)
        return cls(num_selected, num_rows, max_copies, cut_confidences)

    def merge(self, other: "_Counts") -> "_Counts":
        """Return the counts of both."""
        return _Counts(
            self.num_selected + other.num_selected,
            self.num_rows + other.num_rows,
            np.maximum(self.max_copies, other.max_copies),
            np.minimum(self.cut_confidences, other.cut_confidences),
        )

    def add(self, rows: predictions.Rows, copies: np.ndarray) -> None:
        """Count selected rows, whose copies are int32 [num_rows]."""
        # With matching types, `at` is ten times as fast.
        classes = rows.class_ids.astype(np.int64)
        counts = copies.astype(np.int64)
        np.add.at(self.num_selected, classes, np.int64(1))
        np.add.at(self.num_rows, classes, counts)
        np.maximum.at(self.max_copies, classes, counts)
        np.minimum.at(self.cut_confidences, classes, rows.confidences)


def select(
    *,
    predictions_directory: str,
    directory: str,
    selection: configs.SelectionConfig,
    num_classes: int,
    seed: int,
    class_names: Sequence[str] = (),
    map_reduce: MapReduce = one_by_one,
) -> summary.Summary:
    """Write which images the student learns from, and how often.

    A finished selection is left alone and its summary returned.

    Args:
        predictions_directory: What `predict` wrote.
        directory: Where the selection files and `summary.json` appear.
        selection: Threshold, quota and balancing.
        num_classes: Classes of the predictions.
        seed: Decides between equal confidences, and who gets one copy more.
        class_names: What warnings call the classes; empty: by their numbers.
        map_reduce: Runs the passes over the shards.

    Raises:
        FileNotFoundError: The predictions are missing or unfinished.
        ValueError: The predictions do not fit or are no probabilities, or
            `directory` holds a selection made otherwise.
    """
    manifest = predictions.read_manifest(
        predictions_directory, num_classes=num_classes
    )
    made_from = _made_from(manifest, selection, num_classes, seed)
    if shards.is_finished(directory):
        return _finished(directory, made_from)
    paths = [
        files.join(predictions_directory, name) for name in manifest["shards"]
    ]
    quota = quotas.images_per_class(
        selection, num_images=manifest["num_images"], num_classes=num_classes
    )
    files.make_directories(directory)
    files.remove_temporaries(directory)
    job = _Job(paths, directory, selection, quota, num_classes, seed)
    select_rows = {"exact": _select_exactly, "published_histogram": _draw}
    classes = select_rows[selection.rule](job, map_reduce)
    result = summary.Summary(
        images_per_class=quota,
        confidence_threshold=selection.confidence_threshold,
        classes=classes,
        warnings=summary.find_warnings(
            classes,
            selection=selection,
            quota=quota,
            class_names=class_names,
        ),
    )
    _finish(directory, result, made_from, len(paths))
    return result


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is selected from, how, and where to."""

    paths: list[str]
    directory: str
    selection: configs.SelectionConfig
    quota: int
    num_classes: int
    seed: int


def _select_exactly(
    job: _Job, map_reduce: MapReduce
) -> tuple[summary.ClassSummary, ...]:
    """Write the selection files, and return what became of each class."""

    def over_rows(function: Any, merge: Any, with_ids: bool = True) -> Any:
        over_shard = functools.partial(
            _over_shard, function, job.num_classes, with_ids
        )
        return map_reduce(job.paths, over_shard, merge)

    found = over_rows(
        functools.partial(
            cuts.count,
            confidence_threshold=job.selection.confidence_threshold,
            num_classes=job.num_classes,
        ),
        cuts.merge_counts,
        with_ids=False,
    )
    num_above = found.num_above
    plan = quotas.make_plan(num_above, selection=job.selection, quota=job.quota)
    contest = cuts.Contest(
        plan, threshold_rank=found.threshold_rank, seed=job.seed
    )
    cut = contest.find_cuts(found, over_rows)
    copies = functools.partial(contest.copies, cuts=cut)
    counts = _write_all(job, copies, map_reduce)
    if not np.array_equal(counts.num_rows, plan.num_rows(num_above)):
        raise RuntimeError(
            f"{job.paths[0]} or a file beside it changed while it was read. "
            "Select again."
        )
    return summary.make_classes(
        num_images=found.num_images,
        num_above_threshold=num_above,
        **vars(counts),
    )


def _draw(job: _Job, map_reduce: MapReduce) -> tuple[summary.ClassSummary, ...]:
    """Do the same by the published rule."""
    over_shard = functools.partial(
        _over_shard,
        functools.partial(_grid, num_classes=job.num_classes),
        job.num_classes,
        False,
    )
    grid = map_reduce(job.paths, over_shard, np.add)
    threshold = job.selection.confidence_threshold
    chosen = published_rule.select_thresholds(
        grid, confidence_threshold=threshold, images_per_class=job.quota
    )
    everything = published_rule.select_thresholds(
        grid, confidence_threshold=threshold, images_per_class=2**62
    )
    draw = published_rule.Draw(chosen, seed=job.seed)
    counts = _write_all(job, draw.copies, map_reduce)
    return summary.make_classes(
        num_images=grid.sum(axis=1),
        num_above_threshold=everything.num_at_or_above,
        **vars(counts),
    )


def _grid(rows: Iterator[predictions.Rows], *, num_classes: int) -> np.ndarray:
    total = np.zeros((num_classes, published_rule.NUM_BINS), np.int64)
    for batch in rows:
        total += published_rule.histogram(
            batch.class_ids, batch.confidences, num_classes=num_classes
        )
    return total


def _over_shard(
    function: Callable[[Iterator[predictions.Rows]], Any],
    num_classes: int,
    with_ids: bool,
    path: str,
) -> Any:
    """Return what a function makes of the rows of one predictions file."""
    return function(
        predictions.read_rows(path, num_classes=num_classes, with_ids=with_ids)
    )


def _made_from(
    manifest: dict,
    selection: configs.SelectionConfig,
    num_classes: int,
    seed: int,
) -> dict:
    return {
        predictions.TEACHER: manifest[predictions.TEACHER],
        predictions.UNLABELED: manifest[predictions.UNLABELED],
        "num_images": manifest["num_images"],
        "num_classes": num_classes,
        "seed": seed,
        "configuration": dataclasses.asdict(selection),
    }


def _finished(directory: str, made_from: dict) -> summary.Summary:
    manifest = shards.read_manifest(directory)
    differing = sorted(
        key for key in made_from if manifest.get(key) != made_from[key]
    )
    if differing:
        raise ValueError(
            f"{directory} holds a selection with another {differing}. Remove "
            "the directory to select again."
        )
    return summary.read(directory)


_CopiesOf = Callable[[predictions.Rows], np.ndarray]


def _write_all(
    job: _Job, copies_of: _CopiesOf, map_reduce: MapReduce
) -> _Counts:
    """Write a selection file for each predictions file."""
    count = len(job.paths)
    tasks = [
        (
            path,
            files.join(job.directory, predictions.selection_name(index, count)),
        )
        for index, path in enumerate(job.paths)
    ]
    write = functools.partial(_write_shard, copies_of, job.num_classes)
    return map_reduce(tasks, write, _Counts.merge)


def _write_shard(
    copies_of: _CopiesOf, num_classes: int, task: tuple[str, str]
) -> _Counts:
    """Write the selection file of one predictions file."""
    path, output = task
    counts = _Counts.zeros(num_classes)
    with parquet_files.open_writer(
        output, predictions.selection_schema()
    ) as writer:
        for rows in predictions.read_rows(path, num_classes=num_classes):
            writer.write_batch(_selected(rows, copies_of(rows), counts))
    return counts


def _selected(
    rows: predictions.Rows, copies: np.ndarray, counts: _Counts
) -> pa.RecordBatch:
    chosen = np.flatnonzero(copies)
    kept = predictions.Rows(
        rows.class_ids[chosen], rows.confidences[chosen], rows.ids[chosen]
    )
    counts.add(kept, copies[chosen])
    return pa.record_batch(
        [
            parquet_files.fixed_bytes_array(kept.ids),
            pa.array(kept.class_ids),
            pa.array(kept.confidences),
            pa.array(copies[chosen]),
        ],
        schema=predictions.selection_schema(),
    )


def _finish(
    directory: str, result: summary.Summary, made_from: dict, num_shards: int
) -> None:
    files.write_json(
        files.join(directory, summary.SUMMARY), summary.to_json(result)
    )
    for warning in result.warnings:
        logging.warning("%s", warning)
    names = [
        predictions.selection_name(index, num_shards)
        for index in range(num_shards)
    ]
    shards.write_manifest(directory, {**made_from, "shards": names})
    logging.info(
        "Selected %d of %d images, %d rows with their copies.",
        result.total("num_selected"),
        result.total("num_images"),
        result.total("num_rows"),
    )
