"""Writes shards of a source's images, in a Beam pipeline over shards.

No picture outlives its own record, and the pipeline's elements are listings of
keys. A finished shard is skipped, so a killed build goes on where it stopped.
"""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from absl import logging

from data_prep import items, pictures, sidecars
from noisy_student_tf import files
from noisy_student_tf.records import schema, shards

PLAN = "plan.json"

# Beam's DirectRunner first tries to download another runner and to start it;
# this is the one in the process that it falls back to, with its options.
_RUNNERS = {"DirectRunner": "FnApiRunner"}

_SHARD_PATTERN = re.compile(
    r"[a-z_]+-\d{5,}-of-\d{5,}\.(tfrecord|index\.parquet)"
)


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """One shard to write.

    Attributes:
        source: Where the pictures are.
        items: Which ones, in the shard's order.
        directory: Of the shard.
        split: Its split's name.
        index: Its number in the split, of `count`.
        count: Shards of the split.
        has_labels: Whether labels are written.
        max_side: See `pictures.normalize`.
        excluded_directory: Pictures that are in this labeled directory are
            left out; empty: none are.
    """

    source: items.Source
    items: tuple[items.Item, ...]
    directory: str
    split: str
    index: int
    count: int
    has_labels: bool
    max_side: int
    excluded_directory: str = ""

    @property
    def shard_name(self) -> str:
        """Name of the shard, without its directory."""
        return shards.shard_name(self.split, self.index, self.count)

    @property
    def index_name(self) -> str:
        """Name of the index, without its directory."""
        return shards.index_name(self.split, self.index, self.count)

    @property
    def index_path(self) -> str:
        """Path of the index, whose existence says that the shard is done."""
        return files.join(self.directory, self.index_name)


def write_shard(plan: ShardPlan) -> None:
    """Write one shard and then its index, unless they are there."""
    if files.exists(plan.index_path):
        return
    excluded_hashes = _read_hashes(plan.excluded_directory)
    rows: list[tuple[Any, ...]] = []
    corrupt: list[dict[str, str]] = []
    excluded: list[str] = []
    path = files.join(plan.directory, plan.shard_name)
    with (
        plan.source.open_reader(plan.items) as read,
        shards.open_writer(path) as writer,
    ):
        for item in plan.items:
            try:
                picture = pictures.normalize(read(item), max_side=plan.max_side)
            except pictures.CorruptImageError as error:
                corrupt.append({"key": item.key, "reason": str(error)})
                continue
            except files.NotFoundError:
                corrupt.append({"key": item.key, "reason": "no such file"})
                continue
            digest = hashlib.sha256(picture).digest()
            if digest in excluded_hashes:
                excluded.append(item.key)
                continue
            label = item.label if plan.has_labels else None
            writer.write(
                schema.encode_image(
                    image=picture, image_id=item.image_id, label=label
                )
            )
            rows.append((item.image_id, digest, label, item.key))
    summary = sidecars.ShardSummary(
        sha256=shards.fingerprint(path), corrupt=corrupt, excluded=excluded
    )
    sidecars.write_index(plan.index_path, rows=rows, summary=summary)


def _read_hashes(directory: str) -> frozenset[bytes]:
    """Return the content hashes of all pictures of a labeled directory."""
    if not directory:
        return frozenset()
    paths: list[str] = []
    for split in shards.read_manifest(directory)["splits"]:
        paths += sidecars.split_indexes(directory, split)
    return frozenset(sidecars.read_column(paths, "image_sha256").to_pylist())


def prepare_directory(directory: str, plans: Sequence[ShardPlan]) -> None:
    """Make the directory ready: keep shards of these plans, drop others.

    A directory without manifest is unfinished. Its shards are kept if they
    were planned alike, which `plan.json` tells; otherwise the source or the
    settings have changed and they are written anew.
    """
    files.make_directories(directory)
    files.remove_temporaries(directory)
    path = files.join(directory, PLAN)
    digest = {"sha256": _plan_digest(plans)}
    if files.exists(path) and files.read_json(path) == digest:
        logging.info("%s: going on with an unfinished build.", directory)
        return
    for name in files.list_directory(directory):
        if _SHARD_PATTERN.fullmatch(name):
            files.remove(files.join(directory, name))
    files.write_json(path, digest)


def _plan_digest(plans: Sequence[ShardPlan]) -> str:
    digest = hashlib.sha256()
    for plan in plans:
        digest.update(
            f"{plan.source.specification} {plan.index_path} {plan.has_labels} "
            f"{plan.max_side} {plan.excluded_directory}".encode()
        )
        for item in plan.items:
            digest.update(item.image_id + f"{item.label}".encode())
    return digest.hexdigest()


def run(
    plans: Sequence[ShardPlan], *, runner: str, beam_options: Sequence[str]
) -> None:
    """Write the shards of all plans that are not finished.

    Args:
        plans: One per shard.
        runner: Name of a Beam runner, such as `DirectRunner`.
        beam_options: Further options of the runner, as on a command line.
    """
    unfinished = [p for p in plans if not files.exists(p.index_path)]
    if not unfinished:
        return
    # Imported here: Beam takes seconds to import, and a finished build is
    # asked for by every later command.
    import apache_beam as beam
    from apache_beam.options import pipeline_options

    options = pipeline_options.PipelineOptions(list(beam_options))
    with beam.Pipeline(
        runner=_RUNNERS.get(runner, runner), options=options
    ) as pipeline:
        _ = (
            pipeline
            | "Plans" >> beam.Create(unfinished)
            | "Spread" >> beam.Reshuffle()
            | "WriteShards" >> beam.Map(write_shard)
        )
