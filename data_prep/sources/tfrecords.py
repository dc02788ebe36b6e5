"""Images in TFRecord files: ImageNet's, and our own shards."""

import contextlib
from collections.abc import Iterator, Sequence, Set

import tensorflow as tf
from google.protobuf import message

from data_prep.sources import items, tars
from noisy_student_tf import files
from noisy_student_tf.records import schema, shards

# Of a record in its file: 8 bytes of length and 4 of their checksum before
# the data, 4 bytes of checksum after it.
_BEFORE_BYTES = 12
_AFTER_BYTES = 4

_GZIP = b"\x1f\x8b"

# The name of the source in ids.
IMAGENET = "imagenet"

_SYNSET = "image/class/synset"


@contextlib.contextmanager
def read_pictures(wanted: tuple[items.Item, ...]) -> Iterator[items.ReadItem]:
    """Yield what reads a record's picture.

    A locator is (path, offset, size) in bytes.
    """
    with tars.read_ranges(wanted) as read_range:
        yield lambda item: schema.stored_bytes(
            tf.train.Example.FromString(read_range(item)), schema.IMAGE
        )


def imagenet_label(example: tf.train.Example, where: str) -> int:
    """Return the 0-based label of an ImageNet record.

    Raises:
        ValueError: It has none, or one that is not 1 or more.
    """
    key = schema.IMAGENET_LABEL
    values = example.features.feature[key].int64_list.value
    if not values or values[0] < 1:
        raise ValueError(
            f"{where}: {key} is {list(values)}; ImageNet records have one "
            "label from 1 on. Labels from 0 on are read from our own shards."
        )
    return values[0] - 1


def imagenet_class_name(example: tf.train.Example, label: int) -> str:
    """Return the class's synset, or its number where the record has none.

    Synsets are the names of ImageNet's class folders.
    """
    return schema.stored_bytes(example, _SYNSET).decode() or str(label)


def name_classes(
    found: dict[int, str], num_classes: int = 0
) -> tuple[str, ...]:
    """Name classes from 0 on, those not found by their numbers.

    Without a number of classes they reach up to the highest label found.
    """
    num_classes = num_classes or max(found, default=-1) + 1
    return tuple(found.get(label, str(label)) for label in range(num_classes))


def read_examples(path: str) -> Iterator[tuple[int, int, tf.train.Example]]:
    """Yield (offset, size, record) of a TFRecord file's data.

    Raises:
        ValueError: The file is damaged.
    """
    offset = 0
    _check_not_gzipped(path)
    try:
        for record in shards.read_records(path):
            offset += _BEFORE_BYTES
            yield offset, len(record), tf.train.Example.FromString(record)
            offset += len(record) + _AFTER_BYTES
    except (tf.errors.DataLossError, message.DecodeError) as error:
        raise ValueError(
            f"{path}: the file is no TFRecord file, or damaged or truncated "
            f"behind byte {offset}. Fetch or make it again."
        ) from error


def _check_not_gzipped(path: str) -> None:
    with files.open_file(path, "rb") as file:
        if file.read(len(_GZIP)) == _GZIP:
            raise ValueError(
                f"{path}: the file is gzipped, and records are read at random. "
                f"Unpack it first: gunzip {path}"
                f"{'' if path.endswith('.gz') else ' (named .gz)'}."
            )


def copy_without(path: str, target: str, left_out: Set[int]) -> None:
    """Copy a TFRecord file but for the records of some numbers."""
    with shards.open_writer(target) as writer:
        for number, record in enumerate(shards.read_records(path)):
            if number not in left_out:
                writer.write(record)


def record_key(path: str, index: int) -> str:
    """Return the key of a record: the file's name and its number there."""
    return f"{items.base_name(path)}/{index}"


def open_imagenet(pattern: str) -> items.Source:
    """Open `imagenet:GLOB` for picking images; reads all the files once.

    Raises:
        FileNotFoundError: No file matches.
        ValueError: A file is damaged, or a record has no label from 1 on.
    """
    specification = f"{IMAGENET}:{pattern}"
    listed = []
    names: dict[int, str] = {}
    paths = items.expand(specification, pattern)
    # They stand in the ids.
    items.check_file_names(specification, paths)
    for path in paths:
        for index, (offset, size, example) in enumerate(read_examples(path)):
            key = record_key(path, index)
            label = imagenet_label(example, key)
            names[label] = imagenet_class_name(example, label)
            locator = (path, offset, size)
            listed.append(items.make_item(IMAGENET, key, label, locator))
    return items.Source(
        specification=specification,
        class_names=name_classes(names),
        reader=read_pictures,
        list_items=lambda: items.Listing(listed),
    )


def list_imagenet_file(path: str) -> Iterator[items.Item]:
    """Yield the pictures of one of ImageNet's files, without classes.

    Raises:
        ValueError: The file is damaged.
    """
    for index, (offset, size, _) in enumerate(read_examples(path)):
        key = record_key(path, index)
        yield items.make_item(IMAGENET, key, None, (path, offset, size))


def open_shards(specification: str) -> items.Source:
    """Open our own shards: a directory, DIR#SPLIT, or a glob; ids are kept.

    Reads all the files once. Class names are those of the manifest beside
    the shards.

    Raises:
        FileNotFoundError: No shard matches.
        ValueError: A file is damaged, or holds other records.
    """
    paths = find_shards(specification)
    listed = [item for path in paths for item in list_shard(path)]
    return items.Source(
        specification=specification,
        class_names=_shard_class_names(paths, listed),
        reader=read_pictures,
        list_items=lambda: items.Listing(listed),
    )


def list_shard(path: str) -> Iterator[items.Item]:
    """Yield a shard's images with their labels.

    Raises:
        ValueError: The file is damaged, or holds other records.
    """
    for index, (offset, size, example) in enumerate(read_examples(path)):
        image_id = schema.stored_bytes(example, schema.IMAGE_ID)
        if len(image_id) != schema.ID_BYTES:
            raise ValueError(
                f"{path}: record {index} has no {schema.IMAGE_ID}: these are "
                "not our own shards. ImageNet's records are read as "
                f"imagenet:{path}."
            )
        labels = example.features.feature[schema.LABEL].int64_list.value
        yield items.Item(
            image_id=image_id,
            key=record_key(path, index),
            label=labels[0] if labels else None,
            locator=(path, offset, size),
        )


def find_shards(specification: str) -> list[str]:
    """Return the paths of our own shards; see `open_shards`.

    Raises:
        FileNotFoundError: No shard matches.
    """
    directory, _, split = specification.partition("#")
    if shards.is_finished(directory):
        names = shards.read_manifest(directory)["splits"]
        return [
            path
            for name in ([split] if split else names)
            for path in shards.open_split(directory, name).paths
        ]
    paths = files.glob(specification)
    if not paths or any(map(files.is_directory, paths)):
        raise FileNotFoundError(
            f"{specification}: no shard matches, and it is no finished "
            "directory of shards. Build them with python -m "
            "data_prep.build_labeled, or write folder:DIR or files:DIR for "
            "folders of pictures."
        )
    return paths


def _shard_class_names(
    paths: Sequence[str], listed: Sequence[items.Item]
) -> tuple[str, ...]:
    """Return the class names of labeled shards, none of unlabeled ones."""
    labels = [item.label for item in listed]
    known = [label for label in labels if label is not None]
    if len(known) < len(labels) or not known:
        return ()
    directory = paths[0].rpartition("/")[0]
    if shards.is_finished(directory):
        return tuple(shards.read_manifest(directory)["class_names"])
    return name_classes({}, max(known) + 1)
