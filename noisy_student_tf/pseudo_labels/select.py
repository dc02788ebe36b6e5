"""Select and balance pseudo-labeled images, exactly and in bounded memory.

Per class, the most confident images at or above the threshold are kept up to
the quota; classes with fewer get copies up to it. Equal confidences are
ordered by a hash of the id, and so is the draw of the images that get one copy
more, so the result depends on the images and the seed only: not on the number
or order of the files.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from absl import logging

from noisy_student_tf import config, files
from noisy_student_tf.pseudo_labels import cuts, quotas, summary
from noisy_student_tf.records import parquet_files, predictions, shards


@dataclasses.dataclass
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
    selection: config.SelectionConfig,
    num_classes: int,
    seed: int,
) -> summary.Summary:
    """Write which images the student learns from, and how often.

    A finished selection is left alone and its summary returned.

    Args:
        predictions_directory: What `predict` wrote.
        directory: Where the selection files and `summary.json` appear.
        selection: Threshold, quota and balancing.
        num_classes: Classes of the predictions.
        seed: Decides between equal confidences, and who gets one copy more.

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
    classes = _select_and_write(
        paths, directory, selection, quota, num_classes, seed
    )
    result = summary.Summary(
        images_per_class=quota,
        confidence_threshold=selection.confidence_threshold,
        classes=classes,
        warnings=summary.find_warnings(
            classes, selection=selection, quota=quota
        ),
    )
    _finish(directory, result, made_from, len(paths))
    return result


def _select_and_write(
    paths: list[str],
    directory: str,
    selection: config.SelectionConfig,
    quota: int,
    num_classes: int,
    seed: int,
) -> tuple[summary.ClassSummary, ...]:
    """Write the selection files, and return what became of each class."""
    found = cuts.count(
        _read_all(paths, num_classes, with_ids=False),
        confidence_threshold=selection.confidence_threshold,
        num_classes=num_classes,
    )
    num_above = found.num_above
    plan = quotas.make_plan(num_above, selection=selection, quota=quota)
    contest = cuts.Contest(plan, counts=found, seed=seed)
    cut = contest.find_cuts(lambda: _read_all(paths, num_classes))
    counts = _write_all(paths, directory, contest, cut, num_classes)
    if not np.array_equal(counts.num_rows, plan.num_rows(num_above)):
        raise RuntimeError(
            f"{paths[0]} or a file beside it changed while it was read. "
            "Select again."
        )
    return summary.make_classes(
        num_images=found.num_images,
        num_above_threshold=num_above,
        **vars(counts),
    )


def _made_from(
    manifest: dict,
    selection: config.SelectionConfig,
    num_classes: int,
    seed: int,
) -> dict:
    return {
        predictions.TEACHER: manifest[predictions.TEACHER],
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


def _read_all(
    paths: list[str], num_classes: int, *, with_ids: bool = True
) -> Iterator[predictions.Rows]:
    for path in paths:
        yield from predictions.read_rows(
            path, num_classes=num_classes, with_ids=with_ids
        )


def _write_all(
    paths: list[str],
    directory: str,
    contest: cuts.Contest,
    cut: cuts.Cuts,
    num_classes: int,
) -> _Counts:
    """Write a selection file for each predictions file."""
    files.make_directories(directory)
    files.remove_temporaries(directory)
    counts = _Counts(
        num_selected=np.zeros(num_classes, np.int64),
        num_rows=np.zeros(num_classes, np.int64),
        max_copies=np.zeros(num_classes, np.int64),
        cut_confidences=np.full(num_classes, np.inf, np.float32),
    )
    for index, path in enumerate(paths):
        output = files.join(
            directory, predictions.selection_name(index, len(paths))
        )
        with parquet_files.open_writer(
            output, predictions.selection_schema()
        ) as writer:
            for rows in predictions.read_rows(path, num_classes=num_classes):
                writer.write_batch(_selected(rows, contest, cut, counts))
    return counts


def _selected(
    rows: predictions.Rows,
    contest: cuts.Contest,
    cut: cuts.Cuts,
    counts: _Counts,
) -> pa.RecordBatch:
    copies = contest.copies(rows, cut)
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
