"""Which images of a run a table of given probabilities is of, and their labels.

The indexes beside the shards have the ids, and the paths as `key`.
"""

import dataclasses
from collections.abc import Generator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from absl import logging

from noisy_student_tf.pseudo_labels import given, label_stream, predict
from noisy_student_tf.records import held_out, parquet_files, predictions

# Columns `image_id`, `key` and `label` of a shard's index.
Index = Mapping[str, pa.Array]

_MAX_NAMED = 3
# Below it a float32 has no logarithm to speak of.
_TINY = 1e-30


def read_index(path: str) -> Index:
    """Return the ids, keys and labels of a shard's images."""
    return parquet_files.read_columns(path, ["image_id", "key", "label"])


def missing(table: given.Given, index_path: str) -> frozenset[bytes]:
    """Return the ids of a shard's images that a table has no row of."""
    index = read_index(index_path)
    is_missing = table.rows_of(index) < 0
    ids = parquet_files.fixed_bytes(index["image_id"])[is_missing]
    return frozenset(each.tobytes() for each in ids)


def labels_of(
    table: given.Given, index_paths: Mapping[str, str]
) -> predict.LabelsOf:
    """Return what labels shards by a table.

    Args:
        table: Of all images that are not left out.
        index_paths: Path of a shard to that of its index.
    """

    def label(
        paths: Sequence[str], left_out: predict.LeftOut
    ) -> Generator[label_stream.Labels, None, None]:
        for place, path in enumerate(paths):
            index = read_index(index_paths[path])
            ids = parquet_files.fixed_bytes(index["image_id"])
            unwanted = left_out(place)
            is_wanted = np.array(
                [each.tobytes() not in unwanted for each in ids], bool
            )
            found = table.probabilities[table.rows_of(index)[is_wanted]]
            yield label_stream.Labels(
                place,
                predictions.PredictedRows(
                    found.argmax(axis=1).astype(np.int32),
                    found.max(axis=1),
                    ids[is_wanted],
                ),
                found.astype(np.float16),
            )

    return label


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Which images of a run a table is of.

    Attributes:
        rows: Split -> the row of each of its images, -1 where there is none.
        unknown: Names of rows that are of no image of the run.
    """

    rows: Mapping[str, np.ndarray]
    unknown: list[str]


def cover(
    table: given.Given, indexes: Mapping[str, Sequence[Index]]
) -> Coverage:
    """Find the images of a run in a table.

    Args:
        table: Of probabilities.
        indexes: Split -> what `read_index` returned of each shard.

    Raises:
        ValueError: A path names images of several sources.
    """
    rows = {
        split: np.concatenate(
            [np.zeros(0, np.int64), *map(table.rows_of, parts)]
        )
        for split, parts in indexes.items()
    }
    all_rows = np.concatenate([each[each >= 0] for each in rows.values()])
    uses = np.bincount(all_rows, minlength=len(table.names))
    if table.key == "path" and (uses > 1).any():
        several = table.names_of(np.flatnonzero(uses > 1))
        raise ValueError(
            f"{table.source}: {len(several):,} paths name several images, of "
            f"different sources or splits: {_some(several)}. Name images by "
            "'image_id': the indexes beside the shards have it beside 'key', "
            "the path."
        )
    return Coverage(rows, table.names_of(np.flatnonzero(uses == 0)))


def say(table: given.Given, coverage: Coverage) -> None:
    """Say which images have no row, and which rows no image.

    Raises:
        ValueError: No unlabeled image has a row.
    """
    rows = coverage.rows["unlabeled"]
    num_missing = int((rows < 0).sum())
    unknown = _some(coverage.unknown)
    if num_missing == len(rows):
        raise ValueError(
            f"{table.source}: none of its {len(table.names):,} rows is of one "
            f"of the {len(rows):,} unlabeled images. Its {table.key} are like "
            f"{unknown or table.names[0].as_py()}; compare the columns "
            "'image_id' and 'key' (the path) of the indexes in the run's "
            "folder unlabeled/."
        )
    if num_missing:
        logging.warning(
            "%s has no row of %d of the %d unlabeled images: they get no "
            "label of it.",
            table.source,
            num_missing,
            len(rows),
        )
    if coverage.unknown:
        logging.warning(
            "%s has %d rows of no image of this run: %s.",
            table.source,
            len(coverage.unknown),
            unknown,
        )


def answers(
    table: given.Given, rows: np.ndarray, parts: Sequence[Index]
) -> held_out.Rows:
    """Return what a table says of a split's images, all of which it has.

    Args:
        table: Of probabilities.
        rows: Of the images, see `Coverage`.
        parts: What `read_index` returned of each shard of the split.

    Returns:
        Logarithms of the probabilities as logits.
    """
    ids = [parquet_files.fixed_bytes(part["image_id"]) for part in parts]
    labels = [part["label"].to_numpy(zero_copy_only=False) for part in parts]
    probabilities = np.maximum(table.probabilities[rows], _TINY)
    return held_out.Rows(
        np.concatenate(ids),
        np.concatenate(labels).astype(np.int32),
        np.log(probabilities),
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMED])
    return shown + (", ..." if len(names) > _MAX_NAMED else "")
