"""Work on shards on all cores of this machine, without Apache Beam.

Some thousand pictures are done by threads of this process: what decodes, hashes
and encodes them lets others run. Of more it does its share, from the first
moment on; each other core gets a process that joins when it has imported what
it needs, which takes seconds.
"""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import process
from typing import Any

from data_prep.shards import progress

# Fewer images are done before another process is of use.
MIN_IMAGES = 10_000

# More wait for each other, where Python itself is at work.
_MAX_THREADS = 4

_PRELOADED = ["data_prep.shards.shard_building"]


def num_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    elements: Sequence[Any],
    function: Callable[[Any], Any],
    *,
    title: str,
    num_images: int | None,
    num_processes: int | None = None,
) -> Iterator[Any]:
    """Yield a function's result of each element, as they are done.

    Args:
        elements: Plans of shards.
        function: A module's function.
        title: What the shards hold, as progress names it.
        num_images: How many images that are; None: many.
        num_processes: As many at once, this one included; None: one a core,
            or this one alone for few images.

    Raises:
        RuntimeError: A process was ended from outside, for lack of memory
            mostly.
    """
    if num_processes is None:
        is_many = num_images is None or num_images >= MIN_IMAGES
        num_processes = min(num_cores(), len(elements)) if is_many else 1
    if num_processes < 2:
        with progress.shown(title, num_images):
            yield from _in_threads(elements, function)
        return
    try:
        yield from _with_others(
            elements, function, title, num_images, num_processes
        )
    except process.BrokenProcessPool as error:
        raise RuntimeError(
            f"{title}: a process ended before its work did, for lack of memory "
            "mostly. Give the same command again to go on; with "
            "--data.beam_runner=DirectRunner everything is done in one process."
        ) from error
    finally:
        progress.count_in(None)


def _in_threads(
    elements: Sequence[Any], function: Callable[[Any], Any]
) -> Iterator[Any]:
    num_threads = min(num_cores(), _MAX_THREADS)
    with concurrent.futures.ThreadPoolExecutor(num_threads, "shards") as pool:
        futures = [pool.submit(function, element) for element in elements]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            # After an error nothing more is begun.
            pool.shutdown(cancel_futures=True)


def _with_others(
    elements: Sequence[Any],
    function: Callable[[Any], Any],
    title: str,
    num_images: int | None,
    num_processes: int,
) -> Iterator[Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    counter = context.Value("q", 0)
    threads = max(1, num_cores() // num_processes)
    others = concurrent.futures.ProcessPoolExecutor(
        num_processes - 1, context, _set_up, (counter, threads)
    )
    waiting = collections.deque(elements)
    done: queue.SimpleQueue[concurrent.futures.Future] = queue.SimpleQueue()
    for _ in range(num_processes - 1):
        threading.Thread(
            target=_let_another, args=(others, function, waiting, done)
        ).start()
    progress.count_in(counter)
    num_left = len(elements)
    try:
        with progress.shown(title, num_images):
            while num_left:
                # After its own element, what others have done meanwhile.
                if waiting and done.empty():
                    with contextlib.suppress(IndexError):
                        yield function(waiting.popleft())
                        num_left -= 1
                else:
                    yield done.get().result()
                    num_left -= 1
    finally:
        # After an error nothing more is begun.
        waiting.clear()
        others.shutdown(wait=False, cancel_futures=True)


def _let_another(
    others: concurrent.futures.Executor,
    function: Callable[[Any], Any],
    waiting: collections.deque[Any],
    done: queue.SimpleQueue[concurrent.futures.Future],
) -> None:
    """Hand elements to another process, one by one, once it has started."""
    with contextlib.suppress(IndexError, RuntimeError):
        others.submit(num_cores).result()
        while True:
            element = waiting.popleft()
            try:
                future = others.submit(function, element)
            except RuntimeError as error:
                # Somebody waits for this element.
                future = concurrent.futures.Future()
                future.set_exception(error)
            concurrent.futures.wait([future])
            done.put(future)


def _set_up(counter: Any, num_threads: int) -> None:
    """Prepare a process: no accelerator, and its share of the cores."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # Imported by the server already.
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(num_threads)
    tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    progress.count_in(counter)
