"""Apache Beam pipelines whose elements are shards."""

from collections.abc import Callable, Sequence
from typing import Any

# Beam's DirectRunner first tries to download another runner and to start it;
# this is the one in the process that it falls back to, with its options.
_RUNNERS = {"DirectRunner": "FnApiRunner"}


def run(
    elements: Sequence[Any],
    function: Callable[[Any], None],
    *,
    runner: str,
    beam_options: Sequence[str] = (),
) -> None:
    """Call a function for each element, on as many workers as Beam has.

    Args:
        elements: One per shard, small: plans, no pictures.
        function: Writes one shard.
        runner: Name of a Beam runner, such as `DirectRunner`.
        beam_options: Further options of the runner, as on a command line.
    """
    if not elements:
        return
    # Imported here: Beam takes seconds to import, and a finished build is
    # asked for by every later command.
    import apache_beam as beam
    from apache_beam.options import pipeline_options

    options = pipeline_options.PipelineOptions(list(beam_options))
    with beam.Pipeline(
        runner=_RUNNERS.get(runner, runner), options=options
    ) as pipeline:
        # Beam's operators build the graph; there is nothing to keep.
        _ = (
            pipeline
            | "Shards" >> beam.Create(list(elements))
            | "Spread" >> beam.Reshuffle()
            # Beam cannot check a protocol.
            | "Write" >> beam.Map(function).with_input_types(Any)
        )
