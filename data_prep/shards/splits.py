"""Which image goes to which split: pure functions of ids and labels."""

import collections
import dataclasses
import itertools
from collections.abc import Sequence

from data_prep.sources import items
from noisy_student_tf.records import schema

TRAIN, VALIDATION, TEST = "train", "validation", "test"
UNLABELED = "unlabeled"


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A labeled source, split.

    Attributes:
        splits: Split -> its images. A held-out split that was not asked for
            is absent.
        rest: Images that no split took; the unlabeled ones by default.
    """

    splits: dict[str, list[items.Item]]
    rest: list[items.Item]


def assign(
    listed: Sequence[items.Item],
    *,
    num_classes: int,
    evaluation_fraction: float,
    validation_fraction: float,
    labeled_per_class: int,
) -> Assignment:
    """Split a labeled source by the hashes of the ids.

    An image's split does not depend on which other images there are, with the
    exception of `labeled_per_class`: of the images that are not held out, the
    n with the smallest hash of each class train, and with n = 0 all.

    Raises:
        ValueError: A held-out split got no image.
    """
    test, validation, pool = [], [], []
    for item in listed:
        position = schema.unit_hash(item.image_id, "split")
        if position < evaluation_fraction:
            test.append(item)
        elif position < evaluation_fraction + validation_fraction:
            validation.append(item)
        else:
            pool.append(item)
    splits: dict[str, list[items.Item]] = {}
    splits[TRAIN], rest = _take_per_class(pool, num_classes, labeled_per_class)
    for name, flag, fraction, images in (
        (VALIDATION, "validation_fraction", validation_fraction, validation),
        (TEST, "evaluation_fraction", evaluation_fraction, test),
    ):
        if not fraction:
            continue
        if not images:
            raise ValueError(
                f"--data.{flag}={fraction} of {len(listed)} images holds out "
                f"none. Raise it, or set it to 0 to do without {name}."
            )
        splits[name] = images
    return Assignment(splits, rest)


def _take_per_class(
    pool: list[items.Item], num_classes: int, labeled_per_class: int
) -> tuple[list[items.Item], list[items.Item]]:
    """Return each class's n images with the smallest hash, and the rest."""
    if not labeled_per_class:
        return pool, []
    by_hash = sorted(pool, key=lambda item: _hash_order(item, "labeled"))
    num_taken = [0] * num_classes
    taken: set[bytes] = set()
    for item in by_hash:
        label = item.label or 0
        if num_taken[label] < labeled_per_class:
            num_taken[label] += 1
            taken.add(item.image_id)
    return (
        [item for item in pool if item.image_id in taken],
        [item for item in pool if item.image_id not in taken],
    )


def _hash_order(item: items.Item, purpose: str) -> tuple[float, bytes]:
    return schema.unit_hash(item.image_id, purpose), item.image_id


def place(
    images: Sequence[items.Item], *, num_shards: int, is_shuffled: bool
) -> list[tuple[items.Item, ...]]:
    """Distribute images over shards, so that each has all classes.

    Args:
        images: One split, in the order of the source's listing.
        num_shards: Shards wanted; there are no more than images.
        is_shuffled: Whether runs of the listing are mixed already; otherwise
            the hash of the id decides.
    """
    ordered = list(images)
    if not is_shuffled:
        ordered.sort(key=lambda item: _hash_order(item, "shard"))
    count = min(num_shards, len(ordered))
    bounds = [len(ordered) * index // count for index in range(count + 1)]
    return [
        tuple(ordered[start:end]) for start, end in itertools.pairwise(bounds)
    ]


def count_per_class(
    images: Sequence[items.Item], num_classes: int
) -> list[int]:
    """Count labeled images by class: [num_classes]."""
    counts = collections.Counter(item.label for item in images)
    return [counts[label] for label in range(num_classes)]
