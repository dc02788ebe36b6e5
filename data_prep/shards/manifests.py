"""Sums up written shards in a data directory's manifest, and checks them."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from absl import logging

from data_prep.shards import shard_building, sidecars, splits
from noisy_student_tf import configs
from noisy_student_tf.records import shards

_NUM_NAMED = 5


def name_some(texts: Sequence[str]) -> str:
    """Return the first few of many texts, for a message."""
    shown = "; ".join(texts[:_NUM_NAMED])
    return f"{shown}; ..." if len(texts) > _NUM_NAMED else shown


def is_done(directory: str, configuration: dict[str, Any]) -> bool:
    """Tell whether a build of this configuration is finished already.

    Raises:
        ValueError: A build of another configuration is finished there.
    """
    if not shards.is_finished(directory):
        return False
    made_with = shards.read_manifest(directory)["configuration"]
    changed = [
        f"{name}: {made_with.get(name)!r} became {value!r}"
        for name, value in configuration.items()
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


def configuration_of(data: configs.DataConfig) -> dict[str, Any]:
    """Return what a directory depends on, as its manifest keeps it."""
    fields = dataclasses.asdict(data)
    # Where the shards were written does not change them.
    del fields["beam_runner"], fields["beam_options"]
    return fields


def summarize(
    plans: Sequence[shard_building.ShardPlan],
    *,
    data: configs.DataConfig,
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
    found, origins, checksums = _gather(plans)
    for specification, origin in origins.items():
        check_corrupt(
            specification,
            origin.corrupt,
            num_items=origin.num_items,
            max_corrupt_fraction=data.max_corrupt_fraction,
        )
    corrupt = [entry for each in origins.values() for entry in each.corrupt]
    excluded = [key for each in origins.values() for key in each.excluded]
    num_classes = len(class_names)
    return {
        "splits": {
            split: shards.split_manifest(
                paths=each.paths,
                num_records=each.num_records,
                schema=each.schema,
                num_classes=0 if split == splits.UNLABELED else num_classes,
            )
            for split, each in found.items()
        },
        "class_names": list(class_names),
        "source": source,
        "corrupt": corrupt,
        "num_corrupt": len(corrupt),
        "counts_per_class": {
            split: [each.labels[label] for label in range(num_classes)]
            for split, each in found.items()
            if split != splits.UNLABELED
        },
        "excluded": {
            "num_identical": len(excluded),
            "num_same_id": sum(each.num_same_id for each in origins.values()),
            "keys": excluded,
        },
        "checksums": checksums,
        "configuration": configuration_of(data),
    }


def _gather(
    plans: Sequence[shard_building.ShardPlan],
) -> tuple[dict[str, "_Split"], dict[str, "_Origin"], dict[str, str]]:
    """Return what the indexes say by split and by source, and checksums."""
    found: dict[str, _Split] = {}
    origins: dict[str, _Origin] = {}
    checksums: dict[str, str] = {}
    for plan in plans:
        # One at a time: together they hold every image.
        table = sidecars.read_index(plan.index_path, ["label"])
        summary = sidecars.read_summary(table)
        found.setdefault(plan.split, _Split(plan.schema)).add(
            plan.shard_path, table
        )
        origins.setdefault(plan.specification, _Origin()).add(table, summary)
        if summary.sha256:
            checksums[plan.shard_path] = summary.sha256
        checksums[plan.index_name] = shards.fingerprint(plan.index_path)
    return found, origins, checksums


@dataclasses.dataclass
class _Split:
    """What the indexes of one split say."""

    schema: shards.Schema
    paths: list[str] = dataclasses.field(default_factory=list)
    num_records: int = 0
    labels: collections.Counter[int] = dataclasses.field(
        default_factory=collections.Counter
    )

    def add(self, path: str, table: pa.Table) -> None:
        """Count a shard."""
        self.paths.append(path)
        self.num_records += table.num_rows
        for entry in pc.value_counts(table.column("label")).to_pylist():
            self.labels[entry["values"]] += entry["counts"]


@dataclasses.dataclass
class _Origin:
    """What became of the pictures of one source."""

    num_items: int = 0
    corrupt: list[dict[str, str]] = dataclasses.field(default_factory=list)
    excluded: list[str] = dataclasses.field(default_factory=list)
    num_same_id: int = 0

    def add(self, table: pa.Table, summary: sidecars.ShardSummary) -> None:
        """Count a shard."""
        self.corrupt += summary.corrupt
        self.excluded += summary.excluded
        self.num_same_id += summary.num_same_id
        self.num_items += table.num_rows + len(summary.excluded)
        self.num_items += len(summary.corrupt)


def check_corrupt(
    specification: str,
    entries: Sequence[dict[str, str]],
    *,
    num_items: int,
    max_corrupt_fraction: float,
) -> None:
    """Check the share of corrupt pictures of a source.

    Args:
        specification: Of the source.
        entries: `{"key", "reason"}` of each corrupt picture.
        num_items: Pictures of the source.
        max_corrupt_fraction: Accepted share.

    Raises:
        ValueError: It is beyond the fraction.
    """
    if not entries:
        return
    named = [f"{entry['key']}: {entry['reason']}" for entry in entries]
    message = (
        f"{specification}: {len(entries)} of {num_items} images cannot "
        f"be used ({name_some(named)})"
    )
    if len(entries) > max_corrupt_fraction * num_items:
        raise ValueError(
            f"{message}, more than --data.max_corrupt_fraction="
            f"{max_corrupt_fraction}. Remove or mend them, or raise the "
            "fraction, and build again."
        )
    logging.warning("%s; they are left out.", message)


def find_overlap(
    plans: Sequence[shard_building.ShardPlan],
) -> list[tuple[str, str]]:
    """Return (training key, held-out key) of pictures with equal content."""
    tables: dict[bool, list[pa.Table]] = {True: [], False: []}
    for plan in plans:
        table = sidecars.read_index(plan.index_path, ["image_sha256", "key"])
        tables[plan.split == splits.TRAIN].append(table)
    if not tables[False]:
        return []
    train, held_out = (pa.concat_tables(tables[each]) for each in (True, False))
    hashes = held_out["image_sha256"]
    keys = dict(
        zip(hashes.to_pylist(), held_out["key"].to_pylist(), strict=True)
    )
    is_shared = pc.is_in(
        train["image_sha256"], value_set=hashes.combine_chunks()
    )
    return [
        (row["key"], keys[row["image_sha256"]])
        for row in train.filter(is_shared).to_pylist()
    ]
