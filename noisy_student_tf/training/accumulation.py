"""Accumulation of gradients: a large batch in parts, one after another."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def part_of(
    batch: dict[str, tf.Tensor], part: tf.Tensor, num_parts: int
) -> dict[str, tf.Tensor]:
    """Return consecutive rows of a batch.

    Args:
        batch: Tensors [rows, ...] of static shapes; `num_parts` divides each
            number of rows.
        part: int32 [], which part, from 0.
        num_parts: How many there are.
    """
    parts = {}
    for name, tensor in batch.items():
        rows, *inner = tensor.shape
        shape = [num_parts, rows // num_parts, *inner]
        parts[name] = tf.reshape(tensor, shape)[part]
    return parts


def sum_over_parts(
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
        compute: (part, *arguments) -> float32 tensors, one replica's; `part`
            is int32 [], from 0.
        arguments: Values per replica.
        num_parts: Length of the loop.
        shapes: Of the tensors that `compute` returns.

    Returns:
        Their sums over the parts, values per replica.
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
