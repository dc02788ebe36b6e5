"""Requests to remote storage, made again when its answer may be better then.

TensorFlow's own file systems try again what a server refuses, and give up at
some point; a run that reads and writes for weeks gets there. What is asked here
once more is a whole request of ours: a file read, a listing, a rename.
"""

import random
import sys
import time
from collections.abc import Callable
from typing import Any

from absl import logging

_MOST_TRIES = 6
# Doubled after every try: half a minute in all.
_FIRST_PAUSE_SECONDS = 1.0


def is_passing(error: Exception) -> bool:
    """Tell whether such an error may be gone in a minute, as of a network."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(
        error,
        (
            tensorflow.errors.UnavailableError,
            tensorflow.errors.DeadlineExceededError,
            tensorflow.errors.AbortedError,
            tensorflow.errors.ResourceExhaustedError,
            tensorflow.errors.UnauthenticatedError,
        ),
    )


def call(path: str, function: Callable[[], Any]) -> Any:
    """Return what a function returns, called again while errors may pass.

    Every further try is a line of the log. Of a local path, without a scheme
    such as `gs://`, there is one try: what a disk refuses it refuses again.

    Args:
        path: What it asks for, named in messages.
        function: May be called again after any of its errors that pass.

    Raises:
        tf.errors.OpError: Of the last try, with the number of tries and the
            path, or of the first one whose error does not pass.
    """
    if "://" not in path:
        return function()
    pause = _FIRST_PAUSE_SECONDS
    for number in range(1, _MOST_TRIES):
        try:
            return function()
        except Exception as error:
            if not is_passing(error):
                raise
            # Hosts that were refused together shall not come back together.
            waited = pause * random.uniform(0.5, 1.0)
            logging.warning(
                "%s: try %d of %d failed, the next one in %.1f s: %s",
                path,
                number,
                _MOST_TRIES,
                waited,
                error,
            )
        time.sleep(waited)
        pause *= 2
    try:
        return function()
    except Exception as error:
        if not is_passing(error):
            raise
        raise _named(error, path) from error


def _named(error: Any, path: str) -> Exception:
    """Return an error of the same kind that says what was tried."""
    return type(error)(
        error.node_def,
        error.op,
        f"{path}: all {_MOST_TRIES} tries failed. Look at the network, and at "
        "the storage's quota and permissions; the same command goes on. The "
        f"last error: {error.message}",
    )
