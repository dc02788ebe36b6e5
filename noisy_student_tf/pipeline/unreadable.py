"""Rows whose pictures cannot be read: counted, named, and replaced.

A row that is lost shall not move the ones behind it, or a resumed run would
see other batches. The next row that can be read stands in for it.
"""

import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Rows = dict[str, tf.Tensor]


def map_readable(
    function: Callable[..., Rows], *arguments: tf.Tensor
) -> tuple[Rows, tf.Tensor]:
    """Call a function of each row, whose errors mean that the row is lost.

    Only tf.data can go on after an error: the rows are a small pipeline inside
    the function of a larger one. All are tried at once, and one by one where
    that fails.

    Args:
        function: One row of each argument -> tensors of static shapes.
        *arguments: [n, ...] each, of static n.

    Returns:
        The results, [n, ...] each, zeros where a row is lost, and whether each
        row is there, bool [n].
    """

    num_rows = arguments[0].shape[0]
    # Traced once, for two places that call it.
    traced = tf.function(
        function,
        input_signature=[
            tf.TensorSpec(a.shape[1:], a.dtype) for a in arguments
        ],
        autograph=False,
    )
    signature = tf.nest.map_structure(
        lambda result: tf.TensorSpec(result.shape, result.dtype),
        traced.get_concrete_function().structured_outputs,
    )

    @tf.autograph.experimental.do_not_convert
    def call_all(*rows: tf.Tensor) -> tuple[tf.Tensor, Rows]:
        results = tf.map_fn(
            lambda row: traced(*row), rows, fn_output_signature=signature
        )
        return tf.constant(True), results

    @tf.autograph.experimental.do_not_convert
    def call_one(place: tf.Tensor, *row: tf.Tensor) -> tuple[tf.Tensor, Rows]:
        return place, traced(*row)

    def one_by_one() -> tuple[Rows, tf.Tensor]:
        rows = tf.data.Dataset.from_tensor_slices(
            (tf.range(num_rows), *arguments)
        )
        return _collect(rows.map(call_one), num_rows)

    at_once = tf.data.Dataset.from_tensors(arguments).map(call_all)
    is_whole, results = _first_or_zeros(at_once)
    return tf.cond(
        is_whole, lambda: (results, tf.fill([num_rows], True)), one_by_one
    )


def _first_or_zeros(dataset: tf.data.Dataset) -> Any:
    """Return the only element, zeros where it raises an error."""
    return (
        dataset.ignore_errors()
        .concatenate(_zeros(dataset))
        .take(1)
        .get_single_element()
    )


