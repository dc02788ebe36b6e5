"""Work on shards on all cores of this machine, without Apache Beam.

A few thousand pictures are done in this process; for more, each core gets a
process of its own. They start from a server that has imported what they need,
so that the time of importing is spent once.
"""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import process
from typing import Any

from data_prep.shards import progress

# Fewer images are done before processes are up.
MIN_IMAGES = 3000

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
        num_processes: As many at once; None: one a core, or none for few
            images.

    Raises:
        RuntimeError: A process was ended from outside, for lack of memory
            mostly.
    """
    if num_processes is None:
        is_many = num_images is None or num_images >= MIN_IMAGES
        num_processes = min(num_cores(), len(elements)) if is_many else 0
    if num_processes < 2:
        with progress.shown(title, num_images):
            yield from map(function, elements)
        return
    yield from _in_processes(
        elements, function, title, num_images, num_processes
    )


def _in_processes(
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
    pool = concurrent.futures.ProcessPoolExecutor(
        num_processes, context, _set_up, (counter, threads)
    )
    progress.count_in(counter)
    try:
        with pool, progress.shown(title, num_images):
            futures = [pool.submit(function, each) for each in elements]
            try:
                for future in concurrent.futures.as_completed(futures):
                    yield future.result()
            finally:
                # After an error nothing more is begun.
                pool.shutdown(wait=False, cancel_futures=True)
    except process.BrokenProcessPool as error:
        raise RuntimeError(
            f"{title}: a process ended before its work did, for lack of memory "
            "mostly. Give the same command again to go on; with "
            "--data.beam_runner=DirectRunner everything is done in one process."
        ) from error
    finally:
        progress.count_in(None)


def _set_up(counter: Any, num_threads: int) -> None:
    """Prepare a process: no accelerator, and its share of the cores."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # Imported by the server already.
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(num_threads)
    tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    progress.count_in(counter)
