"""Work on shards: on this machine, or as a pipeline of Apache Beam."""

import dataclasses
import functools
import pickle
import shlex
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from data_prep.shards import local_shards
from noisy_student_tf import configs, files

# Beam's DirectRunner first tries to download another runner and to start it;
# this is the one in the process that it falls back to, with its options.
_RUNNERS = {
    "DirectRunner": "FnApiRunner",
    # Beam does not know it by its short name.
    "DaskRunner": "apache_beam.runners.dask.dask_runner.DaskRunner",
}

# Not one of Beam's: all cores of this machine.
LOCAL_RUNNER = "local"

_MERGED = "merged.pickle"
_MAX_PACKS = 1024


@dataclasses.dataclass(frozen=True)
class Beam:
    """Where work on shards is done.

    Attributes:
        runner: `LOCAL_RUNNER`, or the name of a Beam runner.
        options: Further options of Beam's, as on a command line.
    """

    runner: str = LOCAL_RUNNER
    options: Sequence[str] = ()

    @classmethod
    def of(cls, data: configs.DataConfig) -> "Beam":
        """Return what a run is configured with."""
        return cls(data.beam_runner, shlex.split(data.beam_options))


LOCAL = Beam()


def run(
    elements: Sequence[Any],
    function: Callable[[Any], None],
    beam: Beam,
    *,
    title: str = "shards",
    num_images: int | None = 0,
) -> None:
    """Call a function for each element, on all cores or Beam's workers.

    Args:
        elements: Small ones: a shard's plan each, and no pictures.
        function: A module's function.
        beam: Where it runs.
        title: What the shards hold, as progress names it.
        num_images: How many images; None: not known to be few.
    """
    if not elements:
        return
    function = functools.partial(_call, function)
    if beam.runner == LOCAL_RUNNER:
        for _ in local_shards.run(
            elements, function, title=title, num_images=num_images
        ):
            pass
        return
    with _pipeline(beam) as pipeline:
        # Beam's operators build the graph; there is nothing to keep.
        _ = _spread(pipeline, elements, function)


def map_reduce(
    elements: Sequence[Any],
    function: Callable[[Any], Any],
    merge: Callable[[Any, Any], Any],
    *,
    directory: str,
    beam: Beam,
    title: str = "shards",
) -> Any:
    """Return the merged results of a function over shards.

    Results are merged where they are made; one result is all that is sent.

    Args:
        elements: One per shard, small; at least one.
        function: An element to a result of bounded size.
        merge: Two results to one; in any order.
        directory: Where the workers leave the merged result, for a moment.
        beam: Where it runs.
        title: What is done, as progress names it.
    """
    function = functools.partial(_call, function)
    if beam.runner == LOCAL_RUNNER:
        return functools.reduce(
            merge,
            local_shards.run(elements, function, title=title, num_images=0),
        )
    import apache_beam

    path = files.join(directory, _MERGED)
    with _pipeline(beam) as pipeline:
        _ = (
            _spread(pipeline, elements, function)
            | "Merge"
            >> apache_beam.CombineGlobally(
                functools.partial(functools.reduce, merge)
            ).without_defaults()
            | "Keep" >> apache_beam.Map(functools.partial(_write_pickle, path))
        )
    merged = pickle.loads(files.read_bytes(path))
    files.remove(path)
    return merged


def _write_pickle(path: str, content: Any) -> None:
    files.write_bytes(path, pickle.dumps(content))


def _pipeline(beam: Beam) -> Any:
    # Imported here: Beam takes seconds to import, and a finished build is
    # asked for by every later command.
    import apache_beam
    from apache_beam.options import pipeline_options

    return apache_beam.Pipeline(
        runner=_RUNNERS.get(beam.runner, beam.runner),
        options=pipeline_options.PipelineOptions(list(beam.options)),
    )


def _spread(
    pipeline: Any, elements: Sequence[Any], function: Callable[[Any], Any]
) -> Any:
    """Return the results of a function over elements."""
    import apache_beam

    return (
        pipeline
        | "Shards" >> apache_beam.Create(pack(elements))
        | "Unpack" >> apache_beam.FlatMap(unpack)
        | "Spread" >> apache_beam.Reshuffle()
        # Beam cannot check a protocol.
        | "Each" >> apache_beam.Map(function).with_input_types(Any)
    )


def _call(function: Callable[[Any], Any], element: Any) -> Any:
    """Call a function; errors of files become Python's own.

    Others do not travel between processes as what they are.
    """
    try:
        return function(element)
    except files.errors() as error:
        if isinstance(error, OSError):
            raise
        raise OSError(str(error)) from error


def pack(elements: Sequence[Any]) -> list[bytes]:
    """Return the elements in a small number of compressed packs.

    They are a part of the pipeline's definition, which may be as large as
    10 MB on Dataflow; those of 200,000 shards repeat the same directories.
    """
    size = -(-len(elements) // _MAX_PACKS)
    return [
        zlib.compress(pickle.dumps(list(elements[start : start + size])))
        for start in range(0, len(elements), size)
    ]


def unpack(packed: bytes) -> list[Any]:
    """Return the elements of a pack."""
    return pickle.loads(zlib.decompress(packed))
