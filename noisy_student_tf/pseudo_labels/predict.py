"""Label images with a teacher: shards in, one Parquet file per shard out."""

import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tqdm
from absl import logging

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, predictions, schema, shards

PredictFn = Callable[[tf.Tensor], tf.Tensor]
LabelBatch = Callable[[tf.Tensor], dict[str, tf.Tensor]]

_MAX_SUM_ERROR = 1e-3
# Of 1000 classes in float16: 16 MB a row group.
_ROWS_PER_GROUP = 8192

# Probabilities of a confident teacher are mostly zeros once they are float16.
_COMPRESSION = {
    predictions.IMAGE_ID: "NONE",
    predictions.CLASS_ID: "NONE",
    predictions.CONFIDENCE: "NONE",
    f"{predictions.PROBABILITIES}.list.element": "ZSTD",
}


def predict(
    *,
    predict_fn: PredictFn,
    unlabeled: shards.ShardSet,
    make_shard_stream: Callable[[str], tf.data.Dataset],
    directory: str,
    num_classes: int,
    teacher_fingerprint: str,
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
        make_shard_stream: Path of a shard to its clean evaluation batches.
        directory: Where the predictions appear.
        num_classes: Classes of the teacher.
        teacher_fingerprint: Of the teacher's weights.
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
    outputs = _output_paths(directory, unlabeled)
    progress = tqdm.tqdm(
        total=unlabeled.num_records, desc=title, unit="images", disable=None
    )
    with progress:
        for index in range(shard_index, len(outputs), num_shard_workers):
            path, output = unlabeled.paths[index], outputs[index]
            if files.exists(output):
                _check_finished(output, teacher_fingerprint, path)
                progress.update(_num_rows(output))
                continue
            batches = _label_stream(compiled, make_shard_stream(path), path)
            columns = _columns(path, num_classes, teacher_fingerprint)
            _write_shard(output, columns, batches, progress)
    if closes:
        _finish(directory, unlabeled, num_classes, teacher_fingerprint)


def _columns(path: str, num_classes: int, teacher: str) -> pa.Schema:
    return predictions.predictions_schema(
        num_classes,
        teacher_fingerprint=teacher,
        unlabeled_shard=_base_name(path),
    )


def _output_paths(directory: str, unlabeled: shards.ShardSet) -> list[str]:
    count = len(unlabeled.paths)
    return [
        files.join(directory, predictions.predictions_name(index, count))
        for index in range(count)
    ]


def _check_worker(shard_index: int, num_shard_workers: int) -> None:
    if not 0 <= shard_index < num_shard_workers:
        raise ValueError(
            f"--shard_index={shard_index}: accepted is 0 <= value < "
            f"--num_shard_workers={num_shard_workers}."
        )


def _base_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _check_finished(output: str, teacher_fingerprint: str, path: str) -> None:
    metadata = parquet_files.read_metadata(output)
    expected = {
        predictions.TEACHER: teacher_fingerprint,
        predictions.UNLABELED_SHARD: _base_name(path),
    }
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise ValueError(
                f"{output} was made with {key} {metadata.get(key)!r}, but this "
                f"run's is {value!r}. Remove the directory to predict again."
            )


def _num_rows(output: str) -> int:
    with parquet_files.open_reader(output) as reader:
        return reader.metadata.num_rows


def _compile(
    predict_fn: PredictFn, num_classes: int
) -> Callable[[tf.TensorSpec], LabelBatch]:
    """Return a function that traces the labeling of one kind of batch once."""

    @functools.cache
    def compiled(spec: tf.TensorSpec) -> LabelBatch:
        @tf.function(input_signature=[spec])
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
) -> Iterator[dict[str, np.ndarray]]:
    """Yield ids and labels of the valid images of one shard, in batches."""
    label_batch = compiled(stream.element_spec["images"])
    for batch in stream:
        is_valid = batch["is_valid"].numpy()
        labels = {
            name: values.numpy()[is_valid]
            for name, values in label_batch(batch["images"]).items()
        }
        labels["ids"] = _id_array(batch["image_ids"].numpy()[is_valid], path)
        _check_probabilities(labels, path)
        yield labels


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
    with parquet_files.open_writer(
        output, columns, compression=_COMPRESSION
    ) as writer:
        pending: list[pa.RecordBatch] = []
        for labels in batches:
            pending.append(_record_batch(labels, columns))
            num_images += pending[-1].num_rows
            progress.update(pending[-1].num_rows)
            if sum(batch.num_rows for batch in pending) >= _ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(pending, columns))
                pending = []
        writer.write_table(pa.Table.from_batches(pending, columns))
    logging.info(
        "%s: %d images, %.1f images/s.",
        output,
        num_images,
        num_images / (time.monotonic() - started),
    )


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
    directory: str,
    unlabeled: shards.ShardSet,
    num_classes: int,
    teacher_fingerprint: str,
) -> None:
    """Write the manifest if all shards are there."""
    outputs = _output_paths(directory, unlabeled)
    missing = [output for output in outputs if not files.exists(output)]
    if missing:
        logging.info("%d shards are left to other workers.", len(missing))
        return
    for output, path in zip(outputs, unlabeled.paths, strict=True):
        _check_finished(output, teacher_fingerprint, path)
    counts = [_num_rows(output) for output in outputs]
    if sum(counts) != unlabeled.num_records:
        raise ValueError(
            f"{directory} has predictions of {sum(counts)} images, but the "
            f"unlabeled shards hold {unlabeled.num_records}. Remove the "
            "directory and predict again."
        )
    files.remove_temporaries(directory)
    shards.write_manifest(
        directory,
        {
            predictions.TEACHER: teacher_fingerprint,
            "num_classes": num_classes,
            "num_images": sum(counts),
            "shards": [_base_name(output) for output in outputs],
            "num_images_per_shard": counts,
            "unlabeled_shards": [_base_name(p) for p in unlabeled.paths],
        },
    )
