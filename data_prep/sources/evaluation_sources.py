"""Evaluation images from sources as they lie, and videos of ImageNet-P."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import sources
from data_prep.sources import folders, items
from noisy_student_tf import files
from noisy_student_tf.records import robustness_sets, shards

_VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov")
_EXAMPLE = {
    "image": tf.TensorSpec([], tf.string),
    "label": tf.TensorSpec([], tf.int64),
    "image_id": tf.TensorSpec([], tf.string),
}


@dataclasses.dataclass(frozen=True)
class LabeledImages:
    """Labeled images of a source, in its order.

    Attributes:
        source: What they are read from.
        listed: The images.
    """

    source: items.Source
    listed: tuple[items.Item, ...]

    def examples(self, classes: Sequence[int]) -> tf.data.Dataset:
        """Return the images with the labels of a model.

        Args:
            classes: The model's class of each class of the source.

        Returns:
            Dictionaries: `image`, string []; `label`, int64 []; `image_id`,
            string [].
        """
        examples = tf.data.Dataset.from_generator(
            lambda: self.read(classes), output_signature=_EXAMPLE
        )
        # A source that ends early shall not be taken for a whole one.
        return examples.apply(
            tf.data.experimental.assert_cardinality(len(self.listed))
        )

    def read(self, classes: Sequence[int]) -> Iterator[dict[str, object]]:
        """Yield the examples one by one; see `examples`."""
        with self.source.reader(self.listed) as read:
            for item in self.listed:
                yield {
                    "image": read(item),
                    "label": classes[item.label or 0],
                    "image_id": item.image_id,
                }


def open_labeled(specification: str) -> LabeledImages:
    """Open labeled images by one of the forms in `sources.ACCEPTED`.

    Raises:
        ValueError: The images have no labels, or there are none.
        FileNotFoundError: The source does not exist.
    """
    source = sources.open_source(specification)
    listing = sources.list_checked(source)
    listed = [i for i in listing.images if i.split != items.UNLABELED]
    if any(item.label is None for item in listed):
        raise ValueError(
            f"{specification}: the images have no labels, and accuracy needs "
            "them. Give a labeled source, such as folder:DIR."
        )
    return LabeledImages(source, tuple(listed))


def chain(
    specifications: Sequence[str],
    map_classes: Callable[[LabeledImages], Sequence[int]],
) -> tf.data.Dataset:
    """Return the images of several sources, one after the other.

    A source is opened when its turn has come: 75 listings of ImageNet's
    validation images would not fit into memory.

    `map_classes` returns the model's class of each class of a source.

    Returns:
        As of `LabeledImages.examples`, and `part`, int64 [], the place of the
        source.
    """

    def read_all() -> Iterator[dict[str, object]]:
        for place, specification in enumerate(specifications):
            images = open_labeled(specification)
            for example in images.read(map_classes(images)):
                yield {**example, "part": place}

    return tf.data.Dataset.from_generator(
        read_all,
        output_signature={**_EXAMPLE, "part": tf.TensorSpec([], tf.int64)},
    )


def corrupted_parts(root: str) -> dict[tuple[str, int], str]:
    """Return (corruption, severity) -> the source of its images.

    Args:
        root: A folder CORRUPTION/SEVERITY of class folders as published, or
            of shards; or `tfds:imagenet2012_corrupted`, whose configurations
            are CORRUPTION_SEVERITY.

    Raises:
        FileNotFoundError: Parts are missing; the message names them. Extra
            corruptions may be missing as a whole.
    """
    severities = robustness_sets.SEVERITIES
    counted = itertools.product(robustness_sets.CORRUPTIONS, severities)
    if root.startswith("tfds:"):
        return {
            (name, severity): f"{root}/{name}_{severity}/validation"
            for name, severity in counted
        }
    extra = [
        name
        for name in robustness_sets.EXTRA_CORRUPTIONS
        if files.exists(files.join(root, name))
    ]
    parts = {
        part: robustness_sets.corruption_directory(root, *part)
        for part in [*counted, *itertools.product(extra, severities)]
    }
    _check_complete(root, parts.values())
    return {
        part: path if shards.is_finished(path) else f"folder:{path}"
        for part, path in parts.items()
    }


def perturbed_parts(root: str, difficulty: int = 1) -> dict[str, str]:
    """Return perturbation -> the folder of its sequences.

    Args:
        root: A folder PERTURBATION of class folders of videos as published,
            or of our own sequences.
        difficulty: Noise of difficulty 2 and 3 lies in folders of its own.

    Raises:
        FileNotFoundError: Parts are missing; the message names them.
    """
    parts = {}
    for name in robustness_sets.PERTURBATIONS:
        has_own = difficulty > 1 and robustness_sets.is_noise(name)
        folder = f"{name}_{difficulty}" if has_own else name
        parts[name] = files.join(root, folder)
    _check_complete(root, parts.values())
    return parts


def _check_complete(root: str, paths: Collection[str]) -> None:
    missing = [
        path.removeprefix(root).lstrip("/")
        for path in paths
        if not files.exists(path)
    ]
    if missing:
        raise FileNotFoundError(
            f"{root}: {len(missing)} of {len(paths)} parts are missing: "
            f"{', '.join(missing)}. A mean over the others would be another "
            "number: unpack the whole set, or build one's own with python -m "
            "data_prep.build_robustness."
        )


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Sequences of one perturbation.

    Attributes:
        class_names: Names in the order of the labels.
        count: Number of sequences.
        read: Yields frames uint8 [num_frames, height, width, 3] and a label.
    """

    class_names: tuple[str, ...]
    count: int
    read: Callable[[], Iterator[tuple[tf.Tensor, int]]]


