"""Show a person the pictures of a run that are worth a minute, and ask.

Reads the run in `--workdir`, finished or half-finished; makes its queues in
`review/` there, and opens a page on this machine. Decisions are appended to
`corrections.jsonl` (`docs/review.md`).

    python -m run_scripts.review --workdir=runs/mine

Of a run on another machine: start it there, and bring its port here with
`ssh -L 8502:127.0.0.1:8502 machine`.
"""

import importlib.util
import os
import secrets
import socket
from typing import TYPE_CHECKING

from absl import flags

from noisy_student_tf import workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import shards
from noisy_student_tf.review import stored
from noisy_student_tf.review.queues import building, facts
from run_scripts import flags as config_flags

if TYPE_CHECKING:
    from noisy_student_tf.review.page import app

_PACKAGES = ("fastapi", "uvicorn")
_DEFAULTS = facts.Settings()


def define_flags() -> None:
    """Define the flags of this script."""
    config_tree.DEFINE_path(
        "workdir", None, "Directory of the run.", required=True
    )
    config_flags.define_corrections_flags()
    flags.DEFINE_integer(
        "port", 8502, "Port on this machine; 0 takes a free one."
    )
    flags.DEFINE_integer(
        "queue_length",
        _DEFAULTS.length,
        "Pictures of a queue at most.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "num_looked_at",
        _DEFAULTS.num_looked_at,
        "Unlabeled images that the last network looks at again.",
        lower_bound=3,
    )


def main(_: list[str]) -> None:
    """Make the queues, and serve the page until interrupted."""
    _check_packages()
    workdir = workdirs.named(flags.FLAGS.workdir)
    # Before the queues are made: a port in use is known at once.
    with listen(flags.FLAGS.port) as listener:
        import uvicorn

        from noisy_student_tf.review.page import app

        session = make_session(workdir, listener.getsockname()[1])
        configuration = uvicorn.Config(
            app.make_app(session), log_level="warning"
        )
        print(describe(session), flush=True)
        uvicorn.Server(configuration).run(sockets=[listener])


def make_session(workdir: workdirs.Workdir, port: int) -> "app.Session":
    """Return what the page shows of a run.

    Raises:
        FileNotFoundError: There is no run.
        ValueError: Several files of decisions are named.
    """
    from noisy_student_tf.review.page import answers, app

    path, *others = config_flags.corrections_paths(workdir)
    if others:
        raise ValueError(
            f"--corrections={path},{','.join(others)}: new decisions go to one "
            "file; name it alone. run_scripts.corrections reads several."
        )
    settings = facts.Settings(
        length=flags.FLAGS.queue_length,
        num_looked_at=flags.FLAGS.num_looked_at,
    )
    kept = answers.Answers(path, config_flags.person())
    return app.Session(
        run=os.path.basename(workdir.root.rstrip("/")),
        class_names=shards.read_manifest(workdir.labeled)["class_names"],
        queues=building.build(workdir, settings),
        pictures=stored.Pictures(workdir),
        answers=kept,
        token=secrets.token_urlsafe(16),
        port=port,
    )


def listen(port: int) -> socket.socket:
    """Return a socket on this machine's own address.

    Raises:
        OSError: The port is in use.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(
            f"--port={port}: it cannot be listened on ({error}). Name another, "
            "or --port=0 for a free one."
        ) from error
    return listener


def describe(session: "app.Session") -> str:
    """Return where the page is, what it shows and what it writes."""
    lines = [
        f"{queue.title} {queue.missing or f'{len(queue.entries)} pictures'}"
        for queue in session.queues
    ]
    if session.answers.damaged:
        lines.append(
            f"{session.answers.path}: left out half-written lines, cut by a "
            f"kill or a full disk: {session.answers.damaged}"
        )
    return "\n".join(
        [
            *lines,
            f"Decisions of {session.answers.who} go to {session.answers.path}",
            "For this machine alone, and whoever has the token:",
            session.address,
        ]
    )


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        raise ImportError(
            f"{missing[0]} is not installed: pip install -e '.[serving]'."
        )


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
