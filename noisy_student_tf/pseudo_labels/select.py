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
from typing import Any

import numpy as np
from absl import logging

from noisy_student_tf import configs, files
from noisy_student_tf.pseudo_labels import cuts, published_rule, quotas, summary
from noisy_student_tf.records import parquet_files, predictions, shards

# Runs a function over shards, here or on many machines: (elements, function,
# merge) -> the merged results of all elements, of which there is one at least.
MapReduce = Callable[
    [Sequence[Any], Callable[[Any], Any], Callable[[Any, Any], Any]], Any
]


def one_by_one(
    elements: Sequence[Any],
    function: Callable[[Any], Any],
    merge: Callable[[Any, Any], Any],
) -> Any:
    """Run a function over shards in this process."""
    return functools.reduce(merge, map(function, elements))


# Rows to how often each is taken: int32 [num_rows].
_CopiesOf = Callable[[predictions.PredictedRows], np.ndarray]


# What is counted of each class while its rows are written, and how the counts
# of two files become one: int64 [num_classes], but float32 for the confidences,
# which are infinite without images. See `summary.ClassSummary`.
_MERGES = {
    "num_selected": np.add,
    "num_rows": np.add,
    "max_copies": np.maximum,
    "cut_confidences": np.minimum,
}
_Counts = dict[str, np.ndarray]


def _merge(first: _Counts, second: _Counts) -> _Counts:
    return {
        name: merge(first[name], second[name])
        for name, merge in _MERGES.items()
    }


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

    The seed decides between equal confidences, and who gets one copy more.

    Raises:
        FileNotFoundError: The predictions are missing or unfinished.
        ValueError: The predictions do not fit or are no probabilities, or
            `directory` holds a selection made otherwise.
    """
    manifest = predictions.read_manifest(
        predictions_directory, num_classes=num_classes
    )
    made_from = _made_from(manifest, selection, seed)
    if shards.is_finished(directory):
        return _finished(directory, made_from)
    files.make_directories(directory)
    files.remove_temporaries(directory)
    inputs = [
        files.join(predictions_directory, name) for name in manifest["shards"]
    ]
    quota = quotas.images_per_class(
        selection, num_images=manifest["num_images"], num_classes=num_classes
    )
    passes = _Passes(
        inputs, directory, selection, quota, num_classes, seed, map_reduce
    )
    select_rows = {"exact": _select_exactly, "published_histogram": _draw}
    classes = select_rows[selection.rule](passes)
    result = summary.Summary(
        images_per_class=quota,
        confidence_threshold=selection.confidence_threshold,
        classes=classes,
        warnings=summary.find_warnings(
            classes, selection=selection, quota=quota, class_names=class_names
        ),
    )
    _finish(passes, result, made_from)
    return result


@dataclasses.dataclass(frozen=True)
class _Passes:
    """Passes over the predictions files; see `select`."""

    inputs: list[str]
    directory: str
    selection: configs.SelectionConfig
    quota: int
    num_classes: int
    seed: int
    map_reduce: MapReduce

    @property
    def names(self) -> list[str]:
        """Return the selection files' names, one per predictions file."""
        count = len(self.inputs)
        return [predictions.selection_name(i, count) for i in range(count)]

    def over_rows(
        self, function: Any, merge: Any, with_ids: bool = True
    ) -> Any:
        """Return what a function makes of each file's rows, merged."""
        over_shard = functools.partial(
            _over_shard, function, self.num_classes, with_ids
        )
        return self.map_reduce(self.inputs, over_shard, merge)

    def write(self, copies_of: _CopiesOf) -> _Counts:
        """Write a selection file for each predictions file."""
        outputs = [files.join(self.directory, name) for name in self.names]
        return self.map_reduce(
            list(zip(self.inputs, outputs, strict=True)),
            functools.partial(_write_shard, copies_of, self.num_classes),
            _merge,
        )


