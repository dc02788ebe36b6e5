"""Label images with a teacher: shards in, one Parquet file per shard out.

One stream reads and decodes all shards, so that neither tracing nor the first
images of a shard are waited for; rows are compressed and written while the
next ones are computed.
"""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence

import pyarrow as pa
import tensorflow as tf
import tqdm
from absl import logging

from noisy_student_tf import files
from noisy_student_tf.pseudo_labels import label_stream, plausibility, teacher
from noisy_student_tf.records import parquet_files, predictions, shards

# Of 1000 classes in float16: 16 MB a row group.
_ROWS_PER_GROUP = 8192
# A shard's last batch is padded: on average half of one is computed in vain.
_MAX_PADDING = 0.05
_MIN_REPLICA_BATCH_SIZE = 128

_DAMAGED = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)

# Probabilities of a confident teacher are mostly zeros once they are float16.
COMPRESSION = {
    predictions.IMAGE_ID: "NONE",
    predictions.CLASS_ID: "NONE",
    predictions.CONFIDENCE: "NONE",
    f"{predictions.PROBABILITIES}.list.element": "ZSTD",
}

# A shard's number, or its place, to the ids of its images without a label.
LeftOut = Callable[[int], frozenset[bytes]]
# Paths of shards, and which images of each (by its place) get no label, to the
# labels of all others, in the order of the paths.
LabelsOf = Callable[
    [Sequence[str], LeftOut], Generator[label_stream.Labels, None, None]
]


def of_network(
    predict_fn: teacher.PredictFn,
    make_stream: Callable[[Sequence[str]], tf.data.Dataset],
    *,
    num_classes: int,
) -> LabelsOf:
    """Return what labels shards with a network.

    Args:
        predict_fn: The teacher: images float32 [batch, height, width, 3] in
            [0, 255], or the parts of several hosts, to probabilities float32
            [batch, num_classes].
        make_stream: Paths of shards to their clean evaluation batches; see
            `eval_stream.make_shards_stream`.
        num_classes: Classes of the teacher.
    """

    def labels_of(
        paths: Sequence[str], left_out: LeftOut
    ) -> Generator[label_stream.Labels, None, None]:
        stream = make_stream(paths)
        spec = stream.element_spec
        images = spec["images"]
        label_batch = label_stream.compile_labeling(
            predict_fn, images, num_classes=num_classes
        )
        labels = label_stream.ahead_of_use(
            label_stream.label(label_batch, stream, paths, left_out),
            num_ahead=max(2, _ROWS_PER_GROUP // spec["is_valid"].shape[0]),
        )
        num_hosts = len(images) if isinstance(images, tuple) else 1
        with contextlib.closing(labels):
            for _, batches in label_stream.by_place(
                labels, len(paths), num_hosts=num_hosts
            ):
                yield from batches

    return labels_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Which images are labeled, by whom, and where to.

    Attributes:
        labels_of: The teacher, see `of_network`.
        unlabeled: The shards to label.
        unlabeled_fingerprint: Of the images, so that no other ones' labels are
            taken for theirs.
        directory: Where the predictions appear.
        num_classes: Classes of the teacher.
        teacher_fingerprint: Of the teacher's weights, or what stands for them.
        left_out: A shard's number to the ids of its images that get no label.
        title: What the progress bar is called.
    """

    labels_of: LabelsOf
    unlabeled: shards.ShardSet
    unlabeled_fingerprint: str
    directory: str
    num_classes: int
    teacher_fingerprint: str
    left_out: LeftOut = lambda index: frozenset()
    title: str = "Predict"

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
            predictions.UNLABELED_SHARD: os.path.basename(
                self.unlabeled.paths[index]
            ),
        }

    def check_finished(self, index: int) -> None:
        """Check that a file is this request's.

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


def predict(
    request: Request,
    *,
    shard_index: int = 0,
    num_shard_workers: int = 1,
    closes: bool = True,
) -> None:
    """Write the teacher's probabilities of every unlabeled image.

    Finished shards are skipped; who finds all there writes the manifest.

    Args:
        request: What is labeled.
        shard_index: This worker's place, in [0, num_shard_workers).
        num_shard_workers: Workers that share the shards.
        closes: Whether this worker writes the manifest, if all shards are
            there.

    Raises:
        ValueError: The outputs are no probabilities, the directory belongs to
            another teacher, or images are missing.
    """
    if not 0 <= shard_index < num_shard_workers:
        raise ValueError(
            f"--shard_index={shard_index}: accepted is 0 <= value < "
            f"--num_shard_workers={num_shard_workers}."
        )
    files.make_directories(request.directory)
    with tqdm.tqdm(
        total=request.unlabeled.num_records,
        desc=request.title,
        unit="images",
        disable=None,
    ) as progress:
        todo = []
        for index in range(
            shard_index, len(request.outputs), num_shard_workers
        ):
            if files.exists(request.outputs[index]):
                request.check_finished(index)
                progress.update(_num_rows(request.outputs[index]))
            else:
                todo.append(index)
        if todo:
            _label_shards(request, todo, progress)
    if closes:
        _finish(request)


def batch_size(
    unlabeled: shards.ShardSet, *, largest: int, num_replicas: int = 1
) -> int:
    """Return the batch in which to label shards of this size.

    Batches hold images of one shard, so that each shard's last one is padded.
    It is halved while more than 5 % of all images would be padding, on
    average, and each replica keeps 128.
    """
    records_per_shard = unlabeled.num_records / max(len(unlabeled.paths), 1)
    size = largest
    while (
        size > 2 * _MAX_PADDING * records_per_shard
        and size % (2 * num_replicas) == 0
        and size // 2 >= _MIN_REPLICA_BATCH_SIZE * num_replicas
    ):
        size //= 2
    return size


def _num_rows(output: str) -> int:
    with parquet_files.open_reader(output) as reader:
        return reader.metadata.num_rows


def _label_shards(
    request: Request, todo: list[int], progress: tqdm.tqdm
) -> None:
    """Label and write some shards, in their order.

    Raises:
        ValueError: A record is damaged, or an output is no probability.
    """
    paths = [request.unlabeled.paths[index] for index in todo]
    labels = request.labels_of(
        paths, lambda place: request.left_out(todo[place])
    )
    place = 0
    with contextlib.closing(labels):
        try:
            for place, batches in label_stream.by_place(labels, len(todo)):
                _write_shard(request, todo[place], batches, progress)
        except _DAMAGED as error:
            path = _find_damaged(request, paths[place:])
            raise ValueError(
                f"{path}: a record is damaged ({error.message[:200]}). Remove "
                "the shard, its index and the manifest beside them, and build "
                "the unlabeled shards again; only this one is written."
            ) from error


def _find_damaged(request: Request, paths: Sequence[str]) -> str:
    """Return the first shard that cannot be read to its end.

    The stream that failed was ahead of what is written.
    """
    for path in paths:
        try:
            for _ in request.labels_of([path], lambda place: frozenset()):
                pass
        except _DAMAGED:
            return path
    return f"{paths[0]} or a later shard"


def _write_shard(
    request: Request,
    index: int,
    batches: Iterator[label_stream.Labels],
    progress: tqdm.tqdm,
) -> None:
    output = request.outputs[index]
    columns = predictions.predictions_schema(
        request.num_classes, metadata=request.metadata(index)
    )
    started = time.monotonic()
    num_images = 0
    with parquet_files.open_writer(
        output, columns, compression=COMPRESSION
    ) as writer:
        pending: list[pa.RecordBatch] = []
        for labels in batches:
            batch = predictions.record_batch(
                columns, labels.rows, labels.probabilities
            )
            pending.append(batch)
            num_images += batch.num_rows
            progress.update(batch.num_rows)
            if sum(each.num_rows for each in pending) >= _ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(pending, columns))
                pending = []
        writer.write_table(pa.Table.from_batches(pending, columns))
    logging.info(
        "%s: %d images, %.1f images/s.",
        output,
        num_images,
        num_images / (time.monotonic() - started),
    )


