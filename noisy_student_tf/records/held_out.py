"""What a model says of each held-out image: one Parquet file a split.

`image_id` (16 bytes), `label` (int32) and `logits` (float32 [num_classes]).
Logits, since every number of `results.json` follows from them bit by bit, and
a temperature still fits them; their softmax is what is read. Files of several
models are joined by id, never by the order of their rows.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from scipy import special

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, schema

IMAGE_ID, LABEL, LOGITS = "image_id", "label", "logits"

# Of a row group, and of what is held of the logits at once.
_BYTES_AT_ONCE = 1 << 24

Keep = Callable[[np.ndarray, np.ndarray, Sequence[bytes]], None]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Some images of a file.

    Attributes:
        ids: uint8 [num_images, 16].
        labels: int32 [num_images] in [0, num_classes).
        logits: float32 [num_images, num_classes].
    """

    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class Choices:
    """Which class a model chooses for each image.

    Attributes:
        ids: uint8 [num_images, 16].
        labels: int32 [num_images], the true classes.
        classes: int32 [num_images], those of the greatest logits; of equal
            ones the first.
    """

    ids: np.ndarray
    labels: np.ndarray
    classes: np.ndarray


def path(directory: str, split: str, *, resolution: int = 0) -> str:
    """Return where a model's folder holds a split: `held_out_test.parquet`.

    Args:
        directory: Of the model.
        split: `validation` or `test`.
        resolution: In pixels, another than the model's; 0: the model's.
    """
    suffix = f"_at_{resolution}" if resolution else ""
    return files.join(directory, f"held_out_{split}{suffix}.parquet")


@contextlib.contextmanager
def open_writer(path: str, num_classes: int) -> Iterator[Keep]:
    """Yield a function that appends images; the file appears at the end.

    The function takes logits float32 [batch, num_classes], labels int [batch]
    and ids of 16 bytes each.

    Args:
        path: See `path`.
        num_classes: Of the logits.
    """
    columns = pa.schema(
        [
            (IMAGE_ID, pa.binary(schema.ID_BYTES)),
            (LABEL, pa.int32()),
            (LOGITS, pa.list_(pa.float32(), num_classes)),
        ]
    )
    pending: list[pa.RecordBatch] = []
    with parquet_files.open_writer(path, columns) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_batches(pending, columns))
            pending.clear()

        def keep(
            logits: np.ndarray, labels: np.ndarray, ids: Sequence[bytes]
        ) -> None:
            arrays = [
                pa.array(ids, columns.field(IMAGE_ID).type),
                pa.array(labels, pa.int32()),
                parquet_files.fixed_lists_array(logits.astype(np.float32)),
            ]
            pending.append(pa.record_batch(arrays, schema=columns))
            num_pending = sum(batch.num_rows for batch in pending)
            if num_pending >= _rows_at_once(num_classes):
                flush()

        yield keep
        flush()


def _rows_at_once(num_classes: int) -> int:
    return max(1, _BYTES_AT_ONCE // (4 * num_classes))


def read(path: str) -> Iterator[Rows]:
    """Yield the images of a file, a bounded number at once.

    Raises:
        ValueError: The file is damaged, or no file of held-out images.
    """
    rows_at_once = _rows_at_once(num_classes(path))
    for batch in parquet_files.read_batches(
        path, [IMAGE_ID, LABEL, LOGITS], rows_per_batch=rows_at_once
    ):
        yield Rows(
            ids=parquet_files.image_ids(batch["image_id"], path),
            labels=batch[LABEL].to_numpy(),
            logits=parquet_files.fixed_lists(batch[LOGITS]),
        )


def num_classes(path: str) -> int:
    """Return of how many classes a file holds logits.

    Raises:
        ValueError: The file is damaged, or no file of held-out images.
    """
    with parquet_files.open_reader(path) as reader:
        parquet_files.check_columns(reader, path, [IMAGE_ID, LABEL, LOGITS])
        return reader.schema_arrow.field(LOGITS).type.list_size


def read_choices(path: str) -> Choices:
    """Read which class was chosen for each image.

    Raises:
        ValueError: See `read`.
    """
    ids = [np.zeros((0, schema.ID_BYTES), np.uint8)]
    labels, classes = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for rows in read(path):
        ids.append(rows.ids)
        labels.append(rows.labels)
        classes.append(rows.logits.argmax(axis=1).astype(np.int32))
    return Choices(*(np.concatenate(each) for each in (ids, labels, classes)))


def read_probabilities(path: str) -> Iterator[np.ndarray]:
    """Yield the probability of one class after the other, of every image.

    The file is read once for a block of classes, so that memory holds a few
    columns of it at once.

    Yields:
        float64 [num_images] in [0, 1], in the order of `read_choices`.

    Raises:
        ValueError: See `read`.
    """
    with parquet_files.open_reader(path) as reader:
        num_images = reader.metadata.num_rows
    count = num_classes(path)
    block = max(1, _BYTES_AT_ONCE // (8 * max(num_images, 1)))
    for start in range(0, count, block):
        parts = [np.zeros((0, min(block, count - start)))]
        for rows in read(path):
            shares = special.softmax(rows.logits.astype(np.float64), axis=1)
            parts.append(shares[:, start : start + block])
        yield from np.concatenate(parts).T