def open_sequences(directory: str) -> Sequences:
    """Open one perturbation: our shards, or class folders of videos.

    Raises:
        FileNotFoundError: The directory does not exist.
        ValueError: It holds no videos. Reading raises it for a video that is
            unreadable.
    """
    if shards.is_finished(directory):
        return _open_records(directory)
    class_names = folders.find_classes(directory)
    videos = [
        (files.join(directory, class_name, name), label)
        for label, class_name in enumerate(class_names)
        for name in files.list_directory(files.join(directory, class_name))
        if name.lower().endswith(_VIDEO_EXTENSIONS)
    ]
    if not videos:
        raise ValueError(
            f"{directory}: there are no videos in class folders; looked for "
            f"files ending in {', '.join(_VIDEO_EXTENSIONS)}."
        )

    def read() -> Iterator[tuple[tf.Tensor, int]]:
        for path, label in videos:
            yield tf.constant(read_video(path)), label

    return Sequences(class_names=class_names, count=len(videos), read=read)


def _open_records(directory: str) -> Sequences:
    split = shards.open_split(directory, robustness_sets.SPLIT)

    def read() -> Iterator[tuple[tf.Tensor, int]]:
        for path in split.paths:
            for record in shards.read_records(path):
                yield robustness_sets.decode_sequence(record)

    names = shards.read_manifest(directory)["class_names"]
    return Sequences(
        class_names=tuple(names), count=split.num_records, read=read
    )


def read_video(path: str) -> np.ndarray:
    """Read all frames of a video: uint8 [num_frames, height, width, 3].

    Raises:
        ValueError: The video is unreadable, or PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{path}: reading videos needs PyAV. Install it with pip install "
            "'noisy-student-tf[video]'."
        ) from error
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(files.open_file(path))
            video: Any = stack.enter_context(av.open(file))
            frames = [
                frame.to_ndarray(format="rgb24")
                for frame in video.decode(video=0)
            ]
    # PyAV's errors are OSErrors and ValueErrors of many names.
    except (OSError, ValueError, IndexError, tf.errors.OpError) as error:
        raise ValueError(
            f"{path}: the video is unreadable ({error}). Fetch it again."
        ) from error
    if not frames:
        raise ValueError(f"{path}: the video has no frames. Fetch it again.")
    return np.stack(frames)


def imagenet_synsets() -> list[str]:
    """Return ImageNet's synsets in the order of its classes.

    TensorFlow Datasets carries the list.
    """
    # Imported here: it takes seconds.
    import tensorflow_datasets as tfds

    path = tfds.core.tfds_path("datasets/imagenet2012/labels.txt")
    return path.read_text().split()
