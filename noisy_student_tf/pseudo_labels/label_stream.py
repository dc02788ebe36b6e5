"""Batches of images to checked labels, computed before they are asked for."""

import collections
import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf.pseudo_labels import teacher
from noisy_student_tf.records import predictions, schema

LabelBatch = Callable[[tf.Tensor], dict[str, tf.Tensor]]

# Batches that are computed before the first one's results are waited for.
_BATCHES_AHEAD = 2


@dataclasses.dataclass(frozen=True)
class Labels:
    """Labels of the images of one batch, all of one shard.

    Attributes:
        place: Of the shard among those that are read.
        rows: Ids, classes and confidences.
        probabilities: float16 [num_images, num_classes].
    """

    place: int
    rows: predictions.PredictedRows
    probabilities: np.ndarray


def compile_labeling(
    predict_fn: teacher.PredictFn, spec: Any, *, num_classes: int
) -> LabelBatch:
    """Return a function that labels batches of images, traced once.

    Args:
        predict_fn: The teacher.
        spec: Of a batch's images, or of each of several hosts' part.
        num_classes: Of the teacher.

    Raises:
        ValueError: From the function, in tracing: the teacher has another
            number of classes.
    """

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


def label(
    label_batch: LabelBatch,
    stream: tf.data.Dataset,
    paths: Sequence[str],
    left_out: Callable[[int], frozenset[bytes]],
) -> Iterator[Labels]:
    """Yield the labels of the valid images of all shards, batch by batch.

    Args:
        label_batch: What `compile_labeling` returned.
        stream: See `eval_stream.make_shards_stream`.
        paths: The shards that it reads.
        left_out: Place of a shard to the ids of its images that get no label.

    Raises:
        ValueError: An output is no probability, or an id is none of ours.
        tf.errors.DataLossError: A file is damaged.
        tf.errors.InvalidArgumentError: A picture is damaged.
    """
    # One for each host that labels at the same time.
    left_out = functools.lru_cache(256)(left_out)
    for batch, outputs in _ahead(label_batch, stream):
        places = batch["shards"].numpy()
        is_valid = batch["is_valid"].numpy()
        image_ids = batch["image_ids"].numpy()
        computed = {name: values.numpy() for name, values in outputs.items()}
        for place in np.unique(places[is_valid]).tolist():
            is_wanted = is_valid & (places == place)
            if unwanted := left_out(place):
                is_wanted &= [each not in unwanted for each in image_ids]
            found = {
                name: values[is_wanted] for name, values in computed.items()
            }
            ids = _id_array(image_ids[is_wanted], paths[place])
            yield _labels(place, ids, found, paths[place])


def _labels(
    place: int, ids: np.ndarray, found: dict[str, np.ndarray], path: str
) -> Labels:
    _check_probabilities(ids, found["sums"], found["minima"], path)
    rows = predictions.PredictedRows(
        found["class_ids"], found["confidences"], ids
    )
    return Labels(place, rows, found["probabilities"])


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


def _check_probabilities(
    ids: np.ndarray, sums: np.ndarray, minima: np.ndarray, path: str
) -> None:
    good = schema.are_probabilities(sums, minima)
    if not good.all():
        first = int(np.flatnonzero(~good)[0])
        raise ValueError(
            f"{path}: the teacher's outputs for image "
            f"{ids[first].tobytes().hex()} sum to {sums[first]} with minimum "
            f"{minima[first]}; accepted are probabilities. Check that the "
            "teacher is trained and ends in a softmax."
        )


def ahead_of_use(
    labels: Iterator[Labels], *, num_ahead: int
) -> Generator[Labels, None, None]:
    """Yield what a thread draws from an iterator, at most so many ahead."""
    executor = concurrent.futures.ThreadPoolExecutor(1)

    def draw() -> concurrent.futures.Future[Labels | None]:
        return executor.submit(next, labels, None)

    try:
        pending = collections.deque(draw() for _ in range(num_ahead))
        while (drawn := pending.popleft().result()) is not None:
            pending.append(draw())
            yield drawn
    finally:
        executor.shutdown(cancel_futures=True)


def by_place(
    labels: Iterator[Labels], num_shards: int, *, num_hosts: int = 1
) -> Iterator[tuple[int, Iterator[Labels]]]:
    """Yield every place with its batches, of which empty shards have none.

    Each is to be read to its end before the next one. What other hosts label
    meanwhile, some shards at a time, is held.

    Args:
        labels: Of each host in ascending places, every `num_hosts`-th.
        num_shards: Number of places.
        num_hosts: That label.
    """
    held: dict[int, list[Labels]] = {}

    def has_ended(place: int) -> bool:
        return any(
            other > place and (other - place) % num_hosts == 0 for other in held
        )

    def of_place(place: int) -> Iterator[Labels]:
        yield from held.pop(place, ())
        while not has_ended(place):
            each = next(labels, None)
            if each is None:
                return
            if each.place == place:
                yield each
            else:
                held.setdefault(each.place, []).append(each)

    for place in range(num_shards):
        yield place, of_place(place)