def _finish(request: Request) -> None:
    """Write the manifest if all shards are there.

    Workers that end together all do, each whole and with the same content.
    """
    missing = [output for output in request.outputs if not files.exists(output)]
    if missing:
        logging.info("%d shards are left to other workers.", len(missing))
        return
    indices = range(len(request.outputs))
    for index in indices:
        request.check_finished(index)
    counts = [_num_rows(output) for output in request.outputs]
    num_left_out = sum(len(request.left_out(index)) for index in indices)
    num_wanted = request.unlabeled.num_records - num_left_out
    if sum(counts) != num_wanted:
        raise ValueError(
            f"{request.directory} has predictions of {sum(counts)} images, "
            f"but the unlabeled shards hold {num_wanted}. Remove the directory "
            "and predict again."
        )
    # Not the manifest's: another worker may be writing it just now.
    files.remove_temporaries(
        request.directory, of=set(map(os.path.basename, request.outputs))
    )
    shards.write_manifest(
        request.directory,
        {
            predictions.TEACHER: request.teacher_fingerprint,
            predictions.UNLABELED: request.unlabeled_fingerprint,
            "num_classes": request.num_classes,
            "num_images": sum(counts),
            "num_left_out": num_left_out,
            "counts_per_class": plausibility.count_classes(
                request.outputs, num_classes=request.num_classes
            ).tolist(),
            "shards": [os.path.basename(output) for output in request.outputs],
            "num_images_per_shard": counts,
            "unlabeled_shards": [
                os.path.basename(p) for p in request.unlabeled.paths
            ],
        },
    )
