"""Which images are looked at again, out of what a run has predicted.

All files are streamed; memory holds as many rows as are kept.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from noisy_student_tf import files, recipes, workdirs
from noisy_student_tf.records import (
    lookups,
    parquet_files,
    predictions,
    schema,
    shards,
)
from noisy_student_tf.review import stored

# Of 1000 classes in float16: 16 MB.
_ROWS_AT_ONCE = 8192
# Rows are dropped when so many times more are there than are kept.
_SLACK = 4


class Smallest:
    """The rows with the smallest keys, of any number that is seen."""

    def __init__(self, count: int) -> None:
        """Keep at most `count` rows."""
        self._count = count
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._num_rows = 0

    def add(self, keys: np.ndarray, *columns: np.ndarray) -> None:
        """Add rows: keys [num_rows], and columns of as many rows."""
        self._parts.append((keys, *columns))
        self._num_rows += len(keys)
        if self._num_rows > _SLACK * self._count:
            self._parts = [self.rows()]
            self._num_rows = len(self._parts[0][0])

    def rows(self) -> tuple[np.ndarray, ...]:
        """Return keys and columns, the smallest first.

        Raises:
            ValueError: Nothing was ever added.
        """
        columns = [
            np.concatenate(parts) for parts in zip(*self._parts, strict=True)
        ]
        if not columns:
            raise ValueError("No rows were added.")
        order = np.argsort(columns[0], kind="stable")[: self._count]
        return tuple(column[order] for column in columns)


@dataclasses.dataclass(frozen=True)
class Unsure:
    """Images of a teacher's predictions.

    Attributes:
        uncertain: uint8 [num_images, 16], ids of the smallest margins.
        sample: uint8 [num_images, 16], ids of a random sample.
    """

    uncertain: np.ndarray
    sample: np.ndarray


@dataclasses.dataclass(frozen=True)
class Labeled:
    """Images with pseudo-labels that students learned from.

    Attributes:
        ids: uint8 [num_images, 16].
        labels: int32 [num_images].
        probabilities: float32 [num_images, num_classes], of whoever answered
            last; [num_images, 0] where nobody has.
    """

    ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray


def predicted(
    recipe: recipes.Recipe, workdir: workdirs.Workdir
) -> list[recipes.Labeling]:
    """Return the finished labelings of all unlabeled images, in order."""
    return [
        each
        for each in recipe.labelings
        if not each.kept_from
        and shards.is_finished(workdir.folder(each.predictions))
    ]


def margins(probabilities: np.ndarray) -> np.ndarray:
    """Return float32 [n], the best class's probability less the second's.

    Args:
        probabilities: float [n, num_classes].
    """
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), np.float32)
    two = np.partition(probabilities.astype(np.float32), -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def unsure(
    workdir: workdirs.Workdir, labeling: recipes.Labeling, *, count: int
) -> Unsure:
    """Return the most uncertain images, and a random sample.

    Args:
        workdir: Of the run.
        labeling: Whose predictions.
        count: Images of each kind, and at most half of all uncertain ones.
    """
    directory = workdir.folder(labeling.predictions)
    manifest = shards.read_manifest(directory)
    half = max(1, manifest["num_images"] // 2)
    uncertain, sample = Smallest(min(count, half)), Smallest(count)
    for name in manifest["shards"]:
        path = files.join(directory, name)
        for batch in parquet_files.read_batches(
            path,
            [predictions.IMAGE_ID, predictions.PROBABILITIES],
            rows_per_batch=_ROWS_AT_ONCE,
        ):
            ids = parquet_files.image_ids(batch[predictions.IMAGE_ID], path)
            found = parquet_files.fixed_lists(batch[predictions.PROBABILITIES])
            uncertain.add(margins(found), ids)
            sample.add(stored.sample_key(ids), ids)
    return Unsure(uncertain.rows()[1], sample.rows()[1])


def least_sure_selected(
    workdir: workdirs.Workdir, labeling: recipes.Labeling, *, count: int
) -> Labeled:
    """Return the selected images of the lowest confidence."""
    kept = Smallest(count)
    for path in _selections(workdir, labeling):
        for batch in parquet_files.read_batches(
            path,
            [
                predictions.IMAGE_ID,
                predictions.CLASS_ID,
                predictions.CONFIDENCE,
            ],
        ):
            kept.add(
                batch[predictions.CONFIDENCE].to_numpy(),
                parquet_files.image_ids(batch[predictions.IMAGE_ID], path),
                batch[predictions.CLASS_ID].to_numpy(),
            )
    _, ids, labels = kept.rows()
    return Labeled(ids, labels, np.zeros([len(ids), 0], np.float32))


def _selections(
    workdir: workdirs.Workdir, labeling: recipes.Labeling
) -> list[str]:
    """Return the files of a selection, in the order of the shards."""
    directory = workdir.folder(labeling.predictions)
    count = len(shards.read_manifest(directory)["shards"])
    return [
        files.join(
            workdir.folder(labeling.selection),
            predictions.selection_name(index, count),
        )
        for index in range(count)
    ]


def contradicted(
    workdir: workdirs.Workdir,
    earlier: recipes.Labeling,
    later: recipes.Labeling,
    *,
    count: int,
) -> Labeled:
    """Return what one teacher selected, and the next labels otherwise.

    Args:
        workdir: Of the run.
        earlier: Whose selection.
        later: Whose predictions; both are of all unlabeled images.
        count: How many at most: the greatest differences between the best
            class's probability and the label's.
    """
    directory = workdir.folder(later.predictions)
    names = shards.read_manifest(directory)["shards"]
    num_classes = shards.read_manifest(directory)["num_classes"]
    kept = Smallest(count)
    nothing = np.zeros([0, schema.ID_BYTES], np.uint8)
    no_rows = np.zeros([0, num_classes], np.float32)
    kept.add(np.zeros(0), nothing, np.zeros(0, np.int32), no_rows)
    pairs = zip(names, _selections(workdir, earlier), strict=True)
    for name, selection in pairs:
        labels = lookups.read(
            selection,
            predictions.CLASS_ID,
            dtype=np.int32,
            unknown=schema.NO_LABEL,
        )
        _keep_contradicted(files.join(directory, name), labels, kept)
    _, *columns = kept.rows()
    return Labeled(*columns)


def _keep_contradicted(
    path: str, labels: lookups.Lookup, kept: Smallest
) -> None:
    for batch in parquet_files.read_batches(
        path,
        [
            predictions.IMAGE_ID,
            predictions.CLASS_ID,
            predictions.PROBABILITIES,
        ],
        rows_per_batch=_ROWS_AT_ONCE,
    ):
        ids = parquet_files.image_ids(batch[predictions.IMAGE_ID], path)
        answers = batch[predictions.CLASS_ID].to_numpy()
        given = labels.of(ids)
        (rows,) = np.nonzero((given != schema.NO_LABEL) & (given != answers))
        found = parquet_files.fixed_lists(batch[predictions.PROBABILITIES])
        chosen = found[rows].astype(np.float32)
        places = np.arange(len(rows))
        gaps = chosen[places, answers[rows]] - chosen[places, given[rows]]
        kept.add(-gaps, ids[rows], given[rows], chosen)


def unique(parts: Sequence[np.ndarray]) -> list[bytes]:
    """Return ids of several lists, uint8 [num_images, 16] each, once each."""
    return sorted({each.tobytes() for part in parts for each in part})
