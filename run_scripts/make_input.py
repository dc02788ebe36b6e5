"""Make training batches for other machines, whose cores are too few.

    python -m run_scripts.make_input --port=5050

on each of some machines that see the shards under the same paths, and
`--runtime.data_service=HOST_A:5050,HOST_B:5050` for the run. A server knows
nothing of a run: it computes what is sent to it, for anyone who reaches its
port, so let none but the run's machines. It ends when it is stopped; the run,
which fails then, goes on with the same command.
"""

import tensorflow as tf
from absl import flags

from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define where it listens."""
    flags.DEFINE_integer(
        "port", 5050, "Where it listens. 0: a free one.", lower_bound=0
    )
    flags.DEFINE_string(
        "host", "localhost", "The name under which the run finds this machine."
    )


def start(
    *, port: int, host: str
) -> tuple[
    tf.data.experimental.service.DispatchServer,
    tf.data.experimental.service.WorkerServer,
]:
    """Start a service with one worker; it ends with the returned objects."""
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
    own = dispatcher.target.removeprefix("grpc://")
    worker = service.WorkerServer(
        service.WorkerConfig(
            dispatcher_address=own, worker_address=f"{host}:%port%"
        )
    )
    return dispatcher, worker


def main(_: list[str]) -> None:
    """Listen until the process is stopped."""
    dispatcher, _worker = start(port=flags.FLAGS.port, host=flags.FLAGS.host)
    print(f"Listening at {dispatcher.target}", flush=True)
    dispatcher.join()


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
