"""Variables in TensorFlow's checkpoint files, by part and place. Edge.

`tf.train.Checkpoint` writes such files as well, but traces a graph at every
save, and does not see layers in lists. Keras' names depend on what a process
built before, so variables are named by their place: `model/00012`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf

_Value = TypeVar("_Value")

_MOST_LISTED = 3


def write(prefix: str, parts: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write values to `prefix.index` and `prefix.data-00000-of-00001`.

    Raises:
        tf.errors.OpError: They could not be written.
    """
    named = dict(_named(parts))
    with tf.device("/cpu:0"):
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=list(named),
            shape_and_slices=[""] * len(named),
            tensors=list(named.values()),
        )


def read(prefix: str, parts: Mapping[str, Sequence[tf.Variable]]) -> None:
    """Read variables; the files' other parts are left alone.

    Raises:
        ValueError: The files hold other variables, or cannot be read; nothing
            was assigned then.
    """
    try:
        # tf.train.load_checkpoint takes a prefix in ram:// for a directory.
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(f"{prefix} cannot be read: {error}") from error
    named = dict(_named(parts))
    found = {
        name: (shape, reader.get_variable_to_dtype_map()[name])
        for name, shape in reader.get_variable_to_shape_map().items()
        if name.split("/")[0] in parts
    }
    expected = {
        name: (variable.shape.as_list(), variable.dtype)
        for name, variable in named.items()
    }
    if found != expected:
        raise ValueError(_difference(found, expected))
    for name, variable in named.items():
        variable.assign(reader.get_tensor(name))


def _named(
    parts: Mapping[str, Sequence[_Value]],
) -> Iterator[tuple[str, _Value]]:
    for part, values in parts.items():
        for index, value in enumerate(values):
            yield f"{part}/{index:05d}", value


def _difference(
    found: Mapping[str, object], expected: Mapping[str, object]
) -> str:
    differing = [
        f"{name} is {found.get(name, 'missing')} in the files, "
        f"{expected.get(name, 'missing')} in the run"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    ]
    listed = "; ".join(differing[:_MOST_LISTED])
    return f"{len(differing)} variables differ: {listed}"
