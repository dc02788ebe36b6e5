"""Sums up written shards in a data directory's manifest, and checks them."""

import collections
import dataclasses
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
from absl import logging

from data_prep.shards import shard_building, sidecars, splits
from data_prep.sources import items
from noisy_student_tf import configs, files, heaps
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import parquet_files, shards

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
    made_with = dataclasses.asdict(configs.DataConfig())
    made_with |= shards.read_manifest(directory)["configuration"]
    free = config_tree.fields_affecting("nothing")
    changed = [
        f"{name}: {made_with.get(name)!r} became {value!r}"
        for name, value in configuration.items()
        if made_with.get(name) != value and f"data.{name}" not in free
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
    listings: Mapping[str, items.Listing | None],
) -> dict[str, Any]:
    """Return the manifest of a directory whose shards are all written.

    Args:
        plans: Of its shards.
        data: What it was made with.
        class_names: In the order of the labels.
        source: Role ("labeled", ...) -> what it was read from.
        listings: Role -> what that holds, where it is listed.

    Raises:
        ValueError: More pictures of one source are corrupt than
            `max_corrupt_fraction` allows.
    """
    # One at a time: together the indexes hold every image.
    written = [_read(plan) for plan in plans]
    _check_sources(written, data.max_corrupt_fraction)
    summaries = [each.summary for each in written]
    corrupt = [entry for each in summaries for entry in each.corrupt]
    by_split = _group(written, "plan.split")
    num_classes = len(class_names)
    return {
        "splits": {
            split: _describe_split(split, found, num_classes)
            for split, found in by_split.items()
        },
        "class_names": list(class_names),
        **_describe_sources(source, listings),
        "corrupt": corrupt,
        "num_corrupt": len(corrupt),
        "counts_per_class": {
            split: [sum(e.labels[i] for e in found) for i in range(num_classes)]
            for split, found in by_split.items()
            if split != splits.UNLABELED
        },
        "excluded": _describe_excluded(summaries),
        "checksums": _checksums(written),
        "configuration": configuration_of(data),
    }


def _describe_excluded(
    summaries: Sequence[sidecars.ShardSummary],
) -> dict[str, Any]:
    keys = [key for each in summaries for key in each.excluded]
    return {
        "num_identical": len(keys),
        "num_same_id": sum(each.num_same_id for each in summaries),
        "keys": keys,
    }


def _describe_split(
    split: str, written: Sequence["_Written"], num_classes: int
) -> dict[str, Any]:
    return shards.split_manifest(
        paths=[each.plan.shard_path for each in written],
        num_records=sum(each.num_records for each in written),
        schema=written[0].plan.schema,
        num_classes=0 if split == splits.UNLABELED else num_classes,
    )


def _describe_sources(
    source: dict[str, str], listings: Mapping[str, items.Listing | None]
) -> dict[str, Any]:
    """Return what a manifest says of the sources; see `summarize`."""
    return {
        "source": source,
        # What a later command compares with what it finds.
        "snapshots": heaps.snapshots(source),
        "ignored": {
            role: dict(listing.ignored)
            for role, listing in listings.items()
            if listing is not None
        },
    }


@dataclasses.dataclass(frozen=True)
class _Written:
    """What the index of a finished shard says; `labels` counts images."""

    plan: shard_building.ShardPlan
    num_records: int
    labels: collections.Counter[int]
    summary: sidecars.ShardSummary


def _read(plan: shard_building.ShardPlan) -> _Written:
    table = parquet_files.read_table(plan.index_path, ["label"])
    counts = pc.value_counts(table["label"]).to_pylist()
    labels = collections.Counter({e["values"]: e["counts"] for e in counts})
    return _Written(plan, len(table), labels, sidecars.read_summary(table))


def _group(
    written: Sequence[_Written], field: str
) -> dict[str, list[_Written]]:
    """Return value of a field -> the shards that have it, in their order."""
    value = operator.attrgetter(field)
    return {
        wanted: [each for each in written if value(each) == wanted]
        for wanted in dict.fromkeys(map(value, written))
    }


def _check_sources(
    written: Sequence[_Written], max_corrupt_fraction: float
) -> None:
    for specification, found in _group(written, "plan.specification").items():
        summaries = [each.summary for each in found]
        num_excluded = sum(len(each.excluded) for each in summaries)
        try:
            check_corrupt(
                specification,
                [entry for each in summaries for entry in each.corrupt],
                num_used=sum(each.num_records for each in found) + num_excluded,
                max_corrupt_fraction=max_corrupt_fraction,
            )
        except ValueError:
            # Mended pictures are read again when the build goes on.
            for each in found:
                if each.summary.corrupt:
                    files.remove(each.plan.index_path)
            raise


def _checksums(written: Sequence[_Written]) -> dict[str, str]:
    checksums = {}
    for plan, summary in ((each.plan, each.summary) for each in written):
        if summary.sha256:
            checksums[plan.shard_path] = summary.sha256
        checksums[plan.index_name] = shards.fingerprint(plan.index_path)
    return checksums


def check_corrupt(
    specification: str,
    entries: Sequence[dict[str, str]],
    *,
    num_used: int,
    max_corrupt_fraction: float,
) -> None:
    """Check the share of corrupt pictures of a source.

    `entries` are `{"key", "reason"}` of each, beside the pictures used. One is
    never too many, unless the fraction is 0.

    Raises:
        ValueError: It is beyond the fraction.
    """
    if not entries:
        return
    num_items = num_used + len(entries)
    named = [f"{entry['key']}: {entry['reason']}" for entry in entries]
    message = (
        f"{specification}: {len(entries)} of {num_items} images cannot "
        f"be used ({name_some(named)})"
    )
    num_accepted = max_corrupt_fraction and max(
        1, max_corrupt_fraction * num_items
    )
    if len(entries) > num_accepted:
        share = math.ceil(1000 * len(entries) / num_items) / 1000
        raise ValueError(
            f"{message}, more than --data.max_corrupt_fraction="
            f"{max_corrupt_fraction}. Remove or mend them, or accept them with "
            f"--data.max_corrupt_fraction={share} (--max_corrupt_fraction of "
            "the builder), and give the same command again: it goes on."
        )
    logging.warning("%s; they are left out.", message)
