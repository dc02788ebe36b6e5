"""Label images with a teacher: shards in, one Parquet file per shard out.

While a group of rows is compressed and written, the next ones are computed.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tqdm
from absl import logging
from pyarrow import parquet

from noisy_student_tf import files
from noisy_student_tf.pseudo_labels import plausibility, teacher
from noisy_student_tf.records import parquet_files, predictions, schema, shards

LabelBatch = Callable[[tf.Tensor], dict[str, tf.Tensor]]

_MAX_SUM_ERROR = 1e-3
# Of 1000 classes in float16: 16 MB a row group.
_ROWS_PER_GROUP = 8192
# Batches that are computed before the first one's results are waited for.
_BATCHES_AHEAD = 2

# Probabilities of a confident teacher are mostly zeros once they are float16.
COMPRESSION = {
    predictions.IMAGE_ID: "NONE",
    predictions.CLASS_ID: "NONE",
    predictions.CONFIDENCE: "NONE",
    f"{predictions.PROBABILITIES}.list.element": "ZSTD",
}


def _nothing(_: int) -> frozenset[bytes]:
    return frozenset()


def predict(
    *,
    predict_fn: teacher.PredictFn,
    unlabeled: shards.ShardSet,
    unlabeled_fingerprint: str,
    make_shard_stream: Callable[[str], tf.data.Dataset],
    directory: str,
    num_classes: int,
    teacher_fingerprint: str,
    left_out: Callable[[int], frozenset[bytes]] = _nothing,
    shard_index: int = 0,
    num_shard_workers: int = 1,
    title: str = "Predict",
    closes: bool = True,
) -> None:
    """Write the teacher's probabilities of every unlabeled image.

    Finished shards are skipped; who finds all there writes the manifest.

    Args:
        predict_fn: The teacher: images float32 [batch, height, width, 3] in
            [0, 255] to probabilities float32 [batch, num_classes].
        unlabeled: The shards to label.
        unlabeled_fingerprint: Of the images, so that no other ones' labels are
            taken for theirs.
        make_shard_stream: Path of a shard to its clean evaluation batches.
        directory: Where the predictions appear.
        num_classes: Classes of the teacher.
        teacher_fingerprint: Of the teacher's weights.
        left_out: A shard's number to the ids of its images that get no label.
        shard_index: This worker's place, in [0, num_shard_workers).
        num_shard_workers: Workers that share the shards.
        title: What the progress bar is called.
        closes: Whether this worker writes the manifest, if all shards are
            there.

    Raises:
        ValueError: The outputs are no probabilities, the directory belongs to
            another teacher, or images are missing.
    """
    _check_worker(shard_index, num_shard_workers)
    files.make_directories(directory)
    compiled = _compile(predict_fn, num_classes)
    job = _Job(directory, unlabeled, teacher_fingerprint, unlabeled_fingerprint)
    progress = tqdm.tqdm(
        total=unlabeled.num_records, desc=title, unit="images", disable=None
    )
    with progress:
        for index in range(shard_index, len(job.outputs), num_shard_workers):
            path, output = unlabeled.paths[index], job.outputs[index]
            if files.exists(output):
                job.check_finished(index)
                progress.update(_num_rows(output))
                continue
            batches = _label_stream(
                compiled, make_shard_stream(path), path, left_out(index)
            )
            columns = predictions.predictions_schema(
                num_classes, metadata=job.metadata(index)
            )
            _write_shard(output, columns, batches, progress)
    if closes:
        _finish(job, num_classes, left_out)


@dataclasses.dataclass(frozen=True)
class _Job:
    """What all workers of one prediction share."""

    directory: str
    unlabeled: shards.ShardSet
    teacher_fingerprint: str
    unlabeled_fingerprint: str

    @functools.cached_property
    def outputs(self) -> list[str]:
        """Return the predictions files, one per shard."""
        count = len(self.unlabeled.paths)
        return [
            files.join(
                self.directory, predictions.predictions_name(index, count)
            )
            for index in range(count)
        ]

    def metadata(self, index: int) -> dict[str, str]:
        """Return what a file says of its origin."""
        return {
            predictions.TEACHER: self.teacher_fingerprint,
            predictions.UNLABELED: self.unlabeled_fingerprint,
            predictions.UNLABELED_SHARD: _base_name(
                self.unlabeled.paths[index]
            ),
        }

    def check_finished(self, index: int) -> None:
        """Check that a file is this job's.

        Raises:
            ValueError: It was made by another teacher or of other images.
        """
        found = parquet_files.read_metadata(self.outputs[index])
        for key, value in self.metadata(index).items():
            if found.get(key) != value:
                raise ValueError(
                    f"{self.outputs[index]} was made with {key} "
                    f"{found.get(key)!r}, but this run's is {value!r}. Remove "
                    "the directory to predict again."
                )


def _check_worker(shard_index: int, num_shard_workers: int) -> None:
    if not 0 <= shard_index < num_shard_workers:
        raise ValueError(
            f"--shard_index={shard_index}: accepted is 0 <= value < "
            f"--num_shard_workers={num_shard_workers}."
        )


def _base_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _num_rows(output: str) -> int:
    with parquet_files.open_reader(output) as reader:
        return reader.metadata.num_rows


def _compile(
    predict_fn: teacher.PredictFn, num_classes: int
) -> Callable[[tf.TensorSpec], LabelBatch]:
    """Return a function that traces the labeling of one kind of batch once."""

    @functools.cache
    def compiled(spec: tf.TensorSpec) -> LabelBatch:
        @tf.function(input_signature=[spec], autograph=False)
        def label_batch(images: tf.Tensor) -> dict[str, tf.Tensor]:
            probabilities = tf.cast(predict_fn(images), tf.float32)
            if probabilities.shape[-1] != num_classes:
                raise ValueError(
                    f"The teacher returns {probabilities.shape[-1]} "
                    f"probabilities per image, but {num_classes} classes are "
                    "configured. Name a teacher of this data."
                )
            return {
                "class_ids": tf.argmax(
                    probabilities, axis=-1, output_type=tf.int32
                ),
                # The maximum decides about the selection: it is taken before
                # the probabilities are rounded.
                "confidences": tf.reduce_max(probabilities, axis=-1),
                "probabilities": tf.cast(probabilities, tf.float16),
                "sums": tf.reduce_sum(probabilities, axis=-1),
                "minima": tf.reduce_min(probabilities, axis=-1),
            }

        return label_batch

    return compiled


def _label_stream(
    compiled: Callable[[tf.TensorSpec], LabelBatch],
    stream: tf.data.Dataset,
    path: str,
    left_out: frozenset[bytes],
) -> Iterator[dict[str, np.ndarray]]:
    """Yield ids and labels of the valid images of one shard, in batches.

    Raises:
        ValueError: A record is damaged, or an output is no probability.
    """
    label_batch = compiled(stream.element_spec["images"])
    try:
        for batch, outputs in _ahead(label_batch, stream):
            is_wanted = batch["is_valid"].numpy()
            image_ids = batch["image_ids"].numpy()
            if left_out:
                is_wanted &= [each not in left_out for each in image_ids]
            labels = {
                name: values.numpy()[is_wanted]
                for name, values in outputs.items()
            }
            labels["ids"] = _id_array(image_ids[is_wanted], path)
            _check_probabilities(labels, path)
            yield labels
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            f"{path}: a record is damaged ({error.message[:200]}). Remove the "
            "shard, its index and the manifest beside them, and build the "
            "unlabeled shards again; only this one is written."
        ) from error


def _ahead(
    label_batch: LabelBatch, stream: tf.data.Dataset
) -> Iterator[tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]]:
    """Yield batches with their outputs, which are computed ahead.

    A device that computes asynchronously is never waited for with nothing
    left to do.
    """
    pending: collections.deque[Any] = collections.deque()
    for batch in stream:
        pending.append((batch, label_batch(batch["images"])))
        if len(pending) > _BATCHES_AHEAD:
            yield pending.popleft()
    yield from pending


def _id_array(image_ids: np.ndarray, path: str) -> np.ndarray:
    """Return ids as uint8 [num_images, 16]."""
    lengths = {len(image_id) for image_id in image_ids}
    if lengths - {schema.ID_BYTES}:
        raise ValueError(
            f"{path}: ids are of {sorted(lengths)} bytes; accepted is "
            f"{schema.ID_BYTES}. Build the shards again."
        )
    flat = np.frombuffer(b"".join(image_ids), np.uint8)
    return flat.reshape(-1, schema.ID_BYTES)


def _check_probabilities(labels: dict[str, np.ndarray], path: str) -> None:
    # Written so that not-a-number fails too.
    good = (np.abs(labels["sums"] - 1) <= _MAX_SUM_ERROR) & (
        labels["minima"] >= 0
    )
    if not good.all():
        first = int(np.flatnonzero(~good)[0])
        raise ValueError(
            f"{path}: the teacher's outputs for image "
            f"{labels['ids'][first].tobytes().hex()} sum to "
            f"{labels['sums'][first]} with minimum {labels['minima'][first]}; "
            "accepted are probabilities. Check that the teacher is trained "
            "and ends in a softmax."
        )


def _write_shard(
    output: str,
    columns: pa.Schema,
    batches: Iterator[dict[str, np.ndarray]],
    progress: tqdm.tqdm,
) -> None:
    started = time.monotonic()
    num_images = 0
    with (
        parquet_files.open_writer(
            output, columns, compression=COMPRESSION
        ) as writer,
        _written_behind(writer) as write,
    ):
        pending: list[pa.RecordBatch] = []
        for labels in batches:
            pending.append(_record_batch(labels, columns))
            num_images += pending[-1].num_rows
            progress.update(pending[-1].num_rows)
            if sum(batch.num_rows for batch in pending) >= _ROWS_PER_GROUP:
                write(pa.Table.from_batches(pending, columns))
                pending = []
        write(pa.Table.from_batches(pending, columns))
    logging.info(
        "%s: %d images, %.1f images/s.",
        output,
        num_images,
        num_images / (time.monotonic() - started),
    )


@contextlib.contextmanager
def _written_behind(
    writer: parquet.ParquetWriter,
) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes a table while its caller goes on.

    One table is written at a time, so that memory stays bounded.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        pending: list[concurrent.futures.Future[None]] = []

        def write(table: pa.Table) -> None:
            if pending:
                pending.pop().result()
            pending.append(executor.submit(writer.write_table, table))

        yield write
        if pending:
            pending.pop().result()


def _record_batch(
    labels: dict[str, np.ndarray], columns: pa.Schema
) -> pa.RecordBatch:
    return pa.record_batch(
        [
            parquet_files.fixed_bytes_array(labels["ids"]),
            pa.array(labels["class_ids"]),
            pa.array(labels["confidences"]),
            parquet_files.fixed_lists_array(labels["probabilities"]),
        ],
        schema=columns,
    )


def _finish(
    job: _Job, num_classes: int, left_out: Callable[[int], frozenset[bytes]]
) -> None:
    """Write the manifest if all shards are there."""
    missing = [output for output in job.outputs if not files.exists(output)]
    if missing:
        logging.info("%d shards are left to other workers.", len(missing))
        return
    indices = range(len(job.outputs))
    for index in indices:
        job.check_finished(index)
    counts = [_num_rows(output) for output in job.outputs]
    num_left_out = sum(len(left_out(index)) for index in indices)
    num_wanted = job.unlabeled.num_records - num_left_out
    if sum(counts) != num_wanted:
        raise ValueError(
            f"{job.directory} has predictions of {sum(counts)} images, but the "
            f"unlabeled shards hold {num_wanted}. Remove the directory and "
            "predict again."
        )
    files.remove_temporaries(job.directory)
    shards.write_manifest(
        job.directory,
        {
            predictions.TEACHER: job.teacher_fingerprint,
            predictions.UNLABELED: job.unlabeled_fingerprint,
            "num_classes": num_classes,
            "num_images": sum(counts),
            "num_left_out": num_left_out,
            "counts_per_class": plausibility.count_classes(
                job.outputs, num_classes=num_classes
            ).tolist(),
            "shards": [_base_name(output) for output in job.outputs],
            "num_images_per_shard": counts,
            "unlabeled_shards": [_base_name(p) for p in job.unlabeled.paths],
        },
    )
