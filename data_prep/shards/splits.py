"""Which image goes to which split: pure functions of ids and labels."""

import collections
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

from data_prep.sources import items
from noisy_student_tf.records import schema

TRAIN, VALIDATION, TEST = items.TRAIN, items.VALIDATION, items.TEST
UNLABELED = items.UNLABELED


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


@dataclasses.dataclass(frozen=True)
class Shares:
    """How a labeled source is split.

    Attributes:
        test: Share of the images in `test`, in [0, 1).
        validation: Share of the images in `validation`, in [0, 1).
        labeled_per_class: Training images per class; 0: all.
        how: "stratified": shares of each class, the images with the smallest
            hashes of their ids; "hashed": an image's hash alone decides,
            whatever other images there are.
        seed: Another one draws anew.
    """

    test: float
    validation: float
    labeled_per_class: int = 0
    how: Literal["stratified", "hashed"] = "hashed"
    seed: int = 0

    def purpose(self, name: str) -> str:
        """Return what an id is hashed for."""
        return f"{name}/{self.seed}" if self.seed else name


def assign(
    listed: Sequence[items.Item], shares: Shares, num_classes: int
) -> Assignment:
    """Split a labeled source by the hashes of the ids.

    What the source itself puts into a split stays there, and none of the
    others is drawn for it. Of the images that are not held out, the
    `labeled_per_class` with the smallest hash of each class train.

    Args:
        listed: The source's images, with labels but for unlabeled ones.
        shares: What is held out.
        num_classes: Classes of the labels.

    Raises:
        ValueError: A held-out split got no image.
    """
    given: dict[str, list[items.Item]] = collections.defaultdict(list)
    for item in listed:
        given[item.split or TRAIN].append(item)
    shares = dataclasses.replace(
        shares,
        test=0.0 if given[TEST] else shares.test,
        validation=0.0 if given[VALIDATION] else shares.validation,
    )
    draw = _draw_stratified if shares.how == "stratified" else _draw_hashed
    drawn = draw(given[TRAIN], shares)
    training, rest = _take_per_class(
        drawn[TRAIN],
        num_classes,
        shares.labeled_per_class,
        purpose=shares.purpose("labeled"),
    )
    splits = {TRAIN: training}
    for name, flag, fraction in (
        (VALIDATION, "validation_fraction", shares.validation),
        (TEST, "evaluation_fraction", shares.test),
    ):
        if images := given[name] or drawn[name]:
            splits[name] = images
        elif fraction:
            raise ValueError(
                f"--data.{flag}={fraction} of {len(listed)} images holds out "
                f"none. Raise it, or set it to 0 to do without {name}."
            )
    return Assignment(splits, [*rest, *given[UNLABELED]])


def _draw_hashed(
    listed: Sequence[items.Item], shares: Shares
) -> dict[str, list[items.Item]]:
    """Return split -> its images; each one's place depends on its id alone."""
    drawn: dict[str, list[items.Item]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for item in listed:
        position = schema.unit_hash(item.image_id, shares.purpose("split"))
        if position < shares.test:
            drawn[TEST].append(item)
        elif position < shares.test + shares.validation:
            drawn[VALIDATION].append(item)
        else:
            drawn[TRAIN].append(item)
    return drawn


def _draw_stratified(
    listed: Sequence[items.Item], shares: Shares
) -> dict[str, list[items.Item]]:
    """Return split -> its images, in the order of the listing."""
    by_class: dict[int | None, list[items.Item]] = collections.defaultdict(list)
    for item in listed:
        by_class[item.label].append(item)
    places: dict[bytes, str] = {}
    for images in by_class.values():
        images.sort(key=lambda item: _hash_order(item, shares.purpose("split")))
        num_test, num_validation = num_held_out(len(images), shares)
        for rank, item in enumerate(images):
            if rank < num_test:
                places[item.image_id] = TEST
            elif rank < num_test + num_validation:
                places[item.image_id] = VALIDATION
    drawn: dict[str, list[items.Item]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for item in listed:
        drawn[places.get(item.image_id, TRAIN)].append(item)
    return drawn


def num_held_out(num_images: int, shares: Shares) -> tuple[int, int]:
    """Return how many images of a class are for test, and for validation.

    Shares are rounded, but of three images one is for test and of four one for
    validation, and one always trains.
    """
    num_test, num_validation = (
        max(int(share * num_images + 0.5), int(num_images >= least))
        if share
        else 0
        for share, least in ((shares.test, 3), (shares.validation, 4))
    )
    num_test = min(num_test, max(num_images - 1, 0))
    return num_test, min(num_validation, max(num_images - 1 - num_test, 0))


def _take_per_class(
    pool: list[items.Item],
    num_classes: int,
    labeled_per_class: int,
    *,
    purpose: str,
) -> tuple[list[items.Item], list[items.Item]]:
    """Return each class's n images with the smallest hash, and the rest."""
    if not labeled_per_class:
        return pool, []
    by_hash = sorted(pool, key=lambda item: _hash_order(item, purpose))
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
