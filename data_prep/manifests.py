"""Sums up written shards in a data directory's manifest, and checks them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from absl import logging

from data_prep import shard_building, sidecars, splits
from noisy_student_tf import config
from noisy_student_tf.records import shards

_NUM_NAMED = 5


def name_some(texts: Sequence[str]) -> str:
    """Return the first few of many texts, for a message."""
    shown = "; ".join(texts[:_NUM_NAMED])
    return f"{shown}; ..." if len(texts) > _NUM_NAMED else shown


def is_done(directory: str, data: config.DataConfig) -> bool:
    """Tell whether a build of this configuration is finished already.

    Raises:
        ValueError: A build of another configuration is finished there.
    """
    if not shards.is_finished(directory):
        return False
    made_with = shards.read_manifest(directory)["configuration"]
    asked_for = _configuration(data)
    changed = [
        f"{name}: {made_with.get(name)!r} became {value!r}"
        for name, value in asked_for.items()
        if made_with.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"{directory} was built with another configuration "
            f"({'; '.join(changed)}). Remove {directory} to build it anew, or "
            "name another directory."
        )
    logging.info("%s is finished; nothing to build.", directory)
    return True


def _configuration(data: config.DataConfig) -> dict[str, Any]:
    fields = dataclasses.asdict(data)
    # Where the shards were written does not change them.
    del fields["beam_runner"], fields["beam_options"]
    return fields


def summarize(
    plans: Sequence[shard_building.Plan],
    *,
    data: config.DataConfig,
    class_names: Sequence[str],
    source: dict[str, str],
) -> dict[str, Any]:
    """Return the manifest of a directory whose shards are all written.

    Args:
        plans: One per shard, all finished.
        data: The configuration that made them.
        class_names: In the order of the labels.
        source: Role ("labeled", ...) -> what it was read from.

    Raises:
        ValueError: More pictures of one source are corrupt than
            `max_corrupt_fraction` allows.
    """
    tables = [sidecars.read_index(plan.index_path) for plan in plans]
    summaries = [sidecars.read_summary(table) for table in tables]
    _check_corrupt(plans, summaries, data.max_corrupt_fraction)
    schemas = {plan.split: plan.schema for plan in plans}
    by_split: dict[str, list[pa.Table]] = {}
    paths: dict[str, list[str]] = {}
    checksums: dict[str, str] = {}
    for plan, table, summary in zip(plans, tables, summaries, strict=True):
        by_split.setdefault(plan.split, []).append(table)
        paths.setdefault(plan.split, []).append(plan.shard_path)
        if summary.sha256:
            checksums[plan.shard_path] = summary.sha256
        checksums[plan.index_name] = shards.fingerprint(plan.index_path)
    corrupt = [entry for summary in summaries for entry in summary.corrupt]
    excluded = [key for summary in summaries for key in summary.excluded]
    return {
        "splits": {
            split: shards.split_manifest(
                paths=paths[split],
                num_records=sum(table.num_rows for table in by_split[split]),
                schema=schemas[split],
                num_classes=0
                if split == splits.UNLABELED
                else len(class_names),
            )
            for split in by_split
        },
        "class_names": list(class_names),
        "source": source,
        "corrupt": corrupt,
        "num_corrupt": len(corrupt),
        "counts_per_class": {
            split: _count_labels(by_split[split], len(class_names))
            for split in by_split
            if split != splits.UNLABELED
        },
        "excluded": {"num_identical": len(excluded), "keys": excluded},
        "checksums": checksums,
        "configuration": _configuration(data),
    }


def _count_labels(tables: list[pa.Table], num_classes: int) -> list[int]:
    counts = [0] * num_classes
    for table in tables:
        for entry in pc.value_counts(table.column("label")).to_pylist():
            if entry["values"] is not None:
                counts[entry["values"]] += entry["counts"]
    return counts


def _check_corrupt(
    plans: Sequence[shard_building.Plan],
    summaries: Sequence[sidecars.ShardSummary],
    max_corrupt_fraction: float,
) -> None:
    """Check the share of corrupt pictures of each source.

    Raises:
        ValueError: It is beyond the fraction.
    """
    num_items: dict[str, int] = {}
    corrupt: dict[str, list[dict[str, str]]] = {}
    for plan, summary in zip(plans, summaries, strict=True):
        name = plan.specification
        num_items[name] = num_items.get(name, 0) + plan.num_items
        corrupt.setdefault(name, []).extend(summary.corrupt)
    for name, entries in corrupt.items():
        named = [f"{entry['key']}: {entry['reason']}" for entry in entries]
        message = (
            f"{name}: {len(entries)} of {num_items[name]} images cannot be "
            f"used ({name_some(named)})"
        )
        if len(entries) > max_corrupt_fraction * num_items[name]:
            raise ValueError(
                f"{message}, more than --data.max_corrupt_fraction="
                f"{max_corrupt_fraction}. Remove or mend them, or raise the "
                "fraction, and build again."
            )
        if entries:
            logging.warning("%s; they are left out.", message)


def find_overlap(
    plans: Sequence[shard_building.Plan],
) -> list[tuple[str, str]]:
    """Return (training key, held-out key) of pictures with equal content."""
    train: list[pa.Table] = []
    held_out: list[pa.Table] = []
    for plan in plans:
        table = sidecars.read_index(plan.index_path, ["image_sha256", "key"])
        (train if plan.split == splits.TRAIN else held_out).append(table)
    if not held_out:
        return []
    held_out_table = pa.concat_tables(held_out)
    train_table = pa.concat_tables(train)
    is_shared = pc.is_in(
        train_table.column("image_sha256"),
        value_set=held_out_table.column("image_sha256").combine_chunks(),
    )
    shared = train_table.filter(is_shared)
    if not shared.num_rows:
        return []
    held_out_keys = dict(
        zip(
            held_out_table.column("image_sha256").to_pylist(),
            held_out_table.column("key").to_pylist(),
            strict=True,
        )
    )
    return [
        (row["key"], held_out_keys[row["image_sha256"]])
        for row in shared.to_pylist()
    ]
