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
    rows_per_epoch: int,
    max_lost_per_epoch: float,
    name: Callable[[tf.Tensor], tf.Tensor],
) -> tf.data.Dataset:
    """Replace rows that are lost by the ones that follow them.

    Args:
        examples: Triples, in order: number int64 [], below 0 for marks; what
            is wrong with the row's labels, string [], or nothing; example.
            Rows that raise an error are lost.
        first_number: Number of the first row.
        rows_per_epoch: Of this host.
        max_lost_per_epoch: Rows that may be lost in an epoch.
        name: int64 [] number -> string [], for the log.

    Returns:
        The examples, one for each number, without their numbers. Wrong labels
        and too many lost rows raise tf.errors.InvalidArgumentError.
    """
    start = tf.constant(first_number, tf.int64)
    none = tf.constant(0, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def follow(
        state: tuple[tf.Tensor, ...],
        element: tuple[tf.Tensor, tf.Tensor, Example],
    ) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, Example]]:
        return _follow(state, element, name, rows_per_epoch, max_lost_per_epoch)

    examples = examples.ignore_errors(log_warning=True).scan(
        (start, start, start // rows_per_epoch, none), follow
    )
    return examples.flat_map(_repeat)


def _follow(
    state: tuple[tf.Tensor, ...],
    element: tuple[tf.Tensor, tf.Tensor, Example],
    name: Callable[[tf.Tensor], tf.Tensor],
    rows_per_epoch: int,
    max_lost: float,
) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, Example]]:
    """Return the next state, and how often an example is given.

    The state is the next number to be given, the next to be seen, the epoch,
    and how many rows it lost.
    """
    next_given, next_seen, last_epoch, num_lost = state
    number, problem, example = element
    is_mark = number < 0
    upto = tf.where(is_mark, -number - 1, number)
    num_missing = upto - next_seen
    epoch = next_seen // rows_per_epoch
    num_lost = tf.where(epoch == last_epoch, num_lost, 0) + num_missing
    reported = tf.cond(
        num_missing > 0,
        lambda: _report(name(next_seen), num_missing, num_lost, max_lost),
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
    return (next_given, next_seen, epoch, num_lost), (repeat, example)


@tf.autograph.experimental.do_not_convert
def _repeat(repeat: tf.Tensor, example: Example) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(example).repeat(repeat)


def _fail(message: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
        return tf.constant(False)


def _report(
    name: tf.Tensor,
    num_missing: tf.Tensor,
    num_lost: tf.Tensor,
    max_lost: float,
) -> tf.Tensor:
    """Print what is lost; fail where it is too much."""
    printed = tf.print(
        "warning:",
        num_missing,
        "row(s) from",
        name,
        "on cannot be read and are replaced;",
        num_lost,
        "in this epoch.",
        output_stream=sys.stderr,
    )
    check = tf.debugging.Assert(
        tf.cast(num_lost, tf.float64) <= max_lost,
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
