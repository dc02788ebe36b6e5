"""Writes the corrupted images and the sequences of one group of images."""

import dataclasses
import hashlib
import io
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging
from PIL import Image

from data_prep.robustness import corruptions, perturbations
from data_prep.sources import items, pictures
from noisy_student_tf import configs, files
from noisy_student_tf.pipeline import decode
from noisy_student_tf.records import robustness_sets, schema, shards


@dataclasses.dataclass(frozen=True)
class Part:
    """One corruption at one severity, or one perturbation.

    Attributes:
        directory: Of its shards.
        name: Of the corruption or perturbation.
        severity: From 1 to 5; 0 for perturbations.
    """

    directory: str
    name: str
    severity: int

    @property
    def is_sequence(self) -> bool:
        """Tell whether an image becomes a sequence."""
        return not self.severity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is built."""

    # Side of the corrupted images in pixels; the published constants are for
    # about this size.
    resolution: int
    crop: decode.TestCrop = configs.options.option(
        "center", "The test crop that comes before corruption."
    )
    num_images: int = configs.options.option(
        0, "Corrupted images, the first in the order of ids. 0: all."
    )
    num_sequences: int = configs.options.option(
        0, "Sequences per perturbation. 0: one per image."
    )
    extra_corruptions: bool = configs.options.option(
        False, "Also build the four corruptions that do not count for mCE."
    )


@dataclasses.dataclass(frozen=True)
class GroupPlan:
    """Images whose corrupted copies make one shard of every part.

    Attributes:
        reader: Reads the source's pictures.
        items: The group.
        num_sequences: How many of them, the first, become sequences.
        directory: Of the sets.
        index: The group's number, of `count`.
        count: Groups.
        options: What is built.
    """

    reader: items.Reader
    items: tuple[items.Item, ...]
    num_sequences: int
    directory: str
    index: int
    count: int
    options: Options

    @property
    def shard_name(self) -> str:
        """Name of the group's shard of every part."""
        return shards.shard_name(robustness_sets.SPLIT, self.index, self.count)

    def parts(self) -> list[Part]:
        """Return what is written: corruptions first."""
        corrupted = files.join(self.directory, robustness_sets.CORRUPTED)
        perturbed = files.join(self.directory, robustness_sets.PERTURBED)
        names: tuple[str, ...] = robustness_sets.CORRUPTIONS
        if self.options.extra_corruptions:
            names = corruptions.NAMES
        return [
            Part(
                robustness_sets.corruption_directory(corrupted, name, severity),
                name,
                severity,
            )
            for name in names
            for severity in robustness_sets.SEVERITIES
        ] + [
            Part(files.join(perturbed, name), name, 0)
            for name in robustness_sets.PERTURBATIONS
        ]


def write(plan: GroupPlan) -> None:
    """Write one shard of every part, those left out that are there already."""
    images = _read(plan)
    for part in plan.parts():
        path = files.join(part.directory, plan.shard_name)
        if files.exists(path):
            continue
        files.make_directories(part.directory)
        with shards.open_writer(path) as writer:
            for record in _records(plan, part, images):
                writer.write(record)
    logging.info(
        "Robustness sets: group %d of %d is written.",
        plan.index + 1,
        plan.count,
    )


def _read(plan: GroupPlan) -> list[np.ndarray]:
    """Read and crop the images: uint8 [resolution, resolution, 3] each.

    Raises:
        ValueError: A picture is damaged.
    """
    images = []
    options = plan.options
    with plan.reader(plan.items) as read:
        for item in plan.items:
            try:
                encoded = pictures.normalize(read(item))
            except pictures.CorruptImageError as error:
                raise ValueError(
                    f"{item.key}: {error}. Remove or mend it: a robustness "
                    "set holds every image of its source."
                ) from error
            image = decode.test_image(
                encoded, options.resolution, crop=options.crop
            )
            images.append(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    return images


def _records(
    plan: GroupPlan, part: Part, images: Sequence[np.ndarray]
) -> Iterator[bytes]:
    wanted = plan.items[: plan.num_sequences if part.is_sequence else None]
    for item, image in zip(wanted, images, strict=False):
        generator = make_generator(item.image_id, part.name, part.severity)
        if part.is_sequence:
            frames = perturbations.perturb(
                image, perturbation=part.name, generator=generator
            )
            yield robustness_sets.encode_sequence(
                _png(np.concatenate(frames)),
                image_id=item.image_id,
                label=item.label if item.label is not None else schema.NO_LABEL,
            )
        else:
            corrupted = corruptions.corrupt(
                image,
                corruption=part.name,
                severity=part.severity,
                generator=generator,
            )
            yield schema.encode_image(
                image=_png(corrupted), image_id=item.image_id, label=item.label
            )


def make_generator(
    image_id: bytes, name: str, severity: int
) -> np.random.Generator:
    """Return what the noise of one image is drawn from, whatever its place."""
    text = image_id + f"/{name}/{severity}".encode()
    digest = hashlib.blake2b(text, digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
