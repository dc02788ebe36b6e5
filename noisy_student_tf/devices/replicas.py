"""Batches divided among replicas, and into parts that follow each other.

Of training they are dealt in a fixed order; of inference they are cut.

A model that is called outside of `strategy.run` computes on one device; on a
TPU, whose variables live on the chip, on the host's processor.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from noisy_student_tf.devices import runtime

# A tensor [batch, ...], or in its place those of several hosts.
Rows: TypeAlias = "tf.Tensor | tuple[tf.Tensor, ...]"
# Tensors [batch, ...] to one tensor [batch, ...], every row by itself.
RowsFn = Callable[..., tf.Tensor]


class MakeStream(Protocol):
    """Makes an infinite dataset of batches from a step on.

    Of several input pipelines, one in each process, each gives every n-th row
    of the global batches, beginning with its own index.
    """

    def __call__(
        self,
        *,
        start_step: int,
        input_pipelines: int = 1,
        input_pipeline_index: int = 0,
    ) -> tf.data.Dataset:
        """Return the dataset."""
        ...


def distribute(
    make_stream: MakeStream,
    *,
    start_step: int,
    strategy: tf.distribute.Strategy,
    labeled_batch_size: int,
    unlabeled_batch_size: int,
    has_clean_twins: bool = False,
) -> tf.data.Dataset:
    """Return the stream of batches, split over the replicas.

    Replica i of n gets every n-th row of every global batch, beginning with
    the i-th. Each process of a multi-worker run reads its own rows alone, and
    with one replica in each these are the same rows.

    `make_stream` returns batches of these sizes from a step on; see
    `step.compute_gradients`.

    Raises:
        ValueError: The stream's shapes are not static, or not these.
    """

    def local_stream(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = context.num_input_pipelines
        stream = stream_of_host(
            make_stream,
            start_step=start_step,
            host=context.input_pipeline_id,
            num_hosts=count,
        )
        _check_shapes(
            stream.element_spec,
            labeled_rows=labeled_batch_size // count,
            unlabeled_rows=unlabeled_batch_size // count,
            has_clean_twins=has_clean_twins,
        )
        stream = _deal(stream, context.num_replicas_in_sync // count)
        # Of a dataset that may end several workers agree at every step whether
        # it has, and its shapes are no longer static.
        is_endless = tf.data.experimental.assert_cardinality(
            tf.data.INFINITE_CARDINALITY
        )
        return stream.apply(is_endless)

    if strategy.num_replicas_in_sync == 1 and not has_accelerator():
        # The strategy's own iterator copies to a device ahead of time; on a
        # CPU there is nothing to copy, and ending it takes a minute.
        return local_stream(tf.distribute.InputContext())
    return strategy.distribute_datasets_from_function(local_stream)


def made_once(make_stream: MakeStream) -> MakeStream:
    """Return a function that remembers the stream that it made last.

    Tracing one takes seconds. A stream stays on the host that it was made on:
    another host's is another one.
    """

    @functools.lru_cache(maxsize=1)
    def make(device: str, **arguments: int) -> tf.data.Dataset:
        return make_stream(**arguments)

    return lambda **arguments: make(tf.zeros([]).device, **arguments)


def stream_of_host(
    make_stream: MakeStream, *, start_step: int, host: int, num_hosts: int
) -> tf.data.Dataset:
    """Return one host's part of the batches from a step on."""
    part = {"input_pipelines": num_hosts, "input_pipeline_index": host}
    return make_stream(start_step=start_step, **(part if num_hosts > 1 else {}))