def _zeros(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(
        tf.nest.map_structure(
            lambda spec: tf.zeros(spec.shape, spec.dtype), dataset.element_spec
        )
    )


def _collect(
    numbered: tf.data.Dataset, num_rows: int
) -> tuple[Rows, tf.Tensor]:
    """Return what `map_readable` does of (place int32 [], results) pairs."""
    numbered = numbered.ignore_errors(log_warning=True)
    # Before the others, for when there are none.
    numbered = _zeros(numbered).concatenate(numbered)
    places, found = numbered.batch(num_rows + 1).get_single_element()
    places = places[1:]
    # Where each row's result lies; 0 is nothing.
    sources = tf.scatter_nd(
        places[:, tf.newaxis], tf.range(tf.size(places)) + 1, [num_rows]
    )
    return _take(found, sources), sources > 0


def replace(
    chunks: tf.data.Dataset,
    *,
    first_number: int,
    rows_per_epoch: int,
    max_lost_per_epoch: float,
    name: Callable[[tf.Tensor], tf.Tensor],
) -> tf.data.Dataset:
    """Replace rows that are lost by the ones that follow them.

    Args:
        chunks: Consecutive rows in order: numbers int64 [n]; whether each is
            there, bool [n]; what is wrong with its labels, string [n], or
            nothing; the rows, [n, ...] each.
        first_number: Number of the first row.
        rows_per_epoch: Of this host.
        max_lost_per_epoch: Rows that may be lost in an epoch.
        name: int64 [] number -> string [], for the log.

    Returns:
        The rows, without their numbers, in chunks of any size: one for each
        number. Wrong labels and too many lost rows raise
        tf.errors.InvalidArgumentError.
    """
    none = tf.constant(0, tf.int64)
    first_epoch = tf.constant(first_number // rows_per_epoch, tf.int64)

    @tf.autograph.experimental.do_not_convert
    def follow(state: tuple[tf.Tensor, ...], chunk: Any) -> Any:
        num_waiting, epoch, num_lost = state
        numbers, is_there, problems, rows = chunk
        checked = _check_problems(problems, is_there, numbers, name)
        with tf.control_dependencies([checked]):
            is_whole = tf.reduce_all(is_there)
        epochs = numbers // rows_per_epoch
        num_lost = tf.cond(
            is_whole,
            lambda: tf.where(epochs[-1] == epoch, num_lost, 0),
            lambda: _count_lost(
                numbers, is_there, epochs, epoch, num_lost, name, max_lost
            ),
        )
        num_waiting, rows = tf.cond(
            is_whole & (num_waiting == 0),
            lambda: (num_waiting, rows),
            lambda: _fill(rows, is_there, num_waiting),
        )
        return (num_waiting, epochs[-1], num_lost), rows

    max_lost = max_lost_per_epoch
    return chunks.scan((none, first_epoch, none), follow)


def _take(rows: Rows, places: tf.Tensor) -> Rows:
    return {key: tf.gather(value, places) for key, value in rows.items()}


def _fill(
    rows: Rows, is_there: tf.Tensor, num_waiting: tf.Tensor
) -> tuple[tf.Tensor, Rows]:
    """Let each row that is there stand in for those before it.

    Args:
        rows: [n, ...] each.
        is_there: bool [n].
        num_waiting: int64 [], rows of earlier chunks that nothing stood in
            for so far.

    Returns:
        How many wait now, and the rows that do not.
    """
    there = tf.where(is_there)[:, 0]
    # From the row before, how far each goes; the first also fills what waits.
    before = tf.concat([-1 - num_waiting[tf.newaxis], there[:-1]], 0)
    filled = tf.repeat(there, there - before[: tf.size(there)])
    num_rows = tf.size(is_there, tf.int64)
    now_waiting = num_waiting + num_rows - tf.size(filled, tf.int64)
    return now_waiting, _take(rows, filled)


def _count_lost(
    numbers: tf.Tensor,
    is_there: tf.Tensor,
    epochs: tf.Tensor,
    last_epoch: tf.Tensor,
    num_lost: tf.Tensor,
    name: Callable[[tf.Tensor], tf.Tensor],
    max_lost: float,
) -> tf.Tensor:
    """Report lost rows, and return how many the newest epoch has lost.

    Args:
        numbers: int64 [n].
        is_there: bool [n].
        epochs: int64 [n], of the rows.
        last_epoch: int64 [], the one that `num_lost` belongs to.
        num_lost: int64 [], before.
        name: As for `replace`.
        max_lost: Of an epoch.
    """
    lost = tf.boolean_mask(numbers, ~is_there)
    counts = tf.math.segment_sum(
        tf.cast(~is_there, tf.int64), epochs - epochs[0]
    )
    is_last = tf.range(tf.size(counts), dtype=tf.int64) == (
        last_epoch - epochs[0]
    )
    counts += tf.where(is_last, num_lost, 0)
    reported = _report(
        tf.map_fn(name, lost, fn_output_signature=tf.string),
        tf.reduce_max(counts),
        max_lost,
    )
    with tf.control_dependencies([reported]):
        return tf.identity(counts[-1])


def _check_problems(
    problems: tf.Tensor,
    is_there: tf.Tensor,
    numbers: tf.Tensor,
    name: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Fail where a row that is there has wrong labels."""
    is_wrong = (problems != "") & is_there

    def fail() -> tf.Tensor:
        first = tf.where(is_wrong)[0, 0]
        message = [problems[first], " (", name(numbers[first]), ")"]
        failed = tf.debugging.Assert(False, [tf.strings.join(message)])
        with tf.control_dependencies([failed]):
            return tf.constant(False)

    return tf.cond(tf.reduce_any(is_wrong), fail, lambda: tf.constant(True))


def _report(
    names: tf.Tensor, num_lost: tf.Tensor, max_lost: float
) -> tf.Tensor:
    """Print what is lost; fail where it is too much.

    Args:
        names: string [n], of the rows that are lost.
        num_lost: int64 [], in their epoch.
        max_lost: Accepted.
    """
    named = tf.strings.reduce_join(names, separator="; ")
    printed = tf.print(
        "warning: rows that cannot be read are replaced,",
        num_lost,
        "in this epoch:",
        named,
        output_stream=sys.stderr,
    )
    check = tf.debugging.Assert(
        tf.cast(num_lost, tf.float64) <= max_lost,
        [
            tf.strings.format(
                "{} rows cannot be read, {} the last of them, more than "
                "--data.max_corrupt_fraction allows. Build the shards again, "
                "or raise the fraction.",
                (num_lost, names[-1]),
            )
        ],
    )
    with tf.control_dependencies([printed, check]):
        return tf.constant(True)
