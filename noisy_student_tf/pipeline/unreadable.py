"""Rows whose pictures cannot be read: counted, named, and replaced.

A row that is lost shall not move the ones behind it, or a resumed run would
see other batches. The next row that can be read stands in for it.
"""

import sys
from collections.abc import Callable

import tensorflow as tf

Example = dict[str, tf.Tensor]


def mark(next_number: tf.Tensor) -> tf.Tensor:
    """Return a number that stands for no row but tells that rows went by.

    Where nothing can be read, nothing but marks passes: without them a stream
    would search for ever.

    Args:
        next_number: int64, of the row that follows.
    """
    return -next_number - 1


def replace(
    examples: tf.data.Dataset,
    *,
    first_number: int,
    max_corrupt: float,
    num_rows: int,
    name: Callable[[tf.Tensor], tf.Tensor],
) -> tf.data.Dataset:
    """Replace rows that are lost by the ones that follow them.

    Args:
        examples: Triples, in order: number int64 [], below 0 for marks; what
            is wrong with the row's labels, string [], or nothing; example.
            Rows that raise an error are lost.
        first_number: Number of the first row.
        max_corrupt: Share of all rows that may be lost.
        num_rows: Rows of an epoch; losses are counted over one at least.
        name: int64 [] number -> string [], for the log.

    Returns:
        The examples, one for each number, without their numbers. Wrong labels
        and too many lost rows raise tf.errors.InvalidArgumentError.
    """
    start = tf.constant(first_number, tf.int64)

    def limit(upto: tf.Tensor) -> tf.Tensor:
        num_seen = tf.maximum(upto - first_number, num_rows)
        return max_corrupt * tf.cast(num_seen, tf.float64)

    @tf.autograph.experimental.do_not_convert
    def follow(
        state: tuple[tf.Tensor, ...],
        element: tuple[tf.Tensor, tf.Tensor, Example],
    ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, Example]]:
        return _follow(state, element, name, limit)

    examples = examples.ignore_errors(log_warning=True).scan(
        (start, start, tf.constant(0, tf.int64)), follow
    )
    return examples.flat_map(_repeat)


def _follow(
    state: tuple[tf.Tensor, ...],
    element: tuple[tf.Tensor, tf.Tensor, Example],
    name: Callable[[tf.Tensor], tf.Tensor],
    limit: Callable[[tf.Tensor], tf.Tensor],
) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, Example]]:
    """Return the next state, and how often an example is given.

    The state is the next number to be given, the next to be seen, and how
    many were lost.
    """
    next_given, next_seen, num_lost = state
    number, problem, example = element
    is_mark = number < 0
    upto = tf.where(is_mark, -number - 1, number)
    num_missing = upto - next_seen
    num_lost += num_missing
    reported = tf.cond(
        num_missing > 0,
        lambda: _report(name(next_seen), num_missing, num_lost, limit(upto)),
        lambda: tf.constant(True),
    )
    checked = tf.cond(
        problem == "",
        lambda: tf.constant(True),
        lambda: _fail(tf.strings.join([problem, " (", name(number), ")"])),
    )
    with tf.control_dependencies([reported, checked]):
        repeat = tf.where(is_mark, tf.zeros_like(upto), upto - next_given + 1)
    next_given = tf.where(is_mark, next_given, upto + 1)
    next_seen = tf.where(is_mark, upto, upto + 1)
    return (next_given, next_seen, num_lost), (repeat, example)


def _repeat(repeat: tf.Tensor, example: Example) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(example).repeat(repeat)


def _fail(message: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
        return tf.constant(False)


def _report(
    name: tf.Tensor,
    num_missing: tf.Tensor,
    num_lost: tf.Tensor,
    limit: tf.Tensor,
) -> tf.Tensor:
    """Print what is lost; fail where it is too much."""
    printed = tf.print(
        "warning:",
        num_missing,
        "row(s) from",
        name,
        "on cannot be read and are replaced;",
        num_lost,
        "so far.",
        output_stream=sys.stderr,
    )
    check = tf.debugging.Assert(
        tf.cast(num_lost, tf.float64) <= limit,
        [
            tf.strings.format(
                "{} rows cannot be read, {} the last of them, more than "
                "--data.max_corrupt_fraction allows. Build the shards again, "
                "or raise the fraction.",
                (num_lost, name),
            )
        ],
    )
    with tf.control_dependencies([printed, check]):
        return tf.constant(True)
