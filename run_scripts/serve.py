"""Serve an exported model: a page, JSON, and TensorFlow Serving's REST.

    python -m run_scripts.serve --export=runs/digits/export/saved_model
    curl --data-binary @cat.jpg http://127.0.0.1:8501/classify
    curl -F pictures=@cat.jpg -F pictures=@dog.jpg \\
        http://127.0.0.1:8501/classify

A newer export in the same place is taken while the server runs. SIGTERM ends
it when what it took is answered. One line of JSON a request goes to standard
output; docs/serving.md says what its limits are for.
"""

import importlib.util
import resource
import socket
import sys
from typing import TYPE_CHECKING

from absl import flags

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree
from run_scripts import flags as config_flags

if TYPE_CHECKING:
    from noisy_student_tf.serving import answering, prediction_log

FLAGS = flags.FLAGS

# What is imported -> what is installed.
_PACKAGES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "prometheus_client": "prometheus-client",
    "python_multipart": "python-multipart",
}
# That a server has open besides its connections, roughly.
_OTHER_FILES = 200


def define_flags() -> None:
    """Define the flags of this script."""
    config_tree.DEFINE_path("export", None, "SavedModel, or a run's directory.")
    flags.DEFINE_string(
        "host", "127.0.0.1", "Address to listen on; 0.0.0.0 is all networks."
    )
    flags.DEFINE_integer("port", 8501, "Port; 0 takes a free one.", 0, 65535)
    config_flags.define_runtime_flag()
    config_tree.DEFINE_path(
        "token_file",
        None,
        "File of a token of 16 characters or more, which requests have to "
        "send as `Authorization: Bearer TOKEN`. By default none is asked for.",
    )
    flags.DEFINE_integer(
        "max_batch_size", 32, "Pictures that are classified together.", 1
    )
    flags.DEFINE_float(
        "max_wait_ms",
        0.0,
        "For how long a picture waits for others while the model is free.",
        0.0,
    )
    flags.DEFINE_integer(
        "max_waiting", 256, "Pictures that wait before 503 is answered.", 1
    )
    flags.DEFINE_integer(
        "max_connections", 1000, "Connections before 503 is answered.", 1
    )
    flags.DEFINE_float("max_megabytes", 32.0, "Of a request.", 0.001)
    flags.DEFINE_float(
        "max_megapixels", 50.0, "Of a picture; larger ones stay undecoded.", 0.1
    )
    flags.DEFINE_float(
        "read_seconds", 30.0, "Until a request is there whole.", 0.1
    )
    flags.DEFINE_float("answer_seconds", 30.0, "Until it is answered.", 0.1)
    flags.DEFINE_float(
        "reload_seconds",
        10.0,
        "How often a newer export is looked for; 0: never.",
        0.0,
    )
    _define_log_flags()
    flags.DEFINE_boolean(
        "access_log", True, "Write a line of JSON for every request."
    )


def _define_log_flags() -> None:
    config_tree.DEFINE_path(
        "prediction_log",
        None,
        "Folder to which id, time, class, confidence and energy of every "
        "picture are written, for run_scripts.drift. By default nothing is.",
    )
    flags.DEFINE_float(
        "keep_uncertain_below",
        0.0,
        "Pictures of a lower confidence are kept in pictures/ of "
        "--prediction_log, the next unlabeled images; 0: none.",
        0.0,
        1.0,
    )
    flags.DEFINE_integer(
        "keep_at_most", 10_000, "Pictures that are kept in all.", 1
    )
    flags.DEFINE_float("keep_megabytes", 1024.0, "Of all of them.", 0.001)


def main(_: list[str]) -> None:
    """Serve until told to end."""
    config_flags.require("export", "runs/digits/export/saved_model")
    missing = [
        package
        for name, package in _PACKAGES.items()
        if not importlib.util.find_spec(name)
    ]
    if missing:
        raise ImportError(
            f"{', '.join(missing)}: not installed. Run pip install -e "
            "'.[serving]'."
        )
    import uvicorn

    from noisy_student_tf.devices import runtime
    from noisy_student_tf.serving import app, guards

    runtime.set_up_logging()
    _allow_open_files(2 * FLAGS.max_connections + _OTHER_FILES)
    # Before the model is loaded, which takes seconds.
    with _listen() as listening:
        config = uvicorn.Config(
            app.make_app(FLAGS.export, _settings()),
            log_level="info",
            access_log=False,
            limit_concurrency=FLAGS.max_connections,
            http=guards.bounded_connections(
                # The others are told 503.
                max_open=2 * FLAGS.max_connections,
                idle_seconds=FLAGS.read_seconds,
            ),
            timeout_graceful_shutdown=int(FLAGS.answer_seconds) + 1,
        )
        uvicorn.Server(config).run(sockets=[listening])


def _allow_open_files(count: int) -> None:
    """Raise the limit that systems begin with, as far as they let us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _listen() -> socket.socket:
    family = socket.AF_INET6 if ":" in FLAGS.host else socket.AF_INET
    try:
        return socket.create_server((FLAGS.host, FLAGS.port), family=family)
    except OSError as error:
        raise ValueError(
            f"--host={FLAGS.host} --port={FLAGS.port}: cannot listen there "
            f"({error.strerror}). Another program may use the port: take "
            "another one, or --port=0 for a free one."
        ) from error


def _settings() -> "answering.Settings":
    from noisy_student_tf.serving import answering, batching, guards

    def write_line(request: guards.Request) -> None:
        sys.stdout.write(guards.as_json(request) + "\n")
        sys.stdout.flush()

    return answering.Settings(
        batches=batching.Limits(
            max_batch_size=FLAGS.max_batch_size,
            max_wait_seconds=FLAGS.max_wait_ms / 1000,
            max_waiting=FLAGS.max_waiting,
        ),
        requests=guards.Limits(
            max_bytes=int(FLAGS.max_megabytes * 2**20),
            read_seconds=FLAGS.read_seconds,
            answer_seconds=FLAGS.answer_seconds,
        ),
        max_pixels=int(FLAGS.max_megapixels * 1_000_000),
        token=_read_token(),
        reload_seconds=FLAGS.reload_seconds,
        runtime=FLAGS.runtime,
        log=_log_settings(),
        **({"tell": write_line} if FLAGS.access_log else {}),
    )


def _log_settings() -> "prediction_log.Settings | None":
    if not FLAGS.prediction_log:
        if FLAGS.keep_uncertain_below:
            raise ValueError(
                f"--keep_uncertain_below={FLAGS.keep_uncertain_below}: kept "
                "pictures need a folder. Give --prediction_log, too."
            )
        return None
    from noisy_student_tf.serving import prediction_log

    return prediction_log.Settings(
        directory=FLAGS.prediction_log,
        keep_below=FLAGS.keep_uncertain_below,
        max_pictures=FLAGS.keep_at_most,
        max_bytes=int(FLAGS.keep_megabytes * 2**20),
    )


def _read_token() -> str:
    if not FLAGS.token_file:
        return ""
    token = files.read_text(FLAGS.token_file).strip()
    if not token:
        raise ValueError(
            f"--token_file={FLAGS.token_file}: the file is empty. Write a "
            "token into it: openssl rand -hex 16."
        )
    return token


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
