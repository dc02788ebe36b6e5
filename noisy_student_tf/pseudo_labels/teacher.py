"""What a teacher can be made of: functions of images to probabilities."""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from noisy_student_tf import cluster

# Images float32 [batch, height, width, 3] in [0, 255] to probabilities float32
# [batch, num_classes].
PredictFn = Callable[[tf.Tensor], tf.Tensor]

# Below it a float32 has no logarithm to speak of.
_TINY = 1e-30


def average(teachers: Sequence[PredictFn]) -> PredictFn:
    """Return the mean of several teachers' probabilities."""
    if len(teachers) == 1:
        return teachers[0]

    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        return tf.add_n([each(images) for each in teachers]) / len(teachers)

    return predict_fn


def with_flip(teacher: PredictFn) -> PredictFn:
    """Return the mean over an image and its mirror image."""

    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        mirrored = tf.reverse(images, axis=[2])
        return (teacher(images) + teacher(mirrored)) / 2

    return predict_fn


def with_temperature(teacher: PredictFn, temperature: float) -> PredictFn:
    """Return p^(1 / temperature), renormalized; 1 changes nothing."""
    if temperature == 1:
        return teacher

    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(log_probabilities(teacher(images)) / temperature)

    return predict_fn


def log_probabilities(probabilities: tf.Tensor) -> tf.Tensor:
    """Return logarithms, finite also of zeros: they serve as logits."""
    return tf.math.log(tf.maximum(probabilities, _TINY))


def on_replicas(
    teacher: PredictFn, strategy: tf.distribute.Strategy
) -> PredictFn:
    """Return a teacher that divides each batch among this host's replicas.

    Of several hosts each labels batches of its own.

    Args:
        teacher: Its variables were made in the strategy's scope.
        strategy: Whose replicas compute.

    Raises:
        ValueError: From the returned function, in tracing: the batch does not
            divide by the replicas.
    """
    num_replicas = strategy.num_replicas_in_sync // cluster.num_workers(
        strategy
    )
    if num_replicas == 1:
        return teacher

    def part_of(parts: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return teacher(parts[context.replica_id_in_sync_group % num_replicas])

    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        batch_size = images.shape[0]
        if batch_size is None or batch_size % num_replicas:
            raise ValueError(
                f"--training.evaluation_batch_size={batch_size}: accepted is "
                f"a multiple of the {num_replicas} replicas that label."
            )
        parts = tf.reshape(
            images,
            [num_replicas, batch_size // num_replicas, *images.shape[1:]],
        )
        outputs = strategy.run(functools.partial(part_of, parts))
        return tf.concat(strategy.experimental_local_results(outputs), axis=0)

    return predict_fn
