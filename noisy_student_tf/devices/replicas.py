"""Inference on all devices of a host, whatever the strategy.

A model that is called outside of `strategy.run` computes on one device; on a
TPU, whose variables live on the chip, on the host's processor.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf.devices import cluster

# Tensors [batch, ...] to one tensor [batch, ...], every row by itself.
RowsFn = Callable[..., tf.Tensor]


def spread(compute: RowsFn, strategy: tf.distribute.Strategy | None) -> RowsFn:
    """Return a function that divides each batch among a host's replicas.

    Every replica gets as many rows; a batch that does not divide is padded
    with zeros, whose outputs are dropped. The other hosts of a multi-worker
    strategy take no part and need not call it.

    Args:
        compute: What one replica does with its rows. Its variables were made
            in the strategy's scope, and it calls no collective.
        strategy: Of the variables; None or one plain device: `compute` is
            returned as it is.

    Raises:
        ValueError: From the returned function, in tracing: the batch size is
            unknown.
    """
    if strategy is None or not _runs_on_replicas(strategy):
        return compute
    num_replicas = num_local(strategy)

    def compute_part(parts: list[tf.Tensor]) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        # Replicas are numbered host by host.
        place = context.replica_id_in_sync_group % num_replicas
        return compute(*(part[place] for part in parts))

    def compute_spread(*batches: tf.Tensor) -> tf.Tensor:
        parts = [_divide(batch, num_replicas) for batch in batches]
        outputs = strategy.run(functools.partial(compute_part, parts))
        joined = tf.concat(strategy.experimental_local_results(outputs), 0)
        return joined[: batches[0].shape[0]]

    return compute_spread


def num_local(strategy: tf.distribute.Strategy) -> int:
    """Return how many of a strategy's replicas this process drives."""
    return strategy.num_replicas_in_sync // cluster.num_workers(strategy)


def _runs_on_replicas(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether a plain call would not compute where the weights are."""
    return (
        strategy.num_replicas_in_sync > 1
        # One core of a TPU, too: a plain call runs on the host.
        or isinstance(strategy, tf.distribute.TPUStrategy)
    )


def _divide(batch: tf.Tensor, num_parts: int) -> tf.Tensor:
    """Return a batch in equal parts: [parts, rows, ...], padded with zeros."""
    size = batch.shape[0]
    if size is None:
        raise ValueError(
            "Inference on several replicas needs batches of a known size. "
            f"Received images of shape {batch.shape}."
        )
    rows = -(-size // num_parts)
    padding = [[0, rows * num_parts - size]] + [[0, 0]] * (len(batch.shape) - 1)
    return tf.reshape(
        tf.pad(batch, padding), [num_parts, rows, *batch.shape[1:]]
    )
