"""What the hosts of a pod do by themselves, driven by one process.

Were its own stream the only one, one machine would decode every image that a
pod labels, and what it decodes would travel through it to the others. So each
host makes a part of every batch and keeps its images; names, labels and places
come to this process. And each host reads a checkpoint itself.

Where this process is the only host, the module is not imported.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# (input_pipelines, input_pipeline_index) -> the batches of that part.
MakePart = Callable[..., tf.data.Dataset]

_HERE = "/job:localhost/replica:0/task:0/device:CPU:0"
_IMAGES, _IS_VALID = "images", "is_valid"


def made_on(hosts: Sequence[str], make_part: MakePart) -> Any:
    """Return a stream whose parts some hosts make.

    Args:
        hosts: What `runtime.other_hosts` returned.
        make_part: Makes a host's part of every batch: `images` float32,
            `is_valid` bool and other tensors, [rows, ...] each.

    Returns:
        What can be iterated like a dataset: batches of which `images`
        are a tuple, with the images of a host each, where they lie; the other
        tensors are joined in that order. Of one host they are one tensor.
    """
    parts = []
    for index, host in enumerate(hosts):
        with tf.device(host):
            part = {
                "input_pipelines": len(hosts),
                "input_pipeline_index": index,
            }
            parts.append(make_part(**part if len(hosts) > 1 else {}))
    return _Stream(tuple(hosts), tuple(parts))


@dataclasses.dataclass(frozen=True)
class _Stream:
    """The parts of a finite stream.

    Attributes:
        hosts: That make the parts.
        parts: Their datasets.
        num_batches: At most so many are given; None: all.
    """

    hosts: tuple[str, ...]
    parts: tuple[tf.data.Dataset, ...]
    num_batches: int | None = None

    @property
    def element_spec(self) -> dict[str, Any]:
        """What a batch is made of, as of a dataset."""
        return _join([part.element_spec for part in self.parts], _join_specs)

    def take(self, num_batches: int) -> "_Stream":
        """Return a stream of the first batches."""
        return dataclasses.replace(self, num_batches=num_batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the batches that hold images, whose parts are made at once."""
        return itertools.islice(self._all(), self.num_batches)

    def _all(self) -> Iterator[dict[str, Any]]:
        iterators = []
        for host, part in zip(self.hosts, self.parts, strict=True):
            with tf.device(host):
                iterators.append(iter(part))
        for parts in zip(*iterators, strict=True):
            batch = _join(parts, _join_tensors)
            # Behind its images a host of several gives padding.
            if not batch[_IS_VALID].numpy().any():
                return
            yield batch


def _join(
    parts: Sequence[dict[str, Any]], join: Callable[[Sequence[Any]], Any]
) -> dict[str, Any]:
    joined = {
        name: join([part[name] for part in parts])
        for name in parts[0]
        if name != _IMAGES
    }
    images = tuple(part[_IMAGES] for part in parts)
    return {_IMAGES: images if len(images) > 1 else images[0], **joined}


def _join_specs(specs: Sequence[tf.TensorSpec]) -> tf.TensorSpec:
    rows = sum(spec.shape[0] for spec in specs)
    return tf.TensorSpec([rows, *specs[0].shape[1:]], specs[0].dtype)


def _join_tensors(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    with tf.device(_HERE):
        return tf.constant(np.concatenate([each.numpy() for each in tensors]))


def read_variables(prefix: str, named: Mapping[str, tf.Variable]) -> None:
    """Read once on each host, and assign in one call for each replica.

    Variables one by one, for each replica, would be millions of calls to a
    pod, and all their values would come from this process.

    Args:
        prefix: Of checkpoint files that all hosts see.
        named: Variables by their names there, of a strategy with replicas on
            those hosts.
    """
    components = [
        getattr(variable, "values", (variable,)) for variable in named.values()
    ]
    values: dict[str, Any] = {}
    assign = None
    for replica in zip(*components, strict=True):
        device = tf.DeviceSpec.from_string(replica[0].device)
        host = device.replace(device_type="CPU", device_index=0).to_string()
        if host not in values:
            with tf.device(host):
                values[host] = _restore(prefix, named)
        handles = [variable.handle for variable in replica]
        # Traced once, outside of all devices: it runs where it is called.
        assign = assign or _assign.get_concrete_function(handles, values[host])
        with tf.device(device.to_string()):
            assign(handles, values[host])


def _restore(prefix: str, named: Mapping[str, tf.Variable]) -> Any:
    return tf.raw_ops.RestoreV2(
        prefix=prefix,
        tensor_names=list(named),
        shape_and_slices=[""] * len(named),
        dtypes=[variable.dtype for variable in named.values()],
    )


@tf.function(autograph=False)
def _assign(handles: Sequence[tf.Tensor], values: Sequence[Any]) -> None:
    for handle, value in zip(handles, values, strict=True):
        tf.raw_ops.AssignVariableOp(resource=handle, value=value)