def _select_exactly(passes: _Passes) -> tuple[summary.ClassSummary, ...]:
    """Write the most confident of each class; return what became of it."""
    found = passes.over_rows(
        functools.partial(
            cuts.count,
            confidence_threshold=passes.selection.confidence_threshold,
            num_classes=passes.num_classes,
        ),
        cuts.Counts.merge,
        with_ids=False,
    )
    num_above = found.num_above
    allotment = quotas.allot(
        num_above, selection=passes.selection, quota=passes.quota
    )
    ranking = cuts.Ranking(
        allotment, threshold_rank=found.threshold_rank, seed=passes.seed
    )
    cut = ranking.find_cuts(found, passes.over_rows)
    counts = passes.write(functools.partial(ranking.copies, cuts=cut))
    if not np.array_equal(counts["num_rows"], allotment.num_rows(num_above)):
        raise RuntimeError(
            f"{passes.inputs[0]} or a file beside it changed while it was "
            "read. Select again."
        )
    return summary.make_classes(
        num_images=found.num_images, num_above_threshold=num_above, **counts
    )


def _draw(passes: _Passes) -> tuple[summary.ClassSummary, ...]:
    """Do the same by the published rule."""
    grid = passes.over_rows(
        functools.partial(published_rule.count, num_classes=passes.num_classes),
        np.add,
        with_ids=False,
    )
    chosen, everything = (
        published_rule.select_thresholds(
            grid,
            confidence_threshold=passes.selection.confidence_threshold,
            images_per_class=wanted,
        )
        for wanted in (passes.quota, 2**62)
    )
    counts = passes.write(
        functools.partial(
            published_rule.draw, selection=chosen, seed=passes.seed
        )
    )
    return summary.make_classes(
        num_images=grid.sum(axis=1),
        num_above_threshold=everything.num_at_or_above,
        **counts,
    )


def _over_shard(
    function: Callable[[Iterator[predictions.PredictedRows]], Any],
    num_classes: int,
    with_ids: bool,
    path: str,
) -> Any:
    """Return what a function makes of the rows of one predictions file."""
    return function(
        predictions.read_rows(path, num_classes=num_classes, with_ids=with_ids)
    )


def _made_from(
    manifest: dict, selection: configs.SelectionConfig, seed: int
) -> dict:
    inherited = (
        predictions.TEACHER,
        predictions.UNLABELED,
        "num_images",
        "num_classes",
    )
    return {
        **{key: manifest[key] for key in inherited},
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


def _write_shard(
    copies_of: _CopiesOf, num_classes: int, task: tuple[str, str]
) -> _Counts:
    """Write the selection file of one predictions file."""
    path, output = task
    counts = {name: np.zeros(num_classes, np.int64) for name in _MERGES}
    counts["cut_confidences"] = np.full(num_classes, np.inf, np.float32)
    columns = predictions.selection_schema()
    with parquet_files.open_writer(output, columns) as writer:
        for rows in predictions.read_rows(path, num_classes=num_classes):
            copies = copies_of(rows)
            chosen = np.flatnonzero(copies)
            copies = copies[chosen]
            kept = predictions.PredictedRows(
                *(column[chosen] for column in vars(rows).values())
            )
            # With matching types, `at` is ten times as fast.
            classes = kept.class_ids.astype(np.int64)
            wide = copies.astype(np.int64)
            values: list[Any] = [np.int64(1), wide, wide, kept.confidences]
            for name, value in zip(_MERGES, values, strict=True):
                _MERGES[name].at(counts[name], classes, value)
            writer.write_batch(predictions.record_batch(columns, kept, copies))
    return counts


def _finish(passes: _Passes, result: summary.Summary, made_from: dict) -> None:
    files.write_json(
        files.join(passes.directory, summary.SUMMARY), summary.to_json(result)
    )
    for warning in result.warnings:
        logging.warning("%s", warning)
    shards.write_manifest(
        passes.directory, {**made_from, "shards": passes.names}
    )
    logging.info(
        "Selected %d of %d images, %d rows with their copies.",
        result.total("num_selected"),
        result.total("num_images"),
        result.total("num_rows"),
    )