def num_hosts(strategy: tf.distribute.Strategy) -> int:
    """Return how many hosts read a strategy's batches, a part each."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return strategy.extended.num_hosts
    return runtime.num_workers(strategy)


def _deal(stream: tf.data.Dataset, num_replicas: int) -> tf.data.Dataset:
    """Cut batches into those of this process' replicas, one after another."""
    if num_replicas == 1:
        return stream

    def cut(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {
            name: _every_nth_row(tensor, num_replicas)
            for name, tensor in batch.items()
        }  # [num_replicas, per replica, ...]

    # The strategy hands consecutive elements to consecutive replicas.
    stream = stream.map(cut, num_parallel_calls=1).unbatch()
    return stream.prefetch(2 * num_replicas)


def _every_nth_row(tensor: tf.Tensor, num_replicas: int) -> tf.Tensor:
    """Return rows 0, n, 2 n, ..., then 1, n + 1, ...: [n, rows / n, ...]."""
    shape = [-1, num_replicas]
    order = np.arange(tensor.shape[0]).reshape(shape).T  # [n, rows / n]
    # Copies whole rows; a slice with a stride copies bytes, one at a time.
    return tf.gather(tensor, order)


def has_accelerator() -> bool:
    """Tell whether there is a GPU or a TPU."""
    return any(map(tf.config.list_logical_devices, ("GPU", "TPU")))


def _check_shapes(
    spec: dict[str, tf.TensorSpec],
    *,
    labeled_rows: int,
    unlabeled_rows: int,
    has_clean_twins: bool,
) -> None:
    """Check that batches hold what the step takes, in static shapes."""
    sizes = {
        "labeled_images": labeled_rows,
        "labels": labeled_rows,
        "unlabeled_images": unlabeled_rows,
        "soft_labels": unlabeled_rows,
    }
    if has_clean_twins:
        sizes["clean_unlabeled_images"] = unlabeled_rows
        if "soft_labels" not in spec:  # The teacher's take their place.
            del sizes["soft_labels"]
    if "label_probabilities" in spec:  # Mixed images have both.
        sizes["label_probabilities"] = labeled_rows
    expected = {name for name, size in sizes.items() if size}
    if set(spec) != expected:
        raise ValueError(
            f"The stream's batches hold {sorted(spec)}; this training takes "
            f"{sorted(expected)}."
        )
    for name, tensor_spec in spec.items():
        shape = tensor_spec.shape
        if not shape.is_fully_defined() or shape[0] != sizes[name]:
            raise ValueError(
                f"The stream's {name} have the shape {shape}; it must be "
                f"static, with {sizes[name]} rows (drop the remainder of the "
                "last batch)."
            )


def sum_parts_within_replica(
    compute: Callable[[tf.Tensor], Sequence[tf.Tensor]],
    *,
    num_parts: int,
    shapes: Sequence[Sequence[int]],
) -> list[tf.Tensor]:
    """Sum what one replica computes for each part, in a loop of its program.

    For a TPU, whose cores can meet inside of a loop, and whose sums would
    leave the program and come back with every part of the other loop. For the
    arguments see `sum_parts_around_replicas`.
    """

    def add_part(
        part: tf.Tensor, sums: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        terms = compute(part)
        return part + 1, [a + b for a, b in zip(sums, terms, strict=True)]

    _, sums = tf.while_loop(
        lambda part, sums: part < num_parts,
        add_part,
        (tf.constant(0), [tf.zeros(shape) for shape in shapes]),
        parallel_iterations=1,
    )
    return sums


def sum_parts_around_replicas(
    strategy: tf.distribute.Strategy,
    compute: Callable[..., Sequence[tf.Tensor]],
    arguments: tuple[Any, ...],
    *,
    num_parts: int,
    shapes: Sequence[Sequence[int]],
) -> list[Any]:
    """Sum what every replica computes for each part, in a loop of the device.

    One part is in memory at a time. The loop is around the replicas, because
    replicas cannot meet (in synchronized batch normalization) inside of one.

    Args:
        strategy: Whose replicas compute.
        compute: (part, *arguments) -> float32 tensors of `shapes`, one
            replica's; `part` is int32 [], from 0.
        arguments: Values per replica, as are the sums.
        num_parts: Length of the loop.
        shapes: Of the sums.
    """

    def add(
        sums: Sequence[tf.Tensor], part: tf.Tensor, arguments: tuple[Any, ...]
    ) -> list[tf.Tensor]:
        terms = compute(part, *arguments)
        return [a + b for a, b in zip(sums, terms, strict=True)]

    def add_part(part: tf.Tensor, sums: list[Any]) -> tuple[tf.Tensor, Any]:
        return part + 1, strategy.run(add, args=(sums, part, arguments))

    zeros = strategy.run(lambda: [tf.zeros(shape) for shape in shapes])
    _, sums = tf.while_loop(
        lambda part, sums: part < num_parts,
        add_part,
        (tf.constant(0), zeros),
        parallel_iterations=1,
    )
    return sums


def num_local(strategy: tf.distribute.Strategy) -> int:
    """Return how many of a strategy's replicas this process drives."""
    return strategy.num_replicas_in_sync // runtime.num_workers(strategy)


def spread(compute: RowsFn, strategy: tf.distribute.Strategy | None) -> RowsFn:
    """Return a function that divides each batch among a host's replicas.

    Every replica gets as many rows; a batch that does not divide is padded
    with zeros, whose outputs are dropped. In the place of a batch the function
    takes the parts of several hosts, as a tuple: each divides its own. The
    other hosts of a multi-worker strategy take no part and need not call it.

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

    def compute_spread(*batches: Rows) -> tf.Tensor:
        # Replicas are numbered host by host.
        hosts = [
            batch if isinstance(batch, tuple) else (batch,) for batch in batches
        ]
        num_each = num_replicas // len(hosts[0])
        parts = [_divide(each, num_each, strategy) for each in hosts]

        def own_rows(
            context: tf.distribute.experimental.ValueContext,
        ) -> tuple[Any, ...]:
            place = context.replica_id_in_sync_group % num_replicas
            return tuple(part[place] for part in parts)

        # Cut here, so that a replica is sent its own rows and no others.
        rows = strategy.experimental_distribute_values_from_function(own_rows)
        outputs = strategy.run(compute, args=rows)
        return _undivide(
            strategy.experimental_local_results(outputs),
            sizes=[part.shape[0] for part in hosts[0]],
        )

    return compute_spread


def _undivide(parts: Sequence[tf.Tensor], sizes: Sequence[int]) -> tf.Tensor:
    """Join what `_divide` cut of hosts' rows, without the padding."""
    each = len(parts) // len(sizes)
    rows = [
        tf.concat(parts[i * each : (i + 1) * each], 0)[:size]
        for i, size in enumerate(sizes)
    ]
    return tf.concat(rows, 0)


def _runs_on_replicas(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether a plain call would not compute where the weights are."""
    return (
        strategy.num_replicas_in_sync > 1
        # One core of a TPU, too: a plain call runs on the host.
        or isinstance(strategy, tf.distribute.TPUStrategy)
        or bool(runtime.other_hosts(strategy))
    )


def _divide(
    hosts: Sequence[tf.Tensor], num_each: int, strategy: tf.distribute.Strategy
) -> list[tf.Tensor]:
    """Return hosts' rows in equal parts, those of a host padded with zeros."""
    parts = []
    # Where rows lie they are cut, too.
    places = runtime.other_hosts(strategy) if len(hosts) > 1 else [None]
    for place, rows in zip(places, hosts, strict=True):
        size = rows.shape[0]
        if size is None:
            raise ValueError(
                "Inference on several replicas needs batches of a known size. "
                f"Received images of shape {rows.shape}."
            )
        missing = -size % num_each
        padding = [[0, missing]] + [[0, 0]] * (len(rows.shape) - 1)
        with tf.device(place):
            parts.extend(tf.split(tf.pad(rows, padding), num_each))
    return parts
