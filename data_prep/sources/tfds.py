"""Images of TensorFlow Datasets, prepared beforehand."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from data_prep.sources import items

_DEFAULT_SPLIT = "train"
_IMAGE, _LABEL = "image", "label"


@contextlib.contextmanager
def _read_forward(
    dataset: str, split: str, wanted: tuple[items.Item, ...]
) -> Iterator[items.ReadItem]:
    """Yield what reads pictures in their order; a locator is an index."""
    first = min(item.locator for item in wanted)
    end = max(item.locator for item in wanted) + 1
    examples = enumerate(_read(dataset, split, first, end), first)

    def read(item: items.Item) -> bytes:
        for index, example in examples:
            if index == item.locator:
                return example[_IMAGE].numpy()
        raise ValueError(
            f"tfds:{dataset}/{split} ended before image {item.locator}: it "
            "has changed since it was listed. Build again from the start."
        )

    yield read


def open_tfds(argument: str) -> items.Source:
    """Open `tfds:NAME` (its `train` split) or `tfds:NAME/SPLIT`.

    The data set must have been prepared by TensorFlow Datasets, and have the
    features `image` and, for labels, `label`.

    Raises:
        ValueError: There is no such data set, or it has no images.
        FileNotFoundError: It is not prepared on this machine.
    """
    dataset, split = _parse(argument)
    features = _find_builder(dataset).info.features
    if _IMAGE not in features:
        raise ValueError(
            f"tfds:{argument}: the data set has no feature {_IMAGE!r}, only "
            f"{sorted(features)}."
        )
    class_names = tuple(features[_LABEL].names) if _LABEL in features else ()

    def list_items() -> items.Listing:
        labels = (
            int(example[_LABEL]) if class_names else None
            for example in _read(dataset, split)
        )
        return items.make_numbered(f"{dataset}/{split}", labels)

    return items.Source(
        specification=f"tfds:{argument}",
        class_names=class_names,
        reader=functools.partial(_read_forward, dataset, split),
        list_items=list_items,
        # Shuffled when it was prepared, and slow to read at random.
        is_shuffled=True,
    )


def _parse(argument: str) -> tuple[str, str]:
    """Split `NAME/SPLIT`, where NAME may have a configuration of its own.

    Raises:
        ValueError: There is no such data set.
    """
    parent, _, last = argument.rpartition("/")
    for dataset, split in ((argument, _DEFAULT_SPLIT), (parent, last)):
        if dataset and _find_builder(dataset) is not None:
            return dataset, split
    raise ValueError(
        f"tfds:{argument}: TensorFlow Datasets has no data set of this name. "
        "Accepted are names such as svhn_cropped, svhn_cropped/test or "
        "imagenet2012_subset/10pct/train."
    )


def _find_builder(dataset: str) -> Any:
    # Imported here: it takes seconds, and only this source needs it.
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(dataset, try_gcs=False)
    except (ValueError, tfds.core.DatasetNotFoundError):
        return None


def _read(
    dataset: str, split: str, first: int = 0, end: int | None = None
) -> Iterator[dict[str, tf.Tensor]]:
    """Yield a split's examples from `first` to before `end`, in order.

    Images are encoded: string [].

    Raises:
        FileNotFoundError: The data set is not prepared.
    """
    import tensorflow_datasets as tfds

    builder = _find_builder(dataset)
    instruction: Any = split
    is_sliced = end is not None and split in builder.info.splits
    if is_sliced:
        # Whole files before the slice are not even opened.
        instruction = tfds.core.ReadInstruction(
            split, from_=first, to=end, unit="abs"
        )
    try:
        examples = builder.as_dataset(
            split=instruction,
            shuffle_files=False,
            decoders={_IMAGE: tfds.decode.SkipDecoding()},
            # One file after the other: slices keep the order of the whole.
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
    except AssertionError as error:
        raise FileNotFoundError(
            f"tfds:{dataset}: the data set is not prepared in "
            f"{builder.data_dir}. Prepare it with: tfds build {dataset}"
        ) from error
    if end is not None and not is_sliced:
        examples = examples.skip(first).take(end - first)
    yield from examples
