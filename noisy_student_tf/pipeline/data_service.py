"""Batches made on other machines, for hosts that starve beside their GPUs.

TensorFlow's service for tf.data gives elements of several workers in no order,
and after a restart some again, so that neither the batch of a step nor its
images would be known. Here every server is a service of its own, with one
worker: an input pipeline like that of one more host, which makes every n-th row
of the batches, in order, from any step on. The host takes one part of each and
lays the rows where they belong. The batches are those without servers.
"""

import socket
from collections.abc import Callable, Sequence

import tensorflow as tf

from noisy_student_tf.pipeline import raw_stream

FLAG = "--runtime.data_service"
_TIMEOUT_SECONDS = 10.0

# (start_step, input_pipelines, input_pipeline_index) -> endless batches.
MakeStream = Callable[..., tf.data.Dataset]
Batch = dict[str, tf.Tensor]


def read_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses that a flag lists.

    Raises:
        ValueError: One is no HOST:PORT.
    """
    addresses = tuple(part.strip() for part in text.split(",") if part.strip())
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or "/" in host:
            raise ValueError(
                f"{FLAG}={text}: {address!r} is no address. Accepted is "
                "HOST:PORT of each server, separated by commas."
            )
    return addresses


def check_reachable(addresses: Sequence[str]) -> None:
    """Refuse servers that take no connection; TensorFlow would wait for hours.

    Raises:
        ValueError: They are named.
    """
    silent = [address for address in addresses if not _answers(address)]
    if silent:
        raise ValueError(
            f"{FLAG}: no answer from {', '.join(silent)} within "
            f"{_TIMEOUT_SECONDS:g} s. Start `python -m run_scripts.make_input "
            "--port=PORT` there, check names, ports and firewalls, or leave "
            "these servers out."
        )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection(
            (host.strip("[]"), int(port)), timeout=_TIMEOUT_SECONDS
        ):
            return True
    except OSError:
        return False


def through(make_stream: MakeStream, addresses: Sequence[str]) -> MakeStream:
    """Return a function that makes the same stream on servers.

    Args:
        make_stream: Every n-th row of the batches from a step on, for one of
            several input pipelines.
        addresses: Of the servers, at least one.
    """

    def make(
        *,
        start_step: int,
        input_pipelines: int = 1,
        input_pipeline_index: int = 0,
    ) -> tf.data.Dataset:
        parts = [
            make_stream(
                start_step=start_step,
                input_pipelines=input_pipelines * len(addresses),
                # Of the host's rows every n-th one: of all rows those from
                # the host's first on, that many hosts times servers apart.
                input_pipeline_index=place * input_pipelines
                + input_pipeline_index,
            ).apply(
                tf.data.experimental.service.distribute(
                    tf.data.experimental.service.ShardingPolicy.OFF,
                    service=f"grpc://{address}",
                )
            )
            for place, address in enumerate(addresses)
        ]
        return raw_stream.finish(tf.data.Dataset.zip(*parts).map(_join))

    return make


@tf.autograph.experimental.do_not_convert
def _join(*parts: Batch) -> Batch:
    """Return batches whose rows come from the parts in turn."""

    def rows(name: str) -> tf.Tensor:
        tensors = [part[name] for part in parts]
        joined = tf.stack(tensors, axis=1)  # [rows / n, n, ...]
        return tf.reshape(joined, [-1, *joined.shape[2:]])

    return {
        name: tf.ensure_shape(
            rows(name),
            [len(parts) * tensor.shape[0], *tensor.shape[1:]],
        )
        for name, tensor in parts[0].items()
    }
